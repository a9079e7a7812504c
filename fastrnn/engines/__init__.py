"""Engines: all that knows a device.

Layers, losses and optimizers call the methods of the `current` engine and know nothing of threads
or hardware.  `base` states the interface, `reference` is the readable specification in NumPy, `cpu`
the fast one on the C kernels.
"""

from __future__ import annotations

import contextlib
import threading

from fastrnn.engines.cpu import CPUEngine
from fastrnn.engines.reference import ReferenceEngine

__all__ = ["CPUEngine", "ReferenceEngine", "current", "recording", "using", "without_tapes"]

_engines = {"cpu": CPUEngine(), "reference": ReferenceEngine()}
_current = _engines["cpu"]
_thread = threading.local()


def current():
    """The engine that layers use now."""
    return _current


@contextlib.contextmanager
def using(name):
    """Use the engine ``name`` (``"cpu"`` or ``"reference"``) inside a ``with`` block.

    >>> with using("reference") as engine:
    ...     engine.name
    'reference'
    """
    global _current
    if name not in _engines:
        raise ValueError(f"engine: expected one of {sorted(_engines)}; got {name!r}.")
    before, _current = _current, _engines[name]
    try:
        yield _current
    finally:
        _current = before


def recording():
    """Whether tapes are kept, for a way back that may come: True unless inside `without_tapes`."""
    return getattr(_thread, "recording", True)


@contextlib.contextmanager
def without_tapes():
    """Promise, for this thread, that nothing run inside the ``with`` block will go backward.

    >>> with without_tapes():
    ...     recording()
    False
    """
    before, _thread.recording = recording(), False
    try:
        yield
    finally:
        _thread.recording = before
