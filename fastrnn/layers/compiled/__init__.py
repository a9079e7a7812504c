"""Cells that are written as a `call`, compiled to programs (`fastrnn.programs`)."""

from fastrnn.layers.compiled.step import Steps, Tape

__all__ = ["Steps", "Tape"]
