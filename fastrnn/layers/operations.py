"""Functions of arrays as layers of a graph: what `fastrnn.ops` makes of symbolic tensors.

Each is an entry of `fastrnn.differentiable.FUNCTIONS`, and gives floats of the layer's type: 1
where a comparison is true, else 0.  As in Keras they pass no mask on; what sequences of different
lengths are filled up with stays filling where a function leaves steps apart, and else is refused.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.differentiable import FUNCTIONS
from fastrnn.graph import Node, SymbolicTensor
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given
from fastrnn.layers.merging import filled
from fastrnn.names import unique_name, unknown
from fastrnn.operands import drawn_owner, weights_drawn
from fastrnn.parameters import Parameter

__all__ = ["Constant", "Counted", "Operation", "Weight", "applied", "operand"]


# -- what a graph begins from besides its inputs ---------------------------------------------------


class Weight(Layer):
    """Gives the value of a weight, which another layer has; its gradient goes there."""

    def __init__(self, parameter):
        super().__init__(name=unique_name("weight"), dtype=str(parameter.dtype))
        self.parameter = parameter
        self.built = True

    def compute_output_shape(self, input_shape):
        return self.parameter.shape

    def forward(self, x, mask=None, training=False):
        return self.parameter.value, None

    def backward(self, tape, dy):
        if self.parameter.trainable:
            self.parameter.grad += dy
        return []


def _weight_of(array):
    """The weight whose value an array is, in the call of its layer; else the array."""
    owner = drawn_owner()
    for p in [] if owner is None else owner.parameters:
        if array is p.value:
            return p
        if isinstance(p.value, np.ndarray) and np.may_share_memory(array, p.value):
            raise TypeError(
                f"weight '{p.path}': parts of its value would be constants in a call, without a "
                "gradient; take them of the weight itself."
            )
    return array


def operand(x):
    """What stands for ``x`` where a graph is drawn: for a weight a tensor, else itself."""
    drawn = weights_drawn()
    if drawn is not None and isinstance(x, np.ndarray):
        x = _weight_of(x)
    if drawn is None or not isinstance(x, Parameter):
        return x
    if x not in drawn:
        layer = Weight(x)
        drawn[x] = Node(layer, [], x.shape, layer.dtype).structure
    return drawn[x]


class Constant:
    """A number, or an array that is brought to an engine once."""

    def __init__(self, value, dtype):
        value = np.asarray(value)
        self.shape = value.shape
        if not self.shape:
            self.value = value.item()
        else:
            self.value = value if value.dtype == bool else value.astype(dtype)
        self._copies = {}

    def here(self):
        """The number, or the array where the current engine has its own."""
        if not self.shape:
            return self.value
        engine = engines.current()
        if engine.name not in self._copies:
            self._copies[engine.name] = engine.asarray(self.value)
        return self._copies[engine.name]

    def __deepcopy__(self, memo):
        return self  # nobody changes it

    def plain(self):
        """The value, fit for JSON."""
        return self.value.tolist() if self.shape else self.value


class Counted(Layer):
    """The mask of its input as an array (B, T): 1 where a step counts, 0 where it is masked."""

    def __init__(self, **kwargs):
        super().__init__(name=unique_name("counted"), **kwargs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:2])

    def forward(self, x, mask=None, training=False):
        engine = engines.current()
        counts = np.ones(x.shape[:2], self.dtype) if mask is None else np.asarray(mask, self.dtype)
        return engine.asarray(counts), None

    def output_mask(self, x, mask, y):
        given = getattr(mask, "given", None)
        return None if given is None else given.all_given()

    def backward(self, tape, dy):
        return None


# -- functions -------------------------------------------------------------------------------------


def _shape(x):
    """The shape of an array of whatever engine, of a constant or of a number."""
    return getattr(x, "shape", ())


class Operation(Layer):
    """A function of arrays as a layer.

    Parameters
    ----------
    function : str
        An entry of `fastrnn.differentiable.FUNCTIONS`.
    options : dict, optional
        Its further arguments.
    constants : dict of int to array, optional
        What stands in the place of x, by its place among several.

    Raises
    ------
    ValueError
        If the function is not known, or the shapes do not fit it.

    Examples
    --------
    >>> Operation("mean", {"axis": 1})(np.array([[1.0, 2.0, 6.0]]))
    array([3.], dtype=float32)
    """

    def __init__(self, function, options=None, constants=None, name=None, **kwargs):
        if function not in FUNCTIONS:
            raise ValueError(f"Operation: {unknown('function', function, FUNCTIONS)}")
        super().__init__(name=name or unique_name(function), **kwargs)
        self.function = function
        self.options = dict(options or {})
        self.constants = {
            int(place): Constant(value, self.dtype) for place, value in (constants or {}).items()
        }

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shapes = [*map(tuple, input_shape)] if several else [tuple(input_shape)]
        full = self._filled_in(shapes, _shape)
        try:
            found = FUNCTIONS[self.function].shape(*full, **self.options)
            self._check_rows_apart(full)
            return found
        except ValueError as error:
            raise ValueError(
                f"Layer '{self.name}' (Operation: {self.function}): expected {error}; got "
                f"{'shape' if len(full) == 1 else 'shapes'} {', '.join(map(str, full))}."
            ) from None

    def keeps_steps(self, ndim):
        given = self.input_shape if isinstance(self.input_shape, list) else [self.input_shape]
        return 1 not in self._mixed(map(len, self._filled_in(given, _shape)))

    def _check_rows_apart(self, shapes):
        """Raise where a row's result would depend on the rows beside it."""
        if 0 in self._mixed(map(len, shapes)) and any(shape[:1] == (None,) for shape in shapes):
            raise ValueError(
                "axes behind the batch: a row's result may not depend on the rows beside it"
            )

    def _mixed(self, ndims):
        """The axes along which the function mixes entries."""
        return FUNCTIONS[self.function].mixes(*ndims, **self.options)

    def _filled_in(self, inputs, made):
        """The inputs and, between them, what ``made`` makes of the constants."""
        places = range(len(self.constants) + len(inputs))
        inputs = iter(inputs)
        return [
            made(self.constants[i]) if i in self.constants else next(inputs) for i in places
        ]

    # -- the layer's work ----------------------------------------------------------------------

    def convert_input(self, x):
        if not isinstance(x, (list, tuple)):
            return super().convert_input(x)
        return [super(Operation, self).convert_input(part) for part in x]

    def forward(self, x, mask=None, training=False):
        inputs = [engines.dense(part) for part in (x if isinstance(x, list) else [x])]
        full = self._filled_in(inputs, Constant.here)
        ragged = filled(mask if isinstance(mask, list) else [mask])
        mixed = () if ragged is None else self._mixed(len(_shape(part)) for part in full)
        if min(mixed, default=2) < 2:
            check_given(self, ragged)
        y = FUNCTIONS[self.function].forward(*full, **self.options)
        # Of what may be a view that goes on in large steps, or booleans, which are 0 and 1 here.
        y = engines.current().asarray(y, self.dtype)
        return y, (full, y)

    def output_mask(self, x, mask, y):
        ragged = filled(mask if isinstance(mask, list) else [mask])
        if ragged is None:
            return None
        return ragged.given.all_given() if y.shape[:2] == ragged.shape else None

    def backward(self, tape, dy):
        full, y = tape
        backward = FUNCTIONS[self.function].backward
        if backward is None:
            gradients = [None] * len(full)
        else:
            gradients = backward(dy, y, *full, **self.options)
            gradients = [gradients] if len(full) == 1 else [*gradients]
        asarray = engines.current().asarray
        own = [
            None if d is None else asarray(d)
            for place, d in enumerate(gradients) if place not in self.constants
        ]
        return own if len(own) > 1 else own[0]

    def get_config(self):
        return super().get_config() | {
            "function": self.function, "options": self.options,
            "constants": {str(place): c.plain() for place, c in self.constants.items()},
        }


def as_arrays(x):
    """All as arrays, but for numbers beside arrays, which take their type."""
    numbers = [isinstance(part, (int, float)) for part in x]
    return [
        part if own and not all(numbers) else np.asarray(part)
        for part, own in zip(x, numbers, strict=True)
    ]


def applied(function, *x, **options):
    """The function of arrays, of NumPy's; or, where there is a symbolic tensor, a tensor."""
    x = [operand(part) for part in x]
    tensors = [part for part in x if isinstance(part, SymbolicTensor)]
    if not tensors:
        return FUNCTIONS[function].forward(*as_arrays(x), **options)
    floats = [t.dtype for t in tensors if t.dtype in ("float32", "float64")]
    constants = {i: part for i, part in enumerate(x) if not isinstance(part, SymbolicTensor)}
    layer = Operation(function, options, constants, **({"dtype": floats[0]} if floats else {}))
    return layer(tensors if len(tensors) > 1 else tensors[0])
