"""What `fastrnn.cuda` says of a machine: what is missing there, in one line."""

import ctypes
import importlib.metadata
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastrnn
from fastrnn import cuda, engines
from fastrnn.cuda import discovery

VERSIONS = {"numba-cuda": "0.30.4", "cuda-bindings": "13.5.0"}


def driver(status=0, version=13000, capabilities=((9, 0),)):
    """A stand-in for NVIDIA's driver; its functions write to their first argument."""

    def writes(choose):
        def function(pointer, *arguments):
            pointer._obj.value = choose(*arguments)
            return 0

        return function

    return SimpleNamespace(
        cuInit=lambda flags: status,
        cuDriverGetVersion=writes(lambda: version),
        cuDeviceGetCount=writes(lambda: len(capabilities)),
        cuDeviceGetAttribute=writes(lambda kind, gpu: capabilities[gpu][kind - 75]),
        cuPointerGetAttribute=writes(lambda kind, pointer: 1),
    )


@pytest.fixture
def machine(monkeypatch):
    """Call with a driver (None: there is none) and the packages to have such a machine."""

    def forget():
        for function in (discovery.missing, discovery.ask_driver, discovery._library):
            function.cache_clear()

    def become(driver, packages=VERSIONS):
        def load(name):
            if driver is None:
                raise OSError(f"{name}: cannot open shared object file")
            return driver

        spec = (lambda name: name) if packages else (lambda name: None)
        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(importlib.util, "find_spec", spec)
        monkeypatch.setattr(importlib.metadata, "version", packages.__getitem__)
        monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
        forget()

    yield become
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("found", "packages", "said"),
    [
        (None, VERSIONS, "no NVIDIA driver found"),
        (driver(status=100), VERSIONS, "an NVIDIA driver, but no GPU"),
        (driver(capabilities=()), VERSIONS, "an NVIDIA driver, but no GPU"),
        (driver(status=803), VERSIONS, "the NVIDIA driver does not start (CUDA error 803)"),
        (driver(), {}, "numba-cuda is not installed (pip install fastrnn[cuda])"),
        (driver(version=12080), VERSIONS, "too old: it serves CUDA 12.8, and .* need 13.0"),
        (driver(capabilities=((6, 1),)), VERSIONS, "GPU 0 has compute capability 6.1; .* 7.5"),
    ],
)
def test_says_what_is_missing(machine, found, packages, said):
    machine(found, packages)
    assert not cuda.is_available()
    assert "\n" not in discovery.report()
    message = said.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[")
    with pytest.raises(RuntimeError, match=message):
        cuda.batched_matmul(np.ones((2, 2)), np.ones((2, 2)))


@pytest.mark.parametrize(("version", "fits"), [("0.30.4", False), ("0.31.0", True), ("1.0", True)])
def test_a_numpy_too_new_for_numba(machine, monkeypatch, version, fits):
    machine(driver(), VERSIONS | {"numba-cuda": version})
    monkeypatch.delattr(np, "row_stack", raising=False)
    discovery.missing.cache_clear()
    assert cuda.is_available() == fits
    if not fits:
        assert 'numba-cuda 0.30.4 cannot be imported with NumPy' in discovery.report()


def test_setting_the_device_says_so_too(machine, monkeypatch):
    machine(None)
    monkeypatch.delitem(engines._engines, "cuda", raising=False)
    with pytest.raises(RuntimeError, match=r"^fastrnn.cuda needs an NVIDIA GPU: no [^\n]*\.$"):
        fastrnn.set_device("cuda")
    assert fastrnn.get_device() == "cpu" and not engines.several_memories()


def test_all_is_there(machine):
    machine(driver(version=13010, capabilities=((9, 0), (7, 5))))
    assert cuda.is_available()
    assert discovery.report() == "GPUs found: 2, driver for CUDA 13.1, numba-cuda 0.30.4"


def test_older_bindings_take_an_older_driver(machine):
    machine(driver(version=12020), VERSIONS | {"cuda-bindings": "12.9.4"})
    assert cuda.is_available()


def test_in_the_simulator_no_driver_is_needed(machine, monkeypatch):
    machine(None)
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert cuda.is_available()
    assert "simulated" in discovery.report()
    machine(None, {})
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert discovery.report().startswith("numba-cuda is not installed")


def test_whose_memory_it_is(machine):
    machine(driver())
    assert discovery.device_of(4096) == 1


def test_importing_and_asking_does_not_import_numba():
    code = (
        "import sys, fastrnn.cuda; fastrnn.cuda.is_available(); fastrnn.show_config(); "
        "assert not {'numba', 'llvmlite', 'cuda'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
