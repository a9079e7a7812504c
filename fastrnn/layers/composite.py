"""Layers that are graphs of other layers: models, and what a ``call`` of one's own draws.

A class that has `call` in the place of ``forward`` and ``backward`` is run once with symbolic
tensors.  What its layers, operators and `fastrnn.ops` make of them is a graph, and that has both.
So Python code in `call` runs when the layer is built, once more for lengths that were not drawn
yet, and never again; what depends on values in the data cannot be written there.
"""

from __future__ import annotations

import inspect
import itertools
from typing import NamedTuple

import numpy as np

from fastrnn import engines
from fastrnn.graph import Graph, SymbolicTensor, as_lists, flatten, is_symbolic
from fastrnn.layers.base import Layer
from fastrnn.layers.cells import RecurrentCell
from fastrnn.layers.compiled import Steps, Tape
from fastrnn.layers.input import Input, InputLayer
from fastrnn.layers.operations import Counted
from fastrnn.names import unused
from fastrnn.operands import drawing

__all__ = [
    "Composite", "Drawn", "DrawnCell", "DrawnFunction", "Form", "OwnAttributes", "layers_in",
    "made_from", "mapped", "names_of", "of_any_rows", "one_or_all", "plain_arguments", "shapes_of",
    "take_form", "tensors",
]


