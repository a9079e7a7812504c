"""Sweeps of the library's own cells with activations for which there are no kernels, as programs.

Letters: B rows in a batch, T steps, H units, G gates.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from fastrnn import _core
from fastrnn.engines.reference import sum_by_id
from fastrnn.programs import equations
from fastrnn.programs.instructions import Assembler, Register, Static
from fastrnn.programs.sweeps import ProgramSweep

__all__ = ["RareTape", "backward", "forward", "sweep_of"]


class RareTape(NamedTuple):
    """The tape of `forward`."""

    cell: Any
    sweep: ProgramSweep
    tape: Any
    ids: Any  # of a lookup


@functools.lru_cache(maxsize=128)
def sweep_of(cell, units, is_biased):
    """The `ProgramSweep` for a `CellSpec`; None if there is no instruction for an activation.

    It loads the projected input (B, T, G * H).  Its statics are called as `statics_of` has them.
    """
    assembler = Assembler()
    xz = Register(cell.gates * units)
    states = [Register(units) for _ in range(cell.states)]
    try:
        new = EQUATIONS[cell.kind](assembler, cell, xz, *states, is_biased)
    except equations.Unsupported:
        return None
    return ProgramSweep(assembler, [xz], states, [new[0], *new], set(), _core.Program)


def statics_of(cell, U, bias):
    """Arrays (parts of these) by what they are called."""
    units = len(U)
    if cell.kind == "gru" and not cell.reset_after:
        found = {"U_zr": U[:, : 2 * units], "U_h": U[:, 2 * units :]}
    else:
        found = {"U": U}
    return found if bias is None else found | {"bias": bias}


def _simple_rnn(assembler, cell, xz, h, is_biased):
    z = assembler.product(h, Static("U", (h.width, h.width), True), init=xz)
    return [equations.activate(assembler, cell.activation, z)]


def _lstm(assembler, cell, xz, h, c, is_biased):
    z = assembler.product(h, Static("U", (h.width, 4 * h.width), True), init=xz)
    return equations.lstm(assembler, z, c, cell)


def _gru(assembler, cell, xz, h, is_biased):
    units = h.width
    name, gates = ("U", 3) if cell.reset_after else ("U_zr", 2)
    product = assembler.product(h, Static(name, (units, gates * units), True))
    if cell.reset_after:
        bias = assembler.static(Static("bias", (units,), True), units) if is_biased else None
        candidate_of = equations.reset_after(assembler, product, bias)
    else:
        candidate_of = equations.reset_before(assembler, h, Static("U_h", (units, units), True))
    return equations.gru(assembler, xz, h, product, candidate_of, cell)


EQUATIONS = {"simple_rnn": _simple_rnn, "lstm": _lstm, "gru": _gru}


class Values(dict):
    """Statics by their names; numbers are themselves."""

    def __missing__(self, static):
        return np.asarray(static.source)


def forward(engine, sweep, cell, xz, ids, U, states, mask, sequences, zeroes, keep, bias):
    """As `Engine.recurrent`, for xz (B, T, G * H), which may come from a lookup with these ids."""
    values = Values(
        (Static(name), np.ascontiguousarray(a)) for name, a in statics_of(cell, U, bias).items()
    )
    output, last, tape = sweep.forward(
        engine, xz.dtype, *xz.shape[:2], [xz], states, values, mask, sequences, zeroes, keep
    )
    return (output if sequences else None), last, RareTape(cell, sweep, tape, ids)


def backward(engine, tape, dsequence, dstates, dU, need_dxz, dbias):
    """As `Engine.recurrent_backward`."""
    cell, sweep, own, ids = tape
    dstates = dstates or [None] * cell.states
    [dxz], dfirst, totals = sweep.backward(engine, own, dsequence, dstates)
    targets = statics_of(cell, dU, dbias)
    for static, total in totals:
        targets[static.source] += total.reshape(targets[static.source].shape)
    if ids is not None:
        dxz = sum_by_id(ids, dxz)
    return (dxz if need_dxz else None), dfirst
