"""Registers and instructions, and programs that are put together of them."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Assembler", "Instruction", "Parts", "Program", "Register", "Static", "apart"]


class Static:
    """What is the same for all rows and steps.

    Parameters
    ----------
    source
        What it is: a number, a name, or an object.
    shape : tuple, default ()
    has_gradient : bool, default False
        Whether somebody wants its gradient.
    """

    def __init__(self, source, shape=(), has_gradient=False):
        self.source = source
        self.shape = tuple(shape)
        self.has_gradient = has_gradient
        self.key = source if isinstance(source, (float, str)) else id(source)

    def __eq__(self, other):
        return self.key == other.key

    def __hash__(self):
        return hash(self.key)


class Register:
    """A row of ``width`` numbers for each row of the batch; ``static``: those, in every row."""

    def __init__(self, width, static=None):
        self.width = width
        self.static = static


class Instruction(NamedTuple):
    """As ``csrc/rnn.h`` has them; registers in the place of their numbers."""

    name: str
    dst: Register
    a: Register | None = None
    b: Any = None  # of a product the number of the matrix
    c: Any = None  # or the name of an activation
    to: int = 0
    start: int = 0
    columns: int = 0

    @property
    def reads(self):
        found = [self.a, self.b, self.c]
        if self.name == "add_copy" or self.name == "copy" and self.columns < self.dst.width:
            found.append(self.dst)  # the rest of it stays
        return [r for r in found if isinstance(r, Register)]


class Assembler:
    """Instructions, and what they need, while they are put together."""

    def __init__(self):
        self.code = []
        self.statics = {}  # registers, by what is in them and their widths
        self.matrices = {}  # numbers, by the matrix and whether it is transposed

    def emit(self, name, a=None, b=None, c=None, width=None, dst=None, **columns):
        """Add an instruction; the register that it writes to, a new one unless given."""
        dst = dst or Register(width or a.width)
        self.code.append(Instruction(name, dst, a, b, c, **columns))
        return dst

    def static(self, static, width):
        """The register of something static, as wide as that."""
        return self.statics.setdefault((static, width), Register(width, static))

    def number(self, value, width):
        return self.static(Static(float(value)), width) if value else self.zeros(width)

    def zeros(self, width):
        return self.static(ZEROS, width)

    def product(self, a, matrix, transposed=False, init=None):
        """a times a static matrix, plus a register."""
        number = self.matrices.setdefault((matrix, transposed), len(self.matrices))
        return self.emit("product", a, number, init, width=matrix.shape[not transposed])


ZEROS = Static(0.0)


# -- a program -------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """What goes into a program and comes out of it, as registers."""

    loads: list  # (register, adds, counted)
    stores: list  # (register, counted, after)
    carries: list  # (register, the one that it gets)


def apart(assembler, carries):
    """Carries none of which gets what another one has before: copies are between them."""
    carried = {own for own, _ in carries}
    return [
        (own, assembler.emit("copy", new, columns=new.width) if new in carried - {own} else new)
        for own, new in carries
    ]


class Program:
    """A program of the C core, which ``make`` makes, and the static values that it wants."""

    def __init__(self, assembler, parts, make):
        code = living(assembler.code, parts)
        places, widths, statics = numbered(code, parts)
        used = sorted({i.b for i in code if i.name == "product"})
        matrices = [[*assembler.matrices][number] for number in used]
        self.statics, self.matrices = statics, [matrix for matrix, _ in matrices]

        def plain(value):
            return places[value] if isinstance(value, Register) else -1 if value is None else value

        self.core = make(
            widths, len(statics),
            [(i.name, places[i.dst], plain(i.a),
              used.index(i.b) if i.name == "product" else plain(i.b), plain(i.c), i.to, i.start,
              i.columns) for i in code],
            *([(places[r], *rest) for r, *rest in own] for own in parts[:2]),
            [(places[own], places[new]) for own, new in parts.carries],
            [(*matrix.shape[:: -1 if turned else 1], turned) for matrix, turned in matrices],
        )  # fmt: skip

    def run(self, rows, steps, value_of, dtype, loads, stores, first, last, mask, reverse=False):
        """Run it; ``value_of(static)`` gives arrays."""
        values = [
            np.broadcast_to(np.reshape(value_of(r.static), -1), (r.width,)) for r in self.statics
        ]
        statics = np.concatenate([np.zeros(0), *values]).astype(dtype)
        matrices = [np.ascontiguousarray(value_of(m), dtype) for m in self.matrices]
        start, stop = (None, None) if mask is None else (mask.start, mask.stop)
        self.core.run(
            rows, steps, statics, matrices, loads, stores, first, last, start, stop, reverse
        )


def living(code, parts):
    """The instructions whose results are used, by others or behind the step."""
    live = {r for r, *_ in parts.stores} | {new for _, new in parts.carries}
    kept = []
    for i in reversed(code):
        if i.dst in live:
            live.update(i.reads)
            kept.append(i)
    return kept[::-1]


def numbered(code, parts):
    """A number for each register, where one may follow another; the widths; the static ones.

    A register can be used again behind the last instruction that reads what it had.
    """
    always = [r for r, *_ in (*parts.loads, *parts.stores)]
    always += itertools.chain.from_iterable(parts.carries)
    always = dict.fromkeys(always)
    met = dict.fromkeys([*always, *(r for i in code for r in (i.dst, *i.reads))])
    statics = [r for r in met if r.static is not None]
    own = (r for r in always if r.static is None)
    places = {r: n for n, r in enumerate([*statics, *own])}
    widths, free = [r.width for r in places], {}
    last = {r: n for n, i in enumerate(code) for r in (i.dst, *i.reads)}
    for n, i in enumerate(code):
        if i.dst not in places:
            spare = free.get(i.dst.width)
            if spare:
                places[i.dst] = spare.pop()
            else:
                places[i.dst] = len(widths)
                widths.append(i.dst.width)
        for r in dict.fromkeys([i.dst, *i.reads]):
            if last[r] == n and r.static is None and r not in always:
                free.setdefault(r.width, []).append(places[r])
    return places, widths, statics
