"""The contract of a layer: shapes, parameters, and two methods.

``forward(x, mask=None, training=False) -> (y, tape)`` and ``backward(tape, dy) -> dx``, which adds
into the gradients of the layer's parameters.  A tape is opaque and dropped after use.  Layers know
neither threads nor devices: all arithmetic on large arrays is the engine's.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

from fastrnn import constraints, engines, graph, initializers, regularizers
from fastrnn.config import floatx
from fastrnn.masks import StepMask
from fastrnn.names import nearest, snake_case, unique_name, unused
from fastrnn.parameters import Parameter

__all__ = ["Layer"]


def _no_argument(cls, argument, *_):
    """What to say of an argument that a class of layers does not take."""
    known = {
        name for base in cls.__mro__ if issubclass(base, Layer)
        for name in inspect.signature(base.__init__).parameters
    } - {"self", "args", "kwargs", "unknown", "arguments"}
    return (
        f"{cls.__name__}: there is no argument {argument!r}.{nearest(argument, sorted(known))}"
    )


def _finished(build):
    """A `build` of one's own, which need not say that it was called; one may call another's."""
    @functools.wraps(build)
    def finished(self, *shapes, **named):
        if self._is_building:
            build(self, *shapes, **named)
        elif not self.built:
            given = [*shapes, *named.values()]
            one = len(given) == 1
            by_name = self.shapes_by_name(build, given[0]) if one else None
            self._is_building = True
            try:
                if by_name is None:
                    build(self, *shapes, **named)
                else:
                    build(self, **by_name)
            finally:
                self._is_building = False
            self.finish_build(given[0] if one else given)

    return finished


class Layer:
    """What every layer has.

    Parameters
    ----------
    trainable : bool, default True
    dtype : {"float32", "float64"}, default `fastrnn.config.floatx`
    name : str, optional
        Default: the class's name in snake case, numbered.

    Attributes
    ----------
    built : bool
    parameters : list of Parameter
        Its own, then those of its sublayers: in the order of `get_weights`.
    input_shape, output_shape : tuple
        With None for the batch; known once built.  Lists of them for several inputs or outputs.
    nodes : list of `fastrnn.graph.Node`
        Where the layer was applied to symbolic tensors.
    """

    supports_masking = False  # True: the mask passes to the next layer as it came
    # A layer that makes ids of ids has a method: of ids (.., ) an array with the least and the
    # greatest that may come out, for who looks at all of them before the first step.
    ids_after = None
    _is_building = False  # in a `build` of one's own
    input_dtype = None  # "string" for a layer that reads texts
    # From a class that has a `call` to the base that runs it: see `fastrnn.layers.composite`.
    drawn_by = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls) and "forward" not in vars(cls):
            cls._draw_call()

    @classmethod
    def _draw_call(cls):
        """Give a class that has a `call`, and no `forward`, the base that makes one of the other.

        What it derives from is what its author knows: `Layer`, a cell, a model.
        """
        base = next(base for base in cls.__mro__ if "forward" in vars(base))
        if "drawn_by" not in vars(base):
            raise TypeError(
                f"class {cls.__name__}: a `call` cannot stand in the place of what "
                f"{base.__name__} does. Derive from Layer, and use a {base.__name__} in it."
            )
        if base.drawn_by is not None:
            drawn = base.drawn_by(cls)
            cls.__bases__ = *(b for b in cls.__bases__ if not issubclass(drawn, b)), drawn
        if "build" in vars(cls):
            cls.build = _finished(cls.build)

    def __init__(self, *, trainable=True, dtype=None, name=None, input_shape=None,
                 input_dim=None, **unknown):
        if unknown:
            raise TypeError(_no_argument(type(self), *unknown))
        self.dtype = dtype or floatx()
        if self.dtype not in ("float32", "float64"):
            raise ValueError(
                f"{type(self).__name__}: dtype must be 'float32' or 'float64'; got {dtype!r}."
            )
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._trainable = trainable
        self._parameters = []
        self.nodes = []
        self.built = False
        self.input_shape = None
        # Keras 2's ways to say the shape of a row in the first layer of a Sequential.
        if input_dim is not None:
            input_shape = (input_dim,)
        self.declared_input_shape = None if input_shape is None else (None, *input_shape)

    # -- to be written by each layer -----------------------------------------------------------

    def create(self, input_shape):
        """Make the parameters for inputs of ``input_shape`` with `add_weight`."""

    def compute_output_shape(self, input_shape):
        """The shape of the output; the input's unless a layer says otherwise."""
        return tuple(input_shape)

    def forward(self, x, mask=None, training=False):
        """``(y, tape)`` for engine arrays; ``mask`` is a `StepMask` or None."""
        raise self._missing("forward(self, x, mask=None, training=False)", "(y, tape)")

    def backward(self, tape, dy):
        """dx, adding into the parameters' gradients."""
        raise self._missing("backward(self, tape, dy)", "dx")

    def _missing(self, method, result):
        """The error for a method that a class leaves out."""
        return NotImplementedError(
            f"Layer '{self.name}' ({type(self).__name__}): the class has no {method}; write it, so "
            f"that it gives {result}."
        )

    def compute_mask(self, x, mask=None):
        """The mask that goes with the output for this input."""
        return mask if self.supports_masking else None

    def keeps_steps(self, ndim):
        """Whether an output with all steps of an input of so many axes has them in their place.

        That none of them sees later ones is not asked.
        """
        return True

    def output_mask(self, x, mask, y):
        """As `compute_mask`, for the output y; but filling stays filling.

        A layer that passes no mask on forgets which steps are masked, as in Keras. It may not turn
        what rows of different lengths are filled up with into steps: where its output still has
        the steps of its input, they keep their ends.
        """
        own, given = self.compute_mask(x, mask), getattr(mask, "given", None)
        if given is None or own is not None or not hasattr(y, "ndim"):
            return own
        return given.all_given() if y.ndim > 2 and y.shape[:2] == x.shape[:2] else None

    def last_activation(self, tape):
        """What the output's activation was applied to, if the layer ends in one, and its name.

        Losses that know the activation start from here: ``(name, z)`` or ``(None, None)``.
        """
        return None, None

    def backward_logits(self, tape, dz):
        """`backward` for a gradient of what `last_activation` returned."""
        raise NotImplementedError

    # -- as a part of a model ------------------------------------------------------------------

    def run(self, x, mask=None, training=False):
        """`forward` and `output_mask` in one: ``(y, mask, tape)``."""
        y, tape = self.forward(x, mask=mask, training=training)
        return y, self.output_mask(x, mask, y), tape

    @property
    def sublayers(self):
        """The layers inside this one."""
        return ()

    def move(self):
        """Bring the weights, and states if there are any, to the device in use."""
        if engines.several_memories():
            for layer in self.walk():
                layer.move_own()

    def move_own(self):
        """`move` for what belongs to this layer alone."""
        for parameter in self._parameters:
            parameter.move()

    def walk(self):
        """This layer, all layers inside it and inside those: each once, the outer ones first."""
        found, waiting = {}, [self]
        while waiting:
            layer = waiting.pop(0)
            if layer not in found:
                found[layer] = None
                waiting[:0] = layer.sublayers
        return list(found)

    # -- building ----------------------------------------------------------------------------

    def build(self, input_shape):
        """Make the weights for inputs of this shape, batch included: ``(None, 500, 32)``."""
        if self.built:
            return
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shape = [*map(tuple, input_shape)] if several else tuple(input_shape)
        self.input_shape = shape
        try:
            self.create(shape)
        except Exception as error:
            error.add_note(
                f"layer '{self.name}' ({type(self).__name__}) cannot be built for inputs of shape "
                f"{shape}"
            )
            raise
        self.built = True

    def shapes_by_name(self, build, input_shape):
        """The shapes for a `build` of one's own that asks for those of several arguments; or None.

        As in Keras it says ``query_shape`` for that of the argument ``query`` of `call`.
        """

    def unbuild(self):
        """Drop the layer's own weights and shape, as if it had not been built."""
        self.built = False
        self.input_shape = None
        self._parameters = []

    @property
    def output_shape(self):
        return self.compute_output_shape(self.input_shape)

    def add_weight(self, shape=(), initializer="glorot_uniform", dtype=None, trainable=True,
                   regularizer=None, constraint=None, name=None):
        """A new weight, of the layer's type; weights are kept in the order in which they are added.

        Parameters
        ----------
        shape : tuple of int, default ()
        initializer : default "glorot_uniform"
        dtype : str, optional
            That of the layer, if it is given at all.
        trainable : bool, default True
        regularizer, constraint : default None
        name : str, optional
            Default: "variable", numbered.

        Returns
        -------
        Parameter
            ``weight.value`` is the array; ``backward`` adds into ``weight.grad``.

        Raises
        ------
        ValueError
            For another type than the layer's.
        """
        if dtype not in (None, self.dtype):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): add_weight expected no dtype, or "
                f"that of the layer, {self.dtype!r}; got {dtype!r}. Give the layer that dtype."
            )
        if name is None:
            name = unused("variable", {p.name for p in self._parameters})
        initial = initializers.initial(initializer, shape, self.dtype)
        value = engines.current().zeros(initial.shape, initial.dtype)  # on a cache line's start
        value[...] = initial
        parameter = Parameter(
            name, value, trainable, regularizers.get(regularizer), constraints.get(constraint)
        )
        parameter.path = f"{self.name}/{name}"
        self._parameters.append(parameter)
        return parameter

    # -- weights -----------------------------------------------------------------------------

    @property
    def parameters(self):
        return [*self._parameters, *(p for layer in self.sublayers for p in layer.parameters)]

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        self._trainable = bool(value)
        for layer in self.sublayers:
            layer.trainable = value

    @property
    def trainable_parameters(self):
        if not self.trainable:
            return []
        own = [p for p in self._parameters if p.trainable]
        inner = (p for layer in self.sublayers for p in layer.trainable_parameters)
        return [*dict.fromkeys([*own, *inner])]  # a layer may stand in several of them

    @property
    def weights(self):
        return list(self.parameters)

    @property
    def trainable_weights(self):
        return self.trainable_parameters

    @property
    def non_trainable_weights(self):
        trained = {id(p) for p in self.trainable_parameters}
        return [p for p in self.parameters if id(p) not in trained]

    # By the names that Keras has beside those.
    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def penalised_layers(self):
        """The layers, of this one and those inside it, that have a penalty on their output."""
        return [
            layer for layer in self.walk()
            if getattr(layer, "activity_regularizer", None) is not None
        ]

    @property
    def losses(self):
        """All penalties, a list of floats: on outputs, of the last batch; then on weights."""
        outputs = [float(layer.activity_penalty) for layer in self.penalised_layers()]
        weights = [p for p in self.trainable_parameters if p.regularizer is not None]
        return outputs + [float(p.regularizer(p.value)) for p in weights]

    def count_params(self):
        """The number of numbers in the weights."""
        return sum(p.size for p in self.parameters)

    def get_weights(self):
        """Copies of the weights, a list of arrays."""
        return [p.numpy() for p in self.parameters]

    def set_weights(self, weights):
        """Overwrite the weights with a list of arrays as `get_weights` gives it.

        Raises
        ------
        ValueError
            If their number or a shape differs; nothing is changed then.
        """
        weights = [np.asarray(w) for w in weights]
        expected = [p.shape for p in self.parameters]
        if [w.shape for w in weights] != expected:
            built = "" if self.built else " (the layer is not built yet: call build(shape) first)"
            raise ValueError(
                f"Layer '{self.name}': set_weights expected arrays of shapes {expected}; "
                f"got {[w.shape for w in weights]}{built}."
            )
        for parameter, weight in zip(self.parameters, weights, strict=True):
            parameter.assign(weight)

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        """The arguments that make an equal layer, as a dict fit for JSON."""
        return {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config):
        """A new layer, without weights, from `get_config`'s dict."""
        return cls(**config)

    # -- use on NumPy arrays, and on symbolic tensors --------------------------------------------

    def __call__(self, x, mask=None, training=None, **kwargs):
        """Apply the layer to an array, or to a symbolic tensor (see `fastrnn.models.Model`).

        The layer is built for that shape if need be.  A layer with several inputs takes a list.

        Parameters
        ----------
        x : array, SymbolicTensor, or list of either
        mask : array of bool of shape (B, T), optional
            Which steps count; or a symbolic tensor.
        training : bool, optional
            Of no account for symbolic tensors, but in a `call`: else the model says what it does.

        Returns
        -------
        array or SymbolicTensor, or a list of them
        """
        if graph.is_symbolic(x, mask, *kwargs.values()):
            return graph.apply(self, x, mask, training=training, **kwargs)
        self.move()
        x = self.convert_input(x)
        if isinstance(x, list):
            shape = [(None, *part.shape[1:]) for part in x]
            mask = mask and [StepMask.of(part) for part in mask]
        else:
            shape, mask = (None, *x.shape[1:]), StepMask.of(mask)
        if not self.built:
            self.build(shape)
        y, _ = self.forward(x, mask=mask, training=bool(training), **kwargs)
        return self._to_host(y)

    @property
    def input(self):
        """The symbolic tensor, or list of them, that the layer was first applied to."""
        return self._first_node.inputs

    @property
    def output(self):
        """What came out when the layer was first applied to symbolic tensors."""
        return self._first_node.structure

    @property
    def _first_node(self):
        if not self.nodes:
            raise AttributeError(
                f"Layer '{self.name}' ({type(self).__name__}) was not applied to a symbolic tensor "
                "yet, so it has no input and output; it has in a built model."
            )
        return self.nodes[0]

    def convert_input(self, x):
        """``x`` as the array that `forward` takes: floats of the layer's type."""
        engine = engines.current()
        if engine.holds(x):
            return engine.asarray(x, self.dtype)
        return engine.staged(np.require(x, self.dtype, ["C", "A"]))

    def check_input(self, x):
        """Raise if `forward` would refuse a value in ``x``, as `convert_input` made it."""

    def _to_host(self, y):
        if isinstance(y, list):
            return [self._to_host(part) for part in y]
        return engines.current().to_host(engines.dense(y))

    def check_rank(self, shape, ndim, meaning):
        """Raise ValueError unless ``shape``, an input's, has ``ndim`` axes."""
        if len(shape) != ndim:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected input of shape {meaning}, "
                f"{ndim} axes; got shape {tuple(shape)}."
            )

    def check_width(self, shape):
        """Raise ValueError unless the last axis of ``shape`` is what the layer was built for."""
        if shape[-1] != self.input_shape[-1]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected inputs whose last axis has "
                f"{self.input_shape[-1]} entries, as when it was built; got shape {tuple(shape)}."
            )

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"
