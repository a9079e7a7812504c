"""Engines: all that knows a device.

Layers, losses and optimizers call the methods of the `current` engine and know nothing of threads
or hardware.  `base` states the interface, `reference` is the readable specification in NumPy, `cpu`
the fast one on the C kernels, `cuda` the one for NVIDIA GPUs.
"""

from __future__ import annotations

import contextlib
import threading

from fastrnn.engines.cpu import CPUEngine
from fastrnn.engines.reference import ReferenceEngine
from fastrnn.values import Lookup

__all__ = [
    "CPUEngine", "ReferenceEngine", "current", "dense", "get_device", "recording", "set_device",
    "several_memories", "using", "without_tapes",
]

_engines = {"cpu": CPUEngine(), "reference": ReferenceEngine()}
_current = _engines["cpu"]
_thread = threading.local()

DEVICES = ("cpu", "cuda")


def current():
    """The engine that layers use now."""
    return _current


def dense(x):
    """``x``, carried out if it is a `fastrnn.values.Lookup`: for who needs the values."""
    return _current.lookup(x.ids, x.table) if isinstance(x, Lookup) else x


def set_device(name):
    """Choose what models are trained on, and run on, from now on.

    Models made before move there when they are used next, their optimizers with them.

    Parameters
    ----------
    name : {"cpu", "cuda"}
        "cuda": the NVIDIA GPU that is current when this is first called, by default the first;
        needs ``pip install fastrnn[cuda]``.

    Raises
    ------
    ValueError
        For another name.
    RuntimeError
        If there is no GPU, or what it needs is missing: it says what, and nothing is changed.

    Examples
    --------
    >>> import fastrnn
    >>> fastrnn.set_device("cpu")
    >>> fastrnn.get_device()
    'cpu'
    """
    global _current
    if name not in DEVICES:
        raise ValueError(f"set_device: expected one of {DEVICES}; got {name!r}.")
    _current = _engine(name)


def get_device():
    """What models are trained on: ``"cpu"`` or ``"cuda"``.

    >>> get_device()
    'cpu'
    """
    return "cuda" if _current.name == "cuda" else "cpu"


@contextlib.contextmanager
def using(name):
    """Use the engine ``name`` (``"cpu"``, ``"cuda"`` or ``"reference"``) inside a ``with`` block.

    >>> with using("reference") as engine:
    ...     engine.name
    'reference'
    """
    global _current
    before, _current = _current, _engine(name)
    try:
        yield _current
    finally:
        _current = before


def several_memories():
    """Whether arrays may lie elsewhere than the current engine has its own."""
    return "cuda" in _engines


def _engine(name):
    """The engine of that name; the one for GPUs is made, and imports Numba, when it is wanted."""
    if name == "cuda" and name not in _engines:
        from fastrnn.engines.cuda import CUDAEngine

        _engines[name] = CUDAEngine()
    if name not in _engines:
        raise ValueError(f"engine: expected one of {sorted({*_engines, 'cuda'})}; got {name!r}.")
    return _engines[name]


def recording():
    """Whether tapes are kept, for a way back that may come: True unless inside `without_tapes`."""
    return getattr(_thread, "recording", True)


class without_tapes:
    """Promise, for this thread, that nothing run inside the ``with`` block will go backward.

    >>> with without_tapes():
    ...     recording()
    False
    """

    def __enter__(self):
        self._before, _thread.recording = recording(), False

    def __exit__(self, *error):
        _thread.recording = self._before
