"""`show_config` says what the process really runs on."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import _config_report, _core
from fastrnn.cuda import discovery


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


@pytest.mark.parametrize("available", [True, False])
def test_says_whether_cuda_is_there(available, monkeypatch):
    monkeypatch.setattr(discovery, "is_available", lambda: available)
    monkeypatch.setattr(discovery, "report", lambda: "what discovery says")
    said = _config_report.facts()["CUDA"]
    assert said.startswith("what discovery says")
    assert ("models run on the CPU" in said) is available
