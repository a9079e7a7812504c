"""What this installation runs on: the report to look at first, and to put into a bug report."""

from __future__ import annotations

import platform

import numpy as np

import fastrnn
from fastrnn import _core
from fastrnn.cuda import discovery

__all__ = ["facts", "show_config"]


def facts():
    """The facts of `show_config` as a dict of strings, in the order in which it prints them."""
    build = _core.build_info()
    return {
        "fastrnn": fastrnn.__version__,
        "instruction set": f"{_core.isa()} (available: {', '.join(_core.available_isas())})",
        "threads": str(_core.get_num_threads()),
        "CUDA": _cuda(),
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "NumPy": np.__version__,
        **{name: str(value) for name, value in build.items()},
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }


def show_config():
    """Print the instruction set and number of threads in use, the versions, and whether CUDA is
    there.

    >>> show_config()  # doctest: +ELLIPSIS
    fastrnn          ...
    instruction set  ...
    """
    found = facts()
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:<{width}}  {value}")


def _cuda():
    """The GPU and what it needs, or what is missing; asks the driver, and imports no package."""
    if not discovery.is_available():
        return discovery.report()
    return f"{discovery.report()} (models run on the CPU unless fastrnn.set_device('cuda'))"
