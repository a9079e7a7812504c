"""Cells that are written as a `call`, compiled: a step becomes a program for the C core.

`step` cuts the graph of a step in three.  What depends on weights alone is computed once for a
sweep.  What depends on the input, and not on the states, is computed by layers, for all steps at
once.  The rest becomes instructions on registers (``csrc/program.h``), which run through all steps
of a few rows at a time, in a core's own caches: `translation` writes those of the way there,
`gradients` those of the way back, and `instructions` has what they are made of.

The way there keeps the states before each step, and products of many terms; the way back computes
all other values of a step again.  What a matrix was multiplied with, and the gradients of what came
out, are written down step by step: the matrix's gradient is one product over all steps.

Letters: B rows in a batch, T steps, D input width.
"""

from fastrnn.layers.programs.step import Steps, Tape

__all__ = ["Steps", "Tape"]
