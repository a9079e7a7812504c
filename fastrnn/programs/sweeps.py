"""A step's programs, there and back, and sweeps with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.programs.gradients import Gradients
from fastrnn.programs.instructions import Parts, Program, Register, apart

__all__ = ["ProgramSweep", "Tape"]

# Products of so many terms, or more, are kept for the way back: to write and read them costs less
# than to multiply again.
KEPT_TERMS = 64


class Tape(NamedTuple):
    """What the way back needs of a sweep."""

    rows: int
    steps: int
    dtype: Any
    mask: Any
    sequences: bool
    zeroes: bool
    loads: list
    before: list
    values: Any


class ProgramSweep:
    """A step as programs.

    The way there keeps the states before each step, and products of many terms; the way back
    computes all other values of a step again.  What a matrix was multiplied with, and the gradients
    of what came out, are written down step by step: the matrix's gradient is one product over all
    steps.

    Parameters
    ----------
    assembler : Assembler
        With the instructions of the step.
    loads : list of Register
        Those that get a part of an array (B, T, width) at each step.
    states : list of Register
    outputs : list of Register
        The output of the step, then the new states.
    held : set of Register
        Those through which no gradient passes.
    make : callable
        ``Engine.program``.
    """

    def __init__(self, assembler, loads, states, outputs, held, make):
        self.load_registers, self.state_registers = loads, states
        self.width = outputs[0].width
        self.make = make
        self.kept_registers = [
            i.dst for i in assembler.code if i.name == "product" and i.a.width >= KEPT_TERMS
        ]
        self._there(assembler, outputs)
        self._back(assembler, held, outputs)

    def _there(self, assembler, outputs):
        """The program of a step, with what the way back needs, and without."""
        code = list(assembler.code)
        shown = Register(outputs[0].width)
        carries = apart(assembler, [*zip(self.state_registers, outputs[1:], strict=True),
                                    (shown, outputs[0])])  # fmt: skip
        loads = [(r, False, False) for r in self.load_registers]
        before = [(r, False, False) for r in (*self.state_registers, *self.kept_registers)]
        self.programs = {
            (keeps, sequences, zeroes): Program(assembler, Parts(
                loads, [*before * keeps, *[(shown, zeroes, True)] * sequences], carries,
            ), self.make)
            for keeps in (False, True) for sequences in (False, True)
            for zeroes in ((False, True) if sequences else (False,))
        }  # fmt: skip
        assembler.code = code

    def _back(self, assembler, held, outputs):
        """The program of the way back: the step again, then the gradients."""
        step = list(assembler.code)
        assembler.code = [i for i in step if i.dst not in self.kept_registers]
        dshown, *dafter = (Register(r.width) for r in outputs)
        gradients = Gradients(assembler, held)
        for register, d in zip(outputs, (dshown, *dafter), strict=True):
            gradients.add(register, d)
        for instruction in reversed(step):
            gradients.back(instruction)
        of = gradients.of

        def known(register):
            return of[register] if register in of else assembler.zeros(register.width)

        stored = dict.fromkeys(known(r) for r in self.load_registers)
        self.gradient_of_load = [known(r) for r in self.load_registers]
        self.products = gradients.products
        self.gradient_of_static = [
            (r.static, of[r]) for r in assembler.statics.values()
            if r.static.has_gradient and r in of
        ]
        stored.update(dict.fromkeys(d for _, d in self.gradient_of_static))
        held = [*self.load_registers, *self.state_registers, *self.kept_registers]
        for a, _, d in self.products:
            stored.update(dict.fromkeys([d] if a in held else [d, a]))
        self.stored = list(stored)
        carries = apart(assembler, [
            *zip(dafter, map(known, self.state_registers), strict=True),
            (dshown, assembler.zeros(dshown.width)),
        ])  # fmt: skip
        loads = [(r, False, False) for r in held]
        stores = [(r, True, False) for r in self.stored]
        self.programs_back = {
            counted: Program(
                assembler, Parts([*loads, *([(dshown, True, counted)] * (counted is not None))],
                                 stores, carries),
                self.make,
            )
            for counted in (None, False, True)
        }  # fmt: skip

    # -- running -------------------------------------------------------------------------------

    def forward(self, engine, dtype, rows, steps, loads, first, values, mask, sequences, zeroes,
                keeps):
        """All steps.

        Parameters
        ----------
        engine : Engine
        loads : list of arrays (B, T, width)
        first : list of arrays (B, width), or None for zeros
        values : mapping of Static to array
        mask : StepMask without holes, or None
        sequences, zeroes : bool
            The outputs of all steps; zeros of those that do not count.
        keeps : bool
            Whether there will be a way back.

        Returns
        -------
        output : array (B, T, width), or (B, width)
        last : list of arrays (B, width)
        tape : Tape, or None
        """
        sequences, zeroes = bool(sequences), bool(zeroes and sequences)
        written = [*self.state_registers, *self.kept_registers] if keeps else []
        before = [engine.empty((rows, steps, r.width), dtype) for r in written]
        sequence = [engine.empty((rows, steps, self.width), dtype)] if sequences else []
        last = [engine.empty((rows, r.width), dtype) for r in self.state_registers]
        output = engine.empty((rows, self.width), dtype)
        first = [None] * len(last) if first is None else [*map(np.ascontiguousarray, first)]
        self.programs[bool(keeps), sequences, zeroes].run(
            rows, steps, values.__getitem__, dtype, loads, [*before, *sequence], [*first, None],
            [*last, output], mask,
        )
        tape = Tape(rows, steps, dtype, mask, sequences, zeroes, loads, before, values)
        return (sequence[0] if sequences else output), last, tape if keeps else None

    def backward(self, engine, tape, doutput, dstates):
        """The way back; ``doutput`` and entries of ``dstates`` may be None.

        Returns
        -------
        dloads : list of arrays (B, T, width)
        dfirst : list of arrays (B, width)
        totals : list of (Static, array)
            Gradients of statics, of all rows and steps together, as rows; some come twice.
        """
        rows, steps, dtype = tape.rows, tape.steps, tape.dtype
        stores = {r: engine.empty((rows, steps, r.width), dtype) for r in self.stored}
        dfirst = [engine.empty((rows, r.width), dtype) for r in self.state_registers]
        by_step = tape.sequences and doutput is not None
        loads = [*tape.loads, *tape.before, *([np.ascontiguousarray(doutput)] * by_step)]
        dlast = None if by_step or doutput is None else np.ascontiguousarray(doutput)
        dstates = [None if d is None else np.ascontiguousarray(d) for d in dstates]
        self.programs_back[tape.zeroes if by_step else None].run(
            rows, steps, tape.values.__getitem__, dtype, loads, [*stores.values()],
            [*dstates, dlast], [*dfirst, None], tape.mask, reverse=True,
        )
        dloads = [stores[d] for d in self.gradient_of_load]
        return dloads, dfirst, self._totals(engine, tape, stores)

    def _totals(self, engine, tape, stores):
        """The gradient of a matrix is one product; a bias that is added to it gets its own on the
        way."""
        written = *self.state_registers, *self.kept_registers
        known = dict(zip(written, tape.before, strict=True))
        known |= zip(self.load_registers, tape.loads, strict=True)
        left, found = self.gradient_of_static, []
        for a, matrix, d in self.products:
            given = known[a] if a in known else stores[a]
            dmatrix, total = np.zeros(matrix.shape, tape.dtype), np.zeros(d.width, tape.dtype)
            biases = [static for static, own in left if own is d]
            engine.project_backward(
                given, np.ascontiguousarray(tape.values[matrix]), stores[d], dmatrix,
                total if biases else None, need_dx=False,
            )
            found += [(matrix, dmatrix), *((bias, total) for bias in biases)]
            left = [(static, own) for static, own in left if own is not d]
        return found + [(s, stores[d].reshape(-1, d.width).sum(axis=0)) for s, d in left]