class Composite(Layer):
    """A layer that runs a graph of others.

    Attributes
    ----------
    graph : Graph, or None until it is known
    training_graph : Graph
        The one to train with: another only for a `call` that asks whether it trains.
    input, output : SymbolicTensor, or a list or dict of them
        As they were given.
    input_names, output_names : list of str
        The keys of a dict, sorted, else the names of the layers.
    input_shapes, output_dtypes : list
        One for each.
    """

    graph = training_graph = None
    input = output = None
    _owner = None  # the layer whose `call` it is
    _written = None  # of a `call`: itself, the form of its arguments, the first shapes

    def _connect(self, inputs, outputs, graphs=None):
        """Make the graph between tensors, with an `InputLayer` wherever it begins.

        ``graphs``, where there are already two: to run and to train with.
        """
        entrances = [
            tensor if tensor.node.inputs is None
            else Input(batch_shape=tensor.shape, dtype=tensor.dtype)
            for tensor in inputs
        ]
        graphs = graphs or [Graph(self.name, inputs, outputs, entrances)] * 2
        self.graph, self.training_graph = graphs
        self.input_names = names_of(self.input, entrances)
        self.output_names = names_of(self.output, outputs)
        self.input_shapes = [tensor.shape for tensor in inputs]
        self.output_dtypes = [tensor.dtype for tensor in outputs]

    def draw(self, call, input_shape, form):
        """Make the graph of what `call` does with inputs of a shape, or of a list or dict of them.

        Parameters
        ----------
        call : callable
            What it gives is `output`.  It may ask for ``training``, and has a graph for either;
            and for ``mask``, which is then an array (B, T) of ones and zeros for inputs (B, T, D),
            with ones alone where there is no mask, and None for all others.
        input_shape : tuple, or list or dict of tuple
        form : `Form`
            How it is given the inputs.

        Raises
        ------
        TypeError
            If it gives something else than symbolic tensors.
        """
        self._written = call, form, input_shape
        self._graphs = {}
        self.input, self.output, graphs = self._drawn(input_shape)
        self._connect(flatten(as_lists(self.input)), flatten(as_lists(self.output)), graphs)

    def _drawn(self, input_shape):
        """Inputs, outputs, and the graphs between them, as `_graphs` has them, of a `call`."""
        call, form, _ = self._written
        asked = inspect.signature(call).parameters
        given = mapped(lambda shape: Input(batch_shape=shape, dtype=self.dtype), input_shape)
        arguments, options = form.filled(given)
        inputs, graphs = flatten(as_lists(given)), []
        for training in (False, True) if "training" in asked else (None,):
            if training is not None:
                options["training"] = training
            with drawing(self._owner, inputs):
                made = call(*arguments, **options, **_masks(asked, arguments, options))
            output = tensors(f"'{self.name}': call", made)
            graphs.append(Graph(self.name, inputs, flatten(as_lists(output)), inputs))
        shapes = [tuple(tensor.shape) for tensor in inputs]
        self._graphs[tuple(shapes)] = graphs[0], graphs[-1]
        return given, output, (graphs[0], graphs[-1])

    def graphs_for(self, shapes):
        """The graph to run with and the one to train with, for inputs of these shapes.

        A `call` may have looked at the lengths for which it was drawn: for others it is drawn anew.
        """
        if self._written is None:
            return self.graph, self.training_graph
        shapes = [(None, *shape[1:]) for shape in shapes]
        for known, graphs in self._graphs.items():
            if all(map(_serves, known, shapes)):
                return graphs
        if len(self._graphs) > MOST_SHAPES:
            self._graphs = {}
        leaves = iter(shapes)
        form = self._written[2]
        if isinstance(form, dict):
            form = {name: form[name] for name in sorted(form)}
        return self._drawn(mapped(lambda _: next(leaves), form))[-1]

    # -- what goes in and comes out --------------------------------------------------------------

    def as_given(self, outputs):
        """Outputs, one or a list, in the structure in which the graph's were given."""
        if not isinstance(self.output, dict):
            return outputs
        outputs = outputs if isinstance(outputs, list) else [outputs]
        by_name = dict(zip(self.output_names, outputs, strict=True))
        return {name: by_name[name] for name in self.output}

    @property
    def output_dtype(self):
        """The float type of the first output."""
        return self.output_dtypes[0]

    def compute_output_shape(self, input_shape):
        shapes = [*map(tuple, input_shape if len(self.input_shapes) > 1 else [input_shape])]
        graph, _ = self.graphs_for(shapes)
        return one_or_all(graph.output_shapes(shapes))

    @property
    def sublayers(self):
        return self.graph.layers

    # -- running: as a layer ---------------------------------------------------------------------

    def convert_input(self, x):
        if len(self.graph.readers) == 1:
            return self.convert_part(0, x)
        return [self.convert_part(i, part) for i, part in enumerate(x)]

    def convert_part(self, i, x):
        """`convert_input` for the input of that number."""
        readers = self.graph.readers[i]
        if len(readers) > 1 and self.graph.inputs[i].dtype == "string":
            return readers[0].layer.array_of(x)  # as it is: each of them has ids of its own
        return readers[0].convert(x) if readers else super().convert_input(x)

    def check_input(self, x):
        parts = x if isinstance(x, list) else [x]
        for part, readers in zip(parts, self.graph.readers, strict=True):
            for reader in readers:
                reader.check(part)

    def run(self, x, mask=None, training=False):
        outputs, masks, tape = self.run_outputs(x, mask, training)
        if len(outputs) == 1:
            return outputs[0], masks[0], tape
        return outputs, masks, tape

    def forward(self, x, mask=None, training=False):
        y, _, tape = self.run(x, mask, training)
        return y, tape

    def compute_mask(self, x, mask=None):
        return self.run(x, mask)[1]

    def backward(self, tape, dy):
        return one_or_all(self.backward_outputs(tape, dy if isinstance(dy, list) else [dy]))

    def last_activation(self, tape):
        found = self.output_logits(tape)
        return found[0] if len(found) == 1 else (None, None)

    def backward_logits(self, tape, dz):
        return one_or_all(self.backward_outputs(tape, [dz], [0]))

    # -- running: as what is trained -------------------------------------------------------------

    def run_outputs(self, x, mask=None, training=False):
        """Lists of outputs and their masks, and a tape; x and mask are lists for several inputs."""
        if not isinstance(x, list):
            x, mask = [x], [mask]
        graph = self.training_graph if training else self.graph
        if self._written is not None:
            graph = self.graphs_for([part.shape for part in x])[bool(training)]
        outputs, masks, tape = graph.forward(x, mask or [None] * len(x), training)
        return outputs, masks, (graph, tape)

    def output_logits(self, tape):
        """`Layer.last_activation` of each output, a list."""
        graph, tape = tape
        return graph.last_activation(tape)

    def backward_outputs(self, tape, gradients, from_logits=()):
        """The gradients of the inputs, a list, from one for each output; see `Graph.backward`."""
        graph, tape = tape
        return graph.backward(tape, gradients, from_logits)


