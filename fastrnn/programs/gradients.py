"""The instructions of the way back, from those of the way there."""

from __future__ import annotations

__all__ = ["Gradients"]


class Gradients:
    """Writes the instructions of the way back.

    Attributes
    ----------
    of : dict of Register to Register
        The gradient of each, as far as it is known.
    """

    def __init__(self, assembler, held):
        self.assembler = assembler
        self.held = held
        self.of = {}
        self.own = set()  # registers whose gradient nobody else has, so that it may be added to
        self.products = []  # (a, matrix, dy)

    def wants(self, register):
        return register.static is None or register.static.has_gradient

    def add(self, register, d):
        if register is None or not self.wants(register):
            return
        before = self.of.get(register)
        if before is None:
            self.of[register] = d
        else:
            self.of[register] = self.assembler.emit(
                "add", before, d, dst=before if register in self.own else None
            )
            self.own.add(register)

    def add_part(self, register, start, d):
        """Add to the gradient of some columns."""
        if not self.wants(register):
            return
        if register not in self.own:
            emit, before = self.assembler.emit, self.of.get(register)
            if before is None:
                self.of[register] = emit("zero", width=register.width)
            else:
                self.of[register] = emit("copy", before, columns=register.width)
            self.own.add(register)
        self.assembler.emit(
            "add_copy", d, dst=self.of[register], to=start, columns=d.width
        )

    def back(self, instruction):
        """The gradients of what an instruction read, from that of what it wrote."""
        d = self.of.get(instruction.dst)
        if d is not None and instruction.dst not in self.held:
            getattr(self, f"_{instruction.name}", self._nothing)(d, instruction)

    def _nothing(self, d, i):
        """Of comparisons and signs."""

    def _add(self, d, i):
        self.add(i.a, d)
        self.add(i.b, d)

    def _subtract(self, d, i):
        self.add(i.a, d)
        if self.wants(i.b):
            self.add(i.b, self.assembler.emit("negative", d))

    def _negative(self, d, i):
        self.add(i.a, self.assembler.emit("negative", d))

    def _multiply(self, d, i):
        for own, other in ((i.a, i.b), (i.b, i.a)):
            if self.wants(own):
                self.add(own, self.assembler.emit("multiply", d, other))

    def _divide(self, d, i):
        emit = self.assembler.emit
        part = emit("divide", d, i.b)
        self.add(i.a, part)
        if self.wants(i.b):
            self.add(i.b, emit("negative", emit("multiply", part, i.dst)))

    def _chosen(self, d, i, comparison):
        emit = self.assembler.emit
        first = emit("multiply", d, emit(comparison, i.a, i.b))
        self.add(i.a, first)
        self.add(i.b, emit("subtract", d, first))

    def _maximum(self, d, i):
        self._chosen(d, i, "greater_equal")

    def _minimum(self, d, i):
        self._chosen(d, i, "less_equal")

    def _where(self, d, i):
        emit, zeros = self.assembler.emit, self.assembler.zeros(d.width)
        if self.wants(i.a):
            self.add(i.a, emit("where", d, zeros, i.c))
        if self.wants(i.b):
            self.add(i.b, emit("where", zeros, d, i.c))

    def _activate(self, d, i):
        by = i.a if i.c in ("silu", "gelu") else i.dst
        self.add(i.a, self.assembler.emit("slope", by, d, i.c))

    def _absolute(self, d, i):
        emit = self.assembler.emit
        self.add(i.a, emit("multiply", d, emit("sign", i.a)))

    def _sqrt(self, d, i):
        emit = self.assembler.emit
        self.add(i.a, emit("divide", d, emit("add", i.dst, i.dst)))

    def _sin(self, d, i):
        emit = self.assembler.emit
        self.add(i.a, emit("multiply", d, emit("cos", i.a)))

    def _cos(self, d, i):
        emit = self.assembler.emit
        self.add(i.a, emit("negative", emit("multiply", d, emit("sin", i.a))))

    def _log(self, d, i):
        self.add(i.a, self.assembler.emit("divide", d, i.a))

    def _sum(self, d, i):
        self.add(i.a, self.assembler.emit("spread", d, width=i.a.width))

    def _spread(self, d, i):
        self.add(i.a, self.assembler.emit("sum", d, width=1))

    def _copy(self, d, i):
        if i.columns < d.width:
            d = self.assembler.emit("copy", d, width=i.columns, start=i.to, columns=i.columns)
        if i.columns == i.a.width:
            self.add(i.a, d)
        else:
            self.add_part(i.a, i.start, d)

    def _product(self, d, i):
        matrix, _ = [*self.assembler.matrices][i.b]
        self.add(i.a, self.assembler.product(d, matrix, transposed=True))
        self.add(i.c, d)
        if matrix.has_gradient:
            self.products.append((i.a, matrix, d))
