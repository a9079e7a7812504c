"""From the layers of a step to instructions."""

from __future__ import annotations

import math

import numpy as np

from fastrnn.graph import flatten
from fastrnn.layers.cells import CellStep, GRUCell, LSTMCell, SimpleRNNCell
from fastrnn.layers.core import Activation, Dense
from fastrnn.layers.normalization import LayerNormalization
from fastrnn.layers.operations import Operation
from fastrnn.layers.operators import Arithmetic, GetItem
from fastrnn.parameters import Parameter
from fastrnn.programs import equations
from fastrnn.programs.equations import Unsupported
from fastrnn.programs.instructions import Register, Static

__all__ = ["CELLS", "LAYERS", "Translator", "draws", "is_weight", "of_tensor"]


class Part:
    """Some rows or columns of a weight, as if they were a weight."""

    def __init__(self, parameter, index):
        self.parameter = parameter
        self.index = index

    value = property(lambda self: self.parameter.value[self.index])
    grad = property(lambda self: self.parameter.grad[self.index])
    shape = property(lambda self: self.value.shape)
    trainable = property(lambda self: self.parameter.trainable)


def of_weight(weight):
    """A weight, or a `Part` of one, as a `Static`."""
    return Static(weight, weight.shape, has_gradient=True)


def of_tensor(tensor):
    """A tensor that depends on weights alone, as a `Static`."""
    return Static(tensor, tensor.shape, has_gradient=True)


def of_constant(constant):
    """A `Constant` as a `Static`."""
    return Static(constant.value if constant.shape else float(constant.value), constant.shape)


def is_weight(static):
    return isinstance(static.source, (Parameter, Part))


def draws(layer):
    """Whether a cell of the library drops something."""
    return bool(getattr(layer, "dropout", 0) or getattr(layer, "recurrent_dropout", 0))


PAIRS = {
    "maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
}
SINGLE = {"absolute", "sign", "sqrt", "log", "sin", "cos"}