# So many graphs of a `call` are kept.
MOST_SHAPES = 64


def _serves(known, shape):
    """Whether what was drawn for a shape, with None for any length, may be given another."""
    return len(known) == len(shape) and all(
        k is None or k == n for k, n in zip(known[1:], shape[1:], strict=True)
    )


def _masks(asked, arguments, options):
    """What a call is given for its arguments ``mask`` and, of the argument x, ``x_mask``."""
    names = [name for name in asked if name not in options]
    given = dict(zip(names, arguments, strict=False)) | options
    found = {
        name: mapped(_counted, given[of])
        for name in asked if name.endswith("_mask") and name not in given
        and _has_tensors(given.get(of := name.removesuffix("_mask")))
    }
    if "mask" in asked and "mask" not in given and sum(map(_has_tensors, given.values())) == 1:
        found["mask"] = mapped(_counted, next(filter(_has_tensors, given.values())))
    return found


def _has_tensors(value):
    if isinstance(value, dict):
        return any(map(_has_tensors, value.values()))
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, SymbolicTensor) for part in parts)


def _counted(x):
    return Counted(dtype=x.dtype)(x) if isinstance(x, SymbolicTensor) and x.ndim > 2 else None


# -- layers that are written as a call -------------------------------------------------------------


class Place(NamedTuple):
    """Stands for an input among the arguments of a call."""

    number: int


class Form:
    """How the arguments of a call hold its inputs.

    Parameters
    ----------
    arguments : tuple
    options : dict
        By name.

    Attributes
    ----------
    inputs : list
        The arrays or symbolic tensors among them, those in lists too.
    """

    def __init__(self, arguments, options):
        self.inputs = []
        self._arguments = tuple(map(self._emptied, arguments))
        self._options = {name: self._emptied(value) for name, value in options.items()}

    @classmethod
    def of_one(cls, shapes):
        """The form of a call whose only argument has inputs of these shapes."""
        numbers = itertools.count()
        if isinstance(shapes, dict):  # in the order in which graphs have them
            shapes = {name: shapes[name] for name in sorted(shapes)}
        return cls.holding(mapped(lambda _: Place(next(numbers)), shapes))

    @classmethod
    def holding(cls, *arguments):
        """A form whose arguments have places already."""
        form = cls((), {})
        form._arguments = arguments
        return form

    def _emptied(self, value):
        """``value``, with a `Place` for each input."""
        if isinstance(value, (list, tuple)) and any(map(_is_input, value)):
            return [self._emptied(part) for part in value]
        if isinstance(value, dict):
            return {name: self._emptied(value[name]) for name in sorted(value)}
        if not _is_input(value):
            return value
        self.inputs.append(value)
        return Place(len(self.inputs) - 1)

    def by_name(self, call, given):
        """What there is for each input, by the names of the arguments of `call` that hold them."""
        def fill(value):
            if isinstance(value, Place):
                return given[value.number]
            return mapped(fill, value) if isinstance(value, (list, dict)) else None

        arguments = zip(inspect.signature(call).parameters, self._arguments, strict=False)
        return {name: fill(value) for name, value in (dict(arguments) | self._options).items()}

    def filled(self, inputs):
        """The arguments, and those by name, with other inputs."""
        inputs = flatten(as_lists(inputs))

        def fill(value):
            if isinstance(value, Place):
                return inputs[value.number]
            return mapped(fill, value) if isinstance(value, (list, dict)) else value

        return tuple(map(fill, self._arguments)), mapped(fill, self._options)

    def __eq__(self, other):
        return isinstance(other, Form) and (
            (self._arguments, self._options) == (other._arguments, other._options)
        )

    __hash__ = None


def _is_input(value):
    return isinstance(value, (SymbolicTensor, np.ndarray)) or engines.current().holds(value)


def take_form(layer, arguments, options):
    """The inputs of a call of a layer, one or a list; it notes how the arguments hold them.

    Raises
    ------
    ValueError
        If the layer was called in another form before.
    """
    form = Form(arguments, options)
    if not form.inputs:  # lists of numbers
        form = Form((np.asarray(arguments[0]), *arguments[1:]), options)
    if layer.is_drawn and layer._form != form:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): expected the arguments with which it "
            "was called first: as many arrays in the same places, and all else the same. Make "
            "another layer for others."
        )
    layer._form = form
    return one_or_all(form.inputs)


