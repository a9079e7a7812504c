"""`show_config` says what the process really runs on."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastrnn
from fastrnn import _config_report, _core


def test_prints_the_facts(capsys):
    fastrnn.show_config()
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    printed = {name: value.strip() for name, value in lines.items()}
    assert printed["fastrnn"] == fastrnn.__version__
    assert printed["NumPy"] == np.__version__
    assert printed["Python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert printed["instruction set"].startswith(_core.isa())
    assert all(isa in printed["instruction set"] for isa in _core.available_isas())


def test_tells_the_number_of_threads_in_use():
    before = fastrnn.get_num_threads()
    try:
        fastrnn.set_num_threads(before + 1)
        assert _config_report.facts()["threads"] == str(before + 1)
    finally:
        fastrnn.set_num_threads(before)


@pytest.mark.parametrize("isa", _core.available_isas())
def test_tells_a_forced_instruction_set(isa):
    done = subprocess.run(
        [sys.executable, "-c", "import fastrnn; fastrnn.show_config()"],
        env=os.environ | {"FASTRNN_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"instruction set  {isa} (" in done.stdout


def _driver(status, gpus):
    """A stand-in for NVIDIA's driver that finds so many GPUs."""

    def count(pointer):
        pointer._obj.value = gpus
        return 0

    return SimpleNamespace(cuInit=lambda flags: status, cuDeviceGetCount=count)


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (_driver(0, 2), "GPUs found: 2"),
        (_driver(0, 0), "a driver, but no GPU"),
        (_driver(100, 0), "a driver, but no GPU"),
        (None, "no driver found"),
    ],
)
def test_says_whether_cuda_is_there(driver, said, monkeypatch):
    def load(_name):
        if driver is None:
            raise OSError("cannot open shared object file")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert said in _config_report.facts()["CUDA"]
