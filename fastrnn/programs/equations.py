"""What steps are often made of: activations, sums over columns, the library's own cells.

Equations as in `fastrnn.engines.reference`.  Each takes an `Assembler` and registers.
"""

from __future__ import annotations

from fastrnn.activations import KERNELS_BY_INPUT, KERNELS_BY_OUTPUT

__all__ = [
    "Unsupported", "activate", "across", "gates", "gru", "lstm", "reset_after",
    "reset_before", "spread",
]

KERNELS = KERNELS_BY_OUTPUT | KERNELS_BY_INPUT  # those for which there is an instruction


class Unsupported(Exception):
    """A step has something for which there is no instruction."""


def activate(assembler, name, z):
    """The activation of that name, of a register."""
    if name == "linear":
        return z
    if name in KERNELS:
        return assembler.emit("activate", z, c=name)
    if name not in COMPOSED:
        raise Unsupported(f"activation {name!r}")
    return COMPOSED[name](assembler, z)


def spread(assembler, a, width):
    """A register of one column, or of that many, as wide as that."""
    if a.width == width:
        return a
    if a.width != 1:
        raise Unsupported(f"{a.width} columns in the place of {width}")
    return assembler.emit("spread", a, width=width)


def across(assembler, a, is_mean=True):
    """The mean of a's columns, or their sum, one column."""
    total = assembler.emit("sum", a, width=1)
    if not is_mean:
        return total
    return assembler.emit("multiply", total, assembler.number(1 / a.width, 1))


def softmax(assembler, z):
    """exp(z) over its sum, which does not depend on the largest z: no gradient passes there."""
    emit = assembler.emit
    largest = spread(assembler, emit("largest", z, width=1), z.width)
    e = activate(assembler, "exponential", emit("subtract", z, largest))
    return emit("divide", e, spread(assembler, emit("sum", e, width=1), z.width))


def mish(assembler, z):
    inner = activate(assembler, "tanh", activate(assembler, "softplus", z))
    return assembler.emit("multiply", z, inner)


def hard_silu(assembler, z):
    return assembler.emit("multiply", z, activate(assembler, "hard_sigmoid", z))


def log_sigmoid(assembler, z):
    emit = assembler.emit
    return emit("negative", activate(assembler, "softplus", emit("negative", z)))


def tanh_shrink(assembler, z):
    return assembler.emit("subtract", z, activate(assembler, "tanh", z))


def clipped(assembler, z, least, most):
    emit, number = assembler.emit, assembler.number
    return emit("minimum", emit("maximum", z, number(least, z.width)), number(most, z.width))


def soft_shrink(assembler, z):
    return assembler.emit("subtract", z, clipped(assembler, z, -0.5, 0.5))


def squareplus(assembler, z):
    emit, number = assembler.emit, assembler.number
    root = emit("sqrt", emit("add", emit("multiply", z, z), number(4.0, z.width)))
    return emit("multiply", emit("add", z, root), number(0.5, z.width))


COMPOSED = {
    "softmax": softmax, "mish": mish, "hard_silu": hard_silu,
    "log_sigmoid": log_sigmoid, "tanh_shrink": tanh_shrink, "soft_shrink": soft_shrink,
    "squareplus": squareplus, "celu": lambda assembler, z: activate(assembler, "elu", z),
    "hard_tanh": lambda assembler, z: clipped(assembler, z, -1.0, 1.0),
}  # fmt: skip


# -- cells ----------------------------------------------------------------------------------------


def gates(assembler, z, units):
    """The columns of each gate, a list of registers."""
    return [
        assembler.emit("copy", z, width=units, start=start, columns=units)
        for start in range(0, z.width, units)
    ]


def lstm(assembler, z, c, cell):
    """[h', c'], of the sum of both products and biases (B, 4 H)."""
    emit = assembler.emit
    i, f, g, o = gates(assembler, z, c.width)
    i, f, o = (activate(assembler, cell.recurrent_activation, gate) for gate in (i, f, o))
    g = activate(assembler, cell.activation, g)
    c = emit("add", emit("multiply", f, c), emit("multiply", i, g))
    return [emit("multiply", o, activate(assembler, cell.activation, c)), c]


def gru(assembler, xz, h, product, candidate_of, cell):
    """[h'], of the projected input (B, 3 H).

    Parameters
    ----------
    product : Register
        h U for the first two gates (and, as far as ``candidate_of`` wants it, the third).
    candidate_of : callable
        ``candidate_of(r)``: what the state gives to the candidate; `reset_after` or `reset_before`.
    """
    emit, units = assembler.emit, h.width
    z, r, candidate = gates(assembler, xz, units)
    own_z, own_r, *_ = gates(assembler, product, units)
    z, r = (
        activate(assembler, cell.recurrent_activation, emit("add", *parts))
        for parts in ((z, own_z), (r, own_r))
    )
    candidate = emit("add", candidate, candidate_of(r))
    candidate = activate(assembler, cell.activation, candidate)
    return [emit("add", candidate, emit("multiply", z, emit("subtract", h, candidate)))]


def reset_after(assembler, product, bias=None):
    """r (h U + b), of h U for all gates: a GRU's that resets after the product."""
    def candidate_of(r):
        own = gates(assembler, product, r.width)[2]
        own = own if bias is None else assembler.emit("add", own, bias)
        return assembler.emit("multiply", r, own)

    return candidate_of


def reset_before(assembler, h, U):
    """(r h) U: a GRU's that resets before the product."""
    return lambda r: assembler.product(assembler.emit("multiply", r, h), U)