class OwnAttributes:
    """Keeps the layers of a class of one's own from names that mean something else here."""

    def __setattr__(self, name, value):
        if isinstance(value, Layer) and name not in _NOT_OWN:
            for base in type(self).__mro__:
                if base.__module__.partition(".")[0] == "fastrnn" and name in vars(base):
                    raise AttributeError(
                        f"'{self.name}' ({type(self).__name__}): {name} = {value!r}: every layer "
                        f"has something of the name {name!r}. Give the attribute another one, such "
                        f"as '{name}_layer'."
                    )
        super().__setattr__(name, value)


class Drawn(OwnAttributes, Layer):
    """A layer that is written as a `call`: it runs the graph that this draws.

    Its attributes that are layers, or lists of layers, are its sublayers.
    """

    drawn_by = None
    _composite = _form = None

    @property
    def is_drawn(self):
        return self._composite is not None

    @property
    def composite(self):
        """The graph, as a `Composite`; it is drawn when somebody first asks for it."""
        if self._composite is None:
            self._form = self._form or Form.of_one(self.input_shape)
            composite = Composite(name=self.name, dtype=self.dtype)
            composite._owner = self
            composite.draw(self.call, of_any_rows(self.input_shape), self._form)
            self._composite = composite
        return self._composite

    @property
    def graph(self):
        return self.composite.graph

    @property
    def sublayers(self):
        own = [*layers_in(vars(self))]
        if self._composite is None:
            return own
        drawn = [*self._composite.graph.layers, *self._composite.training_graph.layers]
        return [*dict.fromkeys([*own, *drawn])]

    @property
    def parameters(self):
        """As in Keras: its own that are trained, its own others, its sublayers'; each once."""
        own = sorted(self._parameters, key=lambda p: not p.trainable)
        inner = (p for layer in self.sublayers for p in layer.parameters)
        return [*dict.fromkeys([*own, *inner])]

    def shapes_by_name(self, build, input_shape):
        names = [*inspect.signature(build).parameters][1:]
        if len(names) < 2 or self._form is None:
            return None
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        found = self._form.by_name(self.call, input_shape if several else [input_shape])
        found = {f"{name}_shape": shape for name, shape in found.items()}
        return {name: found.get(name) for name in names} if {*names} & {*found} else None

    def finish_build(self, input_shape):
        """What `build` does when a class has its own, which need not do it."""
        self.built, self.input_shape = True, self.input_shape or input_shape

    def unbuild(self):
        super().unbuild()
        self._composite = self._form = None

    def __call__(self, *arguments, mask=None, training=None, **options):
        x = take_form(self, arguments, options)
        if not self.built and not is_symbolic(x):
            self.build(mapped(lambda part: (None, *part.shape[1:]), x))
        found = super().__call__(x, mask, training)
        return self._composite.as_given(found) if self.is_drawn else found

    # -- what a layer does: its composite does it ----------------------------------------------

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)
        return self.composite.compute_output_shape(input_shape)

    def convert_input(self, x):
        return self.composite.convert_input(x)

    def check_input(self, x):
        self.composite.check_input(x)

    def keeps_steps(self, ndim):
        parts = [layer for layer in self.graph.layers if layer.input_shape]
        return all(
            layer.keeps_steps(len(flatten(layer.input_shape)[0])) for layer in parts
        )

    def run(self, x, mask=None, training=False):
        y, own, tape = self.composite.run(x, mask, training)
        if type(self).compute_mask is not Drawn.compute_mask:
            own = self.compute_mask(x, mask)
        elif own is None and self.supports_masking:
            own = mask
        return y, own, tape

    def forward(self, x, mask=None, training=False):
        return self.composite.forward(x, mask, training)

    def compute_mask(self, x, mask=None):
        own = self.composite.compute_mask(x, mask)
        return mask if own is None and self.supports_masking else own

    def backward(self, tape, dy):
        return self.composite.backward(tape, dy)

    def last_activation(self, tape):
        return self.composite.last_activation(tape)

    def backward_logits(self, tape, dz):
        return self.composite.backward_logits(tape, dz)

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        """The arguments of ``__init__`` that the layer has as attributes, where those are plain."""
        return super().get_config() | plain_arguments(self)

    @classmethod
    def from_config(cls, config):
        return made_from(cls, config)


