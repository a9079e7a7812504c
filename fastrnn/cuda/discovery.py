"""Is there a GPU that `fastrnn.cuda` can use? If not, what is missing, in one line.

NVIDIA's driver is asked directly: no package is needed for that, and none is imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
from typing import NamedTuple

import numpy as np

__all__ = [
    "OLDEST_CAPABILITY", "ask_driver", "device_of", "is_available", "missing", "report", "require",
    "simulated",
]

# The compute capability from which on the kernels are compiled and checked.
OLDEST_CAPABILITY = (7, 5)

# Of the driver's interface: error codes, and what cuDeviceGetAttribute is asked for.
NO_DEVICE = 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
DEVICE_ORDINAL = 9  # for cuPointerGetAttribute


class Driver(NamedTuple):
    """What NVIDIA's driver says.

    Attributes
    ----------
    problem : str or None
        Why there is nothing to compute on.
    version : tuple
        The newest CUDA that it serves.
    capabilities : list of tuple
        The compute capability of each GPU.
    """

    problem: str | None
    version: tuple = ()
    capabilities: tuple = ()


def is_available():
    """Whether `fastrnn.cuda` can compute here: a GPU, its driver and ``numba-cuda`` are there.

    True as well under Numba's simulator (``NUMBA_ENABLE_CUDASIM=1``), which computes on the CPU,
    slowly, for tests.

    Returns
    -------
    bool

    Examples
    --------
    >>> from fastrnn import cuda
    >>> isinstance(cuda.is_available(), bool)
    True
    """
    return missing() is None


def require():
    """Raise RuntimeError, which says what is missing, unless `is_available`."""
    problem = missing()
    if problem is not None:
        raise RuntimeError(f"fastrnn.cuda needs an NVIDIA GPU: {problem}.")


@functools.cache
def missing():
    """The first thing that is missing, as one line without a full stop; None where all is there."""
    if simulated():
        return _missing_package()
    driver = ask_driver()
    return driver.problem or _missing_package() or _too_old(driver)


def report():
    """One line on what is there, or on what is missing."""
    problem = missing()
    if problem is not None:
        return problem
    package = f"numba-cuda {importlib.metadata.version('numba-cuda')}"
    if simulated():
        return f"simulated on the CPU by {package} (NUMBA_ENABLE_CUDASIM is set)"
    driver = ask_driver()
    gpus = f"GPUs found: {len(driver.capabilities)}"
    return f"{gpus}, driver for CUDA {_dotted(driver.version)}, {package}"


def simulated():
    """Whether Numba is told to run kernels in its simulator, without a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@functools.cache
def ask_driver():
    """The `Driver`."""
    try:
        library = _library()
    except OSError:
        return Driver("no NVIDIA driver found (libcuda.so.1)")
    status = library.cuInit(0)
    if status not in (0, NO_DEVICE):
        return Driver(f"the NVIDIA driver does not start (CUDA error {status})")
    count = 0 if status else _number(library.cuDeviceGetCount)
    if not count:
        return Driver("an NVIDIA driver, but no GPU")
    version = _number(library.cuDriverGetVersion)
    capabilities = [
        tuple(
            _number(library.cuDeviceGetAttribute, kind, gpu)
            for kind in (CAPABILITY_MAJOR, CAPABILITY_MINOR)
        )
        for gpu in range(count)
    ]
    return Driver(None, (version // 1000, version % 1000 // 10), tuple(capabilities))


def device_of(pointer):
    """The number of the GPU in whose memory an address lies; None if the driver does not know."""
    ordinal = ctypes.c_int(0)
    status = _library().cuPointerGetAttribute(
        ctypes.byref(ordinal), DEVICE_ORDINAL, ctypes.c_void_p(pointer)
    )
    return None if status else ordinal.value


@functools.cache
def _library():
    return ctypes.CDLL("libcuda.so.1")


def _missing_package():
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed (pip install fastrnn[cuda])"
    version = importlib.metadata.version("numba-cuda")
    if not hasattr(np, "row_stack") and tuple(map(int, version.split(".")[:2])) <= (0, 30):
        return (
            f"numba-cuda {version} cannot be imported with NumPy {np.__version__} "
            '(pip install "numpy<2.5")'
        )
    return None


def _too_old(driver):
    """A driver serves every CUDA up to its own; cuda-bindings is built for one major version."""
    needed = int(importlib.metadata.version("cuda-bindings").split(".")[0])
    if driver.version[0] < needed:
        return (
            f"the NVIDIA driver is too old: it serves CUDA {_dotted(driver.version)}, and the "
            f"installed cuda-bindings need {needed}.0 (update the driver, or pip install "
            "fastrnn[cuda12] for 12.0)"
        )
    if driver.capabilities[0] < OLDEST_CAPABILITY:
        return (
            f"GPU 0 has compute capability {_dotted(driver.capabilities[0])}; expected "
            f"{_dotted(OLDEST_CAPABILITY)} or more"
        )
    return None


def _number(function, *arguments):
    """What a function of the driver writes to its first argument; 0 if it fails."""
    value = ctypes.c_int(0)
    return 0 if function(ctypes.byref(value), *arguments) else value.value


def _dotted(version):
    return ".".join(map(str, version))
