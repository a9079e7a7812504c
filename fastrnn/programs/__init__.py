"""Programs: steps of cells that have no kernel, as instructions that the C core runs.

A step is written with an `instructions.Assembler`, whose registers hold a row of numbers for each
row of the batch; `equations` has what is written often.  `gradients` writes the way back, and
`sweeps` puts both together: what comes in and goes out step by step, what the way back needs.  The
core (``csrc/program.h``) carries a few rows at a time through all steps, in a core's own caches.

Letters: B rows in a batch, T steps, H units, G gates.
"""