class DrawnCell(Drawn, RecurrentCell):
    """A cell whose step is written as ``call(inputs, states)``, which gives (output, states)."""

    drawn_by = None

    @property
    def composite(self):
        if self._composite is None:
            composite = Composite(name=self.name, dtype=self.dtype)
            composite._owner = self
            widths = self.input_shape[-1], *self.state_sizes
            inputs = [(None, width) for width in widths]
            x, *states = map(Place, range(len(inputs)))
            composite.draw(self.call, inputs, Form.holding(x, states))
            self._check_outputs(composite)
            self._composite = composite
        return self._composite

    # Drawn as soon as it is built, for layers inside have their weights from then on; but not by
    # the super().build() of a class's own, which has weights to make yet.

    def build(self, input_shape):
        super().build(input_shape)
        if type(self).build is DrawnCell.build:
            self.composite  # noqa: B018

    def finish_build(self, input_shape):
        super().finish_build(input_shape)
        self.composite  # noqa: B018

    def _check_outputs(self, composite):
        shapes = [tensor.shape for tensor in composite.graph.outputs]
        wanted = [self.output_size, *self.state_sizes]
        if [shape[-1] for shape in shapes] != wanted or any(len(shape) != 2 for shape in shapes):
            raise ValueError(
                f"Cell '{self.name}' ({type(self).__name__}): expected call to give an output and "
                f"a list of states, of shapes {[(None, size) for size in wanted]}; got {shapes}."
            )

    def forward(self, x, states, training=False):
        given = [*map(engines.current().asarray, (x, *states))]  # x: a step of a sequence
        (y, *new), _, tape = self.composite.run_outputs(given, None, training)
        return y, new, tape

    # A whole sweep is a program where there is one for the step; else it goes step by step.

    _steps = None

    def sweep(self, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
              training=False):
        composite, options = self.composite, (mask, return_sequences, zero_output_for_mask)
        self._steps = self._steps or Steps()
        step = self._steps.of(composite.training_graph if training else composite.graph)
        if step is None:
            return super().sweep(x, states, *options, training)
        return step.sweep(engines.dense(x), states, *options, training)

    def sweep_backward(self, tape, doutput, dstates):
        if not isinstance(tape, Tape):
            return super().sweep_backward(tape, doutput, dstates)
        return tape.step.sweep_backward(tape, doutput, dstates)

    def unbuild(self):
        super().unbuild()
        self._steps = None

    def backward(self, tape, dy, dstates):
        found = self.composite.backward_outputs(tape, [dy, *dstates])
        zeros = engines.current().zeros
        dx, *before = (
            zeros((len(dy), shape[-1]), dy.dtype) if d is None else d
            for d, shape in zip(found, self.composite.input_shapes, strict=True)
        )
        return dx, before

    __call__ = RecurrentCell.__call__
    compute_output_shape = RecurrentCell.compute_output_shape
    convert_input, check_input = Layer.convert_input, Layer.check_input
    compute_mask, run = Layer.compute_mask, Layer.run


def _drawn_by(cls):
    """Which of the two runs a class that derives from `Layer` and has a `call`."""
    return DrawnCell if "states" in inspect.signature(cls.call).parameters else Drawn


Layer.drawn_by = staticmethod(_drawn_by)
RecurrentCell.drawn_by = staticmethod(lambda cls: DrawnCell)

# Attributes of a layer that are layers and no sublayers.
_NOT_OWN = frozenset({"_composite", "_owner", "_step"})


def layers_in(attributes):
    """The layers among values of a dict, and in lists, tuples and dicts there, in their order."""
    for name, value in attributes.items():
        if isinstance(value, Layer) and name not in _NOT_OWN:
            yield value
        elif isinstance(value, dict):
            yield from layers_in(value)
        elif isinstance(value, (list, tuple)):
            yield from layers_in(dict(enumerate(value)))