class Translator:
    """Writes the instructions of the nodes that depend on states.

    Attributes
    ----------
    values : dict of SymbolicTensor to Register or `Static`
    held : set of Register
        Those through which no gradient passes.
    """

    def __init__(self, assembler):
        self.assembler = assembler
        self.values = {}
        self.held = set()

    def node(self, node):
        layer = node.layer
        write = getattr(self, f"_{type(layer).__name__.lower()}", None)
        told = node.initial_state is not None or node.mask is not None
        if write is None or type(layer) not in LAYERS or told:
            raise Unsupported(f"layer '{layer.name}' ({type(layer).__name__})")
        output, *_ = node.outputs
        if any(len(t.shape) != 2 for t in node.outputs):
            raise Unsupported(f"layer '{layer.name}', whose output has shape {output.shape}")
        found = write(layer, [self.values[t] for t in flatten(node.inputs)], output)
        found = found if isinstance(found, list) else [found]
        self.values.update(zip(node.outputs, found, strict=True))

    def register(self, value, width):
        """A value as a register of that width."""
        if isinstance(value, Static):
            shape = value.shape
            if math.prod(shape[:-1]) != 1 or (shape and shape[-1] not in (1, width)):
                raise Unsupported(f"a static array of shape {shape}")
            return self.assembler.static(value, width)
        return equations.spread(self.assembler, value, width)

    def activate(self, name, z):
        return equations.activate(self.assembler, name, z)

    # Each takes the layer, what goes in, and the tensor that comes out.

    def _arithmetic(self, layer, values, output):
        emit, width, operation = self.assembler.emit, output.shape[-1], layer.operation
        if layer.constant is not None:
            constant = of_constant(layer.constant)
            values = [constant, *values] if layer.right is None else [*values, constant]
        if operation == "power":
            a, power = self.register(values[0], width), values[1]
            if not isinstance(power, Static) or power.key != 2.0:
                raise Unsupported("a power that is no square")
            return emit("multiply", a, a)
        a, b = (self.register(value, width) for value in values)
        return emit(operation, a, b)

    def _operation(self, layer, values, output):
        emit, function, width = self.assembler.emit, layer.function, output.shape[-1]
        constants = {i: of_constant(c) for i, c in layer.constants.items()}
        given = iter(values)
        values = [
            constants[i] if i in constants else next(given)
            for i in range(len(values) + len(constants))
        ]
        if function == "matmul":
            return self._matmul(*values)
        if function == "concatenate":
            return self._concatenated(values, output)
        if function in ("sum", "mean"):
            return self._summed(layer, values[0], output)
        if function == "full":
            return self.assembler.number(float(layer.options["value"]), width)
        if function in ("zeros_like", "ones_like"):
            return self.assembler.number(float(function == "ones_like"), width)
        registers = [self.register(value, width) for value in values]
        if function == "exp":
            return self.activate("exponential", *registers)
        if function == "square":
            return emit("multiply", *registers * 2)
        if function == "clip":
            return self._clipped(registers[0], layer.options["x_min"], layer.options["x_max"])
        if function == "where":
            condition, a, b = registers
            return emit("where", a, b, condition)
        if function == "stop_gradient":
            held = emit("copy", *registers, columns=width)
            self.held.add(held)
            return held
        if function == "softmax" and layer.options.get("axis", -1) not in (-1, 1):
            raise Unsupported("a softmax along something else than the last axis")
        if function in SINGLE | PAIRS:
            return emit(function, *registers)
        if len(registers) > 1:
            raise Unsupported(f"function {function!r}")
        return self.activate(function, *registers)

    def _clipped(self, a, least, most):
        if not (isinstance(least, (int, float)) and isinstance(most, (int, float))):
            raise Unsupported("bounds that are no numbers")
        return equations.clipped(self.assembler, a, float(least), float(most))

    def _matmul(self, a, matrix):
        if isinstance(a, Static) or not isinstance(matrix, Static) or len(matrix.shape) != 2:
            raise Unsupported("a product with something else than a weight on the right")
        return self._product(a, matrix)

    def _product(self, a, matrix, init=None):
        if a.width != matrix.shape[0]:  # the layer says what is wrong when it runs
            raise Unsupported(f"{a.width} columns, times a matrix of shape {matrix.shape}")
        return self.assembler.product(a, matrix, init=init)

    def _concatenated(self, values, output):
        dst, to = Register(output.shape[-1]), 0
        for value in values:
            width = value.shape[-1] if isinstance(value, Static) else value.width
            part = self.register(value, width)
            self.assembler.emit("copy", part, dst=dst, to=to, columns=width)
            to += width
        if to != dst.width:
            raise Unsupported("arrays that are joined along the batch")
        return dst

    def _summed(self, layer, value, output):
        if output.shape[-1] != 1 or isinstance(value, Static):
            raise Unsupported("a sum along something else than the last axis")
        return equations.across(self.assembler, value, layer.function == "mean")

    def _getitem(self, layer, values, output):
        [a] = values
        key = layer._keys(2)
        if len(key) != 2 or not isinstance(key[1], slice) or isinstance(a, Static):
            raise Unsupported("such a part of an array")
        places = range(a.width)[key[1]]
        if places.step != 1:
            raise Unsupported("columns that are not side by side")
        return self.assembler.emit(
            "copy", a, width=len(places), start=places.start, columns=len(places)
        )

    def _activation(self, layer, values, output):
        return self.activate(layer.activation, self.register(values[0], output.shape[-1]))

    def _dense(self, layer, values, output):
        [a] = values
        if layer.activity_regularizer is not None or isinstance(a, Static):
            raise Unsupported("a penalty on an output, or an input that is the same for all rows")
        init = None
        if layer.use_bias:
            init = self.assembler.static(of_weight(layer.bias), layer.units)
        return self.activate(
            layer.activation, self._product(a, of_weight(layer.kernel), init=init)
        )

    def _layernormalization(self, layer, values, output):
        emit, width = self.assembler.emit, output.shape[-1]
        a = self.register(values[0], width)
        if layer.axis not in (-1, [-1], 1, [1]):
            raise Unsupported("a norm over something else than the last axis")
        centred = emit("subtract", a, self.register(equations.across(self.assembler, a), width))
        squares = emit("multiply", centred, centred)
        variance = self.register(equations.across(self.assembler, squares), width)
        deviation = emit("sqrt", emit("add", variance, self.assembler.number(layer.epsilon, width)))
        y = emit("divide", centred, deviation)
        for name, weight in (("multiply", layer.gamma), ("add", layer.beta)):
            y = emit(name, y, self.assembler.static(of_weight(weight), width)) if weight else y
        return y

    # The library's own cells, called in a step: see `fastrnn.engines.reference` for the equations.

    def _cellstep(self, layer, values, output):
        cell = layer.cell
        write = {
            SimpleRNNCell: self._simple_rnn, LSTMCell: self._lstm, GRUCell: self._gru,
        }.get(type(cell))  # fmt: skip
        if write is None or draws(cell):
            raise Unsupported(f"a step of cell '{cell.name}' ({type(cell).__name__})")
        widths = cell.input_shape[-1], *cell.state_sizes
        x, *states = (self.register(v, n) for v, n in zip(values, widths, strict=True))
        new = write(cell, x, *states)
        return [new[0], *new]

    def _projected(self, cell, x, bias):
        """x W, and the bias."""
        init = bias and self.assembler.static(of_weight(bias), cell.kernel.shape[1])
        return self.assembler.product(x, of_weight(cell.kernel), init=init)

    def _sums(self, cell, x, h):
        """x W + h U + b."""
        z = self._projected(cell, x, cell.bias or None)
        return self.assembler.product(h, of_weight(cell.recurrent_kernel), init=z)

    def _simple_rnn(self, cell, x, h):
        return [self.activate(cell.activation, self._sums(cell, x, h))]

    def _lstm(self, cell, x, h, c):
        return equations.lstm(self.assembler, self._sums(cell, x, h), c, cell)

    def _gru(self, cell, x, h):
        assembler, units, U = self.assembler, cell.units, cell.recurrent_kernel
        if cell.reset_after:
            outer, inner = (Part(cell.bias, n) for n in (0, 1)) if cell.use_bias else (None, None)
            init = inner and assembler.static(of_weight(inner), 3 * units)
            product = assembler.product(h, of_weight(U), init=init)
            candidate_of = equations.reset_after(assembler, product)
        else:
            outer = cell.bias or None
            gates, own = (
                of_weight(Part(U, np.s_[:, part])) for part in (np.s_[: 2 * units],
                                                                np.s_[2 * units :])
            )  # fmt: skip
            product = assembler.product(h, gates)
            candidate_of = equations.reset_before(assembler, h, own)
        xz = self._projected(cell, x, outer)
        return equations.gru(assembler, xz, h, product, candidate_of, cell)


LAYERS = (Activation, Arithmetic, CellStep, Dense, GetItem, LayerNormalization, Operation)
CELLS = (GRUCell, LSTMCell, SimpleRNNCell)  # which a step may call