def plain_arguments(layer):
    """Those arguments of a layer's ``__init__`` that it has as plain attributes of their name."""
    known = inspect.signature(type(layer).__init__).parameters
    return {
        name: getattr(layer, name) for name in known
        if name != "self" and _is_plain(getattr(layer, name, layer))
    }


def made_from(cls, config):
    """An object of a class whose ``__init__`` need not take all that every layer has."""
    known = inspect.signature(cls.__init__).parameters.values()
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known)
    names = {p.name for p in known}
    try:
        made = cls(**{name: v for name, v in config.items() if takes_any or name in names})
    except TypeError as error:
        error.add_note(f"class {cls.__name__}: get_config should give the arguments of __init__")
        raise
    made.name = config.get("name", made.name)
    made.trainable = config.get("trainable", True)
    return made


def _is_plain(value):
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


# -- functions with a gradient ---------------------------------------------------------------------


class DrawnFunction:
    """A function of arrays, with operators and `fastrnn.ops`, and its gradient.

    It is drawn once for arrays of a kind.  Unlike a layer it may mix rows: it is drawn for so many
    of them; any number of steps may stand between them and the last axis.

    Parameters
    ----------
    function : callable
        Of one array or more; it gives one.
    name : str
    """

    MOST_KINDS = 32

    def __init__(self, function, name):
        self.function = function
        self.name = name
        self._drawn = {}

    def drawn_for(self, shapes, dtype):
        """The `Composite` for arrays of these shapes.

        Raises
        ------
        TypeError
            If the function cannot be drawn.
        """
        kinds = [(*s[:1], *[None] * (len(s) - 2), *s[1:][-1:]) for s in map(tuple, shapes)]
        key = *kinds, np.dtype(dtype).name
        if key not in self._drawn:
            if len(self._drawn) >= self.MOST_KINDS:
                self._drawn = {}
            composite = Composite(name=self.name, dtype=key[-1])
            form = Form.holding(*map(Place, range(len(kinds))))
            composite.draw(self.function, kinds if len(kinds) > 1 else kinds[0], form)
            self._drawn[key] = composite
        return self._drawn[key]

    def run(self, *arrays):
        """``(y, tape)`` for an engine's arrays, all of one float type."""
        composite = self.drawn_for([a.shape for a in arrays], arrays[-1].dtype)
        (y,), _, tape = composite.run_outputs([*arrays], [None] * len(arrays))
        return y, (composite, tape)

    def backward(self, tape, dy):
        """The gradient of each array, None where there is none."""
        composite, tape = tape
        return composite.backward_outputs(tape, [dy])

    def __deepcopy__(self, memo):
        return type(self)(self.function, self.name)


# -- structures of tensors -------------------------------------------------------------------------


def shapes_of(given):
    """A shape as a tuple, several as a list or dict of them."""
    if isinstance(given, dict):
        return {name: shapes_of(shape) for name, shape in given.items()}
    several = bool(given) and isinstance(given[0], (list, tuple))
    return [tuple(shape) for shape in given] if several else tuple(given)


def of_any_rows(shapes):
    """A shape, or a list or dict of them, with None for the rows: a `call` is drawn for any."""
    return mapped(lambda shape: (None, *shape[1:]), shapes)


def mapped(f, given):
    """``f`` of each part of a list or dict."""
    if isinstance(given, dict):
        return {key: mapped(f, value) for key, value in given.items()}
    return [mapped(f, part) for part in given] if isinstance(given, list) else f(given)


def tensors(argument, given):
    """``given``, with the outputs of input layers in their place, checked."""
    if isinstance(given, dict):
        return {key: tensors(argument, value) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [tensors(argument, value) for value in given]
    if isinstance(given, InputLayer):
        return given.output
    if not isinstance(given, SymbolicTensor):
        raise TypeError(
            f"{argument}: expected symbolic tensors, such as Input(...) gives, and layers "
            f"applied to them; got {given!r:.80}."
        )
    return given


def one_or_all(parts):
    return parts[0] if len(parts) == 1 else parts


def names_of(given, found):
    """Names of inputs or outputs: the keys of a dict, else of the layers; no two alike."""
    if isinstance(given, dict):
        return sorted(given)
    names = []
    for name in (tensor.name for tensor in found):
        names.append(unused(name, names))
    return names
