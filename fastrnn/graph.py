"""Symbolic tensors, and the graphs that layers make of them.

A layer that is called with a `SymbolicTensor` computes nothing: it is built for that shape, and a
`Node` notes that it was used, on what, and what comes out.  A `Graph` is all that lies between some
tensors and others, put in an order in which it can run, forward and back; every model has one.

Every tensor of a graph has a slot, a number, under which its value, its mask and its gradient are
found while the graph runs.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from fastrnn import engines
from fastrnn.masks import StepMask
from fastrnn.operands import Operand, weights_drawn
from fastrnn.values import Lookup, add_gradients

__all__ = ["Graph", "Node", "SymbolicTensor", "apply", "as_lists", "flatten", "is_symbolic", "pack"]

_serials = itertools.count()


class SymbolicTensor(Operand):
    """What will come out of a layer: its shape and type, and the `Node` that it comes from.

    Parts of it, ``x[:, -1]``, and sums, differences, products and quotients of tensors and numbers
    are tensors too: see `fastrnn.layers.operators`.

    Attributes
    ----------
    shape : tuple
        With None for the batch, and for any other axis that may have any length.
    dtype : str
    node : Node
    index : int
        Its place among the outputs of the node.
    """

    def __init__(self, shape, dtype, node, index):
        self.shape = tuple(shape)
        self.dtype = dtype
        self.node = node
        self.index = index

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def name(self):
        """The name of the layer that it comes from."""
        return self.node.layer.name

    @property
    def mask(self):
        """The mask that travels with the tensor, to be given to a layer as ``mask``.

        Layers with one input take it by themselves.  A recurrent layer that is also given an
        ``initial_state`` does not, in Keras and here, unless it is told:
        ``layer(x, initial_state=states, mask=x.mask)``.
        """
        return MaskOf(self)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            f"{self!r} stands for the output of a layer and has no values. Apply layers to it, and "
            "functions of fastrnn.ops; make a Model(inputs, outputs) of it, and give that arrays."
        )

    def __bool__(self):
        raise TypeError(
            f"{self!r} has no values, so nothing can be decided by it in Python: write "
            "ops.where(condition, a, b)."
        )

    def no_operator(self, *_, **__):
        """Raise: a function of NumPy wants values."""
        return self.__array__()

    def __repr__(self):
        return f"<SymbolicTensor {self.shape} of '{self.name}'>"


class MaskOf:
    """Stands for the mask of a tensor; see `SymbolicTensor.mask`."""

    def __init__(self, tensor):
        self.tensor = tensor


class Node:
    """One use of a layer.

    Attributes
    ----------
    layer : Layer
    inputs : SymbolicTensor, list of them, or None
        The x of the layer; None for that of an `InputLayer`, an empty list for a weight.
    initial_state : list of SymbolicTensor, or None
    mask : SymbolicTensor, MaskOf or None
        As it was given; masks that travel with tensors are not noted.
    training : bool or None
        Whether the layer trains here, as a `call` said it; None: as the graph does.
    outputs : list of SymbolicTensor
    structure : a `SymbolicTensor`, or a nested list of them
        The outputs as the layer gives them.
    serial : int
        Nodes made later have higher numbers.
    """

    def __init__(self, layer, inputs, shapes, dtype, initial_state=None, mask=None, training=None):
        self.layer = layer
        self.inputs = inputs
        self.initial_state = initial_state
        self.mask = mask
        self.training = training
        self.outputs = [
            SymbolicTensor(shape, dtype, self, i) for i, shape in enumerate(flatten(shapes))
        ]
        self.structure = pack(shapes, self.outputs)
        self.serial = next(_serials)
        layer.nodes.append(self)

    @property
    def parents(self):
        """The tensors that the layer reads here."""
        if self.inputs is None:
            return []
        mask = self.mask.tensor if isinstance(self.mask, MaskOf) else self.mask
        masks = [] if mask is None else [mask]
        return [*flatten(self.inputs), *(self.initial_state or ()), *masks]

    def remove(self):
        """Make the layer forget this use."""
        self.layer.nodes.remove(self)


# -- structures: a leaf, or a nested list of leaves ------------------------------------------------


def flatten(structure):
    """The leaves of a nested list, as a list.

    >>> flatten([1, [2, (3, 4)]])
    [1, 2, (3, 4)]
    """
    if not isinstance(structure, list):
        return [structure]
    return [leaf for part in structure for leaf in flatten(part)]


def pack(structure, leaves):
    """``leaves`` in the structure of another nested list.

    >>> pack([0, [0, 0]], [1, 2, 3])
    [1, [2, 3]]
    """
    leaves = iter(leaves)

    def fill(part):
        return [fill(inner) for inner in part] if isinstance(part, list) else next(leaves)

    return fill(structure)


def as_lists(given):
    """Tuples and the values of dicts, sorted by their keys as in Keras, as lists."""
    if isinstance(given, dict):
        given = [given[key] for key in sorted(given)]
    return [as_lists(part) for part in given] if isinstance(given, (list, tuple)) else given


def is_symbolic(x, *others):
    """Whether ``x`` is a `SymbolicTensor`, or has one, or one of the ``others`` is or has one.

    ``x`` may be a list of data as well, so only its entries are looked at.
    """
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else (x,)
    leaves = [leaf for other in others if other is not None for leaf in flatten(as_lists(other))]
    for part in (*parts, *leaves):  # a plain loop: this is asked at each call of a layer
        if isinstance(part, (SymbolicTensor, MaskOf)):
            return True
    return False


# -- applying a layer ------------------------------------------------------------------------------


def apply(layer, x, mask=None, initial_state=None, training=None):
    """Note a use of ``layer``, which is built if need be; what comes out of it, symbolic.

    Raises
    ------
    TypeError
        If symbolic tensors and arrays are mixed.
    ValueError
        If the layer cannot take such shapes.
    """
    x = as_lists(x)
    states = None if initial_state is None else flatten(as_lists(initial_state))
    given = [
        ("x", flatten(x)), ("initial_state", states or []),
        ("mask", [] if mask is None or isinstance(mask, MaskOf) else [mask]),
    ]
    for argument, tensors in given:
        for tensor in tensors:
            if not isinstance(tensor, SymbolicTensor):
                raise TypeError(
                    f"Layer '{layer.name}' ({type(layer).__name__}): {argument}: expected symbolic "
                    f"tensors only, as one is among its arguments; got {type(tensor).__name__}. "
                    "Give either arrays or symbolic tensors."
                )
    if layer.input_dtype == "string" and flatten(x)[0].dtype != "string":
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}): expected a tensor of texts, as of "
            f"Input((1,), dtype='string'); got one of {flatten(x)[0].dtype}."
        )
    shapes = [tensor.shape for tensor in x] if isinstance(x, list) else x.shape
    if not layer.built:
        layer.build(shapes)
    made = layer.compute_output_shape(shapes)
    if not all(isinstance(shape, tuple) for shape in flatten(made)):
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}): compute_output_shape should give a "
            f"tuple, or for several outputs a list of tuples; it gave {made!r}."
        )
    dtype = getattr(layer, "output_dtype", layer.dtype)
    if weights_drawn() is None:
        training = None  # outside of a `call` the model says, as in Keras
    return Node(layer, x, made, dtype, states, mask, training).structure


# -- a step: a node of a graph, ready to run -------------------------------------------------------


class Step:
    """A node whose tensors are known by their slots.

    Parameters
    ----------
    number : int
        Its place in the order of the graph, and that of its tape.
    node : Node
    slot : callable
        From a tensor to its slot.
    converters : dict of int to callable
        By slot, of inputs that were converted for another reader, which may want another type.
    """

    def __init__(self, number, node, slot, converters):
        self.number = number
        self.layer = node.layer
        self.source = pack(node.inputs, map(slot, flatten(node.inputs)))
        self.target = pack(node.structure, map(slot, node.outputs))
        self.states = node.initial_state and [slot(state) for state in node.initial_state]
        self.training = node.training
        self.mask = node.mask
        if node.mask is not None:
            self.mask_slot = slot(node.parents[-1])
        self.converters = converters
        self.reads = [slot(tensor) for tensor in node.parents]
        self.free = ()
        told = node.training, node.mask, node.initial_state
        self.plain = not converters and all(given is None for given in told) and not any(
            isinstance(part, list) for part in (self.source, self.target)
        )

    def forward(self, values, masks, training):
        """Read and write ``values`` and ``masks`` by slot; the layer's tape."""
        layer, slots = self.layer, flatten(self.source)
        training = training if self.training is None else self.training
        read = values
        if self.converters:
            read = list(values)
            for slot, convert in self.converters.items():
                if not isinstance(read[slot], Lookup):  # of an Embedding before, for every reader
                    read[slot] = convert(read[slot])
        x = pack(self.source, [read[slot] for slot in slots])
        mask = pack(self.source, [masks[slot] for slot in slots])
        if isinstance(self.mask, MaskOf):
            mask = masks[self.mask_slot]
        elif self.mask is not None:
            mask = StepMask.from_array(read[self.mask_slot])
        if self.states is None:
            y, mask, tape = layer.run(x, mask, training)
        else:
            # A mask that merely came with x is for the layers that follow, as in Keras.
            own = None if self.mask is None else mask
            states = [engines.dense(read[slot]) for slot in self.states]
            y, tape = layer.forward(x, mask=own, training=training, initial_state=states)
            mask = layer.output_mask(x, mask, y)
        targets = flatten(self.target)
        # Of several outputs a single mask belongs to the first: the others are states.
        of_targets = [*(mask if isinstance(mask, list) else [mask]), *([None] * len(targets))]
        for slot, leaf, own in zip(targets, flatten(y), of_targets, strict=False):
            values[slot], masks[slot] = leaf, own
        return tape

    def backward(self, tape, gradients, logits):
        """Take the gradients of the outputs out of ``gradients``, and add those of what was read.

        ``logits`` has, by slot, gradients by what the last activation of an output was applied to.
        """
        targets = flatten(self.target)
        dy = [gradients[slot] for slot in targets]
        if any(d is not None for d in dy):
            read = self.layer.backward(tape, pack(self.target, dy))
        elif targets[0] in logits:
            read = self.layer.backward_logits(tape, logits[targets[0]])
        else:
            return
        for slot in targets:
            gradients[slot] = None
        # The mask's gradient, at the end of what was read, is none.
        for slot, d in zip(self.reads, flatten(read), strict=False):
            gradients[slot] = add_gradients(gradients[slot], d)

    def output_shape(self, shapes):
        """Write the shapes of the outputs, given those of what is read, by slot."""
        source = pack(self.source, [shapes[slot] for slot in flatten(self.source)])
        outputs = flatten(self.layer.compute_output_shape(source))
        for slot, shape in zip(flatten(self.target), outputs, strict=True):
            shapes[slot] = shape


class Reader(NamedTuple):
    """A layer that reads an input of a graph, and as what: "x", "part" of several, "state", "mask".

    A model that reads it is not one: its layers are.  Who reads the ids that other layers make of
    ids stands "behind" those.

    Attributes
    ----------
    layer : Layer
    role : str
    through : tuple of callable
        `Layer.ids_after` of the layers in between, in their order.
    """

    layer: Any
    role: str
    through: tuple = ()

    def convert(self, x):
        """The array ``x`` as the layer reads it."""
        if self.role == "x":
            return self.layer.convert_input(x)
        return engines.current().asarray(x, bool if self.role == "mask" else self.layer.dtype)

    def check(self, x):
        """Raise if the layer would refuse a value in ``x``, as `convert` made it."""
        for ids_after in self.through:
            x = ids_after(x)
        if self.role in ("x", "behind"):
            self.layer.check_input(x)


def _readers(node, tensor, nodes):
    """The `Reader` of ``tensor``, or several, where ``node``, one of ``nodes``, uses it."""
    inner = getattr(node.layer, "graph", None)
    for i, own in enumerate(flatten(node.inputs)):
        if own is not tensor:
            continue
        if inner is not None:
            yield from inner.readers[i]
        else:
            yield Reader(node.layer, "part" if isinstance(node.inputs, list) else "x")
        if node.layer.ids_after is not None:
            behind = [r for after in nodes for r in _readers(after, node.outputs[0], nodes)]
            for layer, _, through in behind:
                yield Reader(layer, "behind", (node.layer.ids_after, *through))
    if any(state is tensor for state in node.initial_state or ()):
        yield Reader(node.layer, "state")
    if node.mask is tensor:
        yield Reader(node.layer, "mask")


# -- the graph -------------------------------------------------------------------------------------


class Graph:
    """All uses of layers between some tensors and others, in an order in which they can run.

    Parameters
    ----------
    owner : str
        The name of the model, for messages.
    inputs, outputs : list of SymbolicTensor
    entrances : list of SymbolicTensor
        For each input the output of an `InputLayer`: itself, or one that stands in for the tensor
        where that comes from another layer.

    Attributes
    ----------
    layers : list of Layer
        Each once, in the order of Keras: those farthest from the outputs first.
    nodes : list of Node
        Those of the input layers too; each comes after those it reads from.
    readers : list of list of Reader
        Who reads each input; nobody has to.

    Raises
    ------
    ValueError
        If an output does not come from the inputs, or two layers have one name.
    """

    def __init__(self, owner, inputs, outputs, entrances):
        self.owner = owner
        self.inputs, self.outputs, self.entrances = inputs, outputs, entrances
        self._entrance = dict(zip(inputs, entrances, strict=True))
        if len(self._entrance) < len(inputs):
            raise ValueError(f"Model '{owner}': one of its inputs is given twice: {inputs}.")
        self.nodes, met = self._walk()
        self.layers = self._ordered(met)
        self._check_names()
        tensors = [*entrances]
        tensors += (t for n in self.nodes if n.inputs is not None for t in n.outputs)
        self._slots = {tensor: i for i, tensor in enumerate(tensors)}
        self.output_slots = [self.slot(tensor) for tensor in outputs]
        working = [node for node in self.nodes if node.inputs is not None]
        by_input = [[(n, r) for n in working for r in _readers(n, t, working)] for t in inputs]
        self.readers = [[reader for _, reader in own] for own in by_input]
        self.steps = [
            Step(i, node, self.slot, self._converters(node, by_input))
            for i, node in enumerate(working)
        ]
        self._free_slots()
        self._program = [(s.plain, s.layer, s.source, s.target, s) for s in self.steps]
        self._rest = [None] * (len(self._slots) - len(inputs))
        self._ends = self._final_steps()

    def source(self, tensor):
        """``tensor``, or what stands in for it as an input."""
        return self._entrance.get(tensor, tensor)

    def slot(self, tensor):
        """The slot of a tensor of the graph."""
        return self._slots[self.source(tensor)]

    # -- putting in order ------------------------------------------------------------------------

    def _walk(self):
        """The nodes, each after those it reads from; the layers in the order of the walk back."""
        nodes, met, done = [], {}, set()

        def visit(tensor, reader):
            tensor = self.source(tensor)
            node = tensor.node
            if node in done:
                return
            if node.inputs is None and tensor not in self.entrances:
                names = [t.name for t in self.inputs]
                raise ValueError(
                    f"Model '{self.owner}': {reader} needs Input '{tensor.name}', which is not "
                    f"among the model's inputs, {names}. Name it there, or begin from a tensor "
                    "that comes from them."
                )
            met.setdefault(node.layer, len(met))
            for parent in node.parents:
                visit(parent, f"layer '{node.layer.name}'")
            done.add(node)
            nodes.append(node)

        for output in self.outputs:
            visit(output, "an output")
        for entrance in self.entrances:
            if entrance.node not in done:  # it leads to none of the outputs
                met[entrance.node.layer] = -1  # as Keras orders it: before others at its depth
                nodes.insert(0, entrance.node)
        return nodes, met

    def _ordered(self, met):
        """The layers by their distance from the outputs, then by when they were met."""
        of_node, of_layer = dict.fromkeys(self.nodes, 0), {}
        for node in reversed(self.nodes):
            depth = max(of_node[node], of_layer.get(node.layer, 0))
            of_node[node] = of_layer[node.layer] = depth
            for parent in node.parents:
                before = self.source(parent).node
                of_node[before] = max(depth + 1, of_node[before])
        return sorted(met, key=lambda layer: (-of_layer[layer], met[layer]))

    def _check_names(self):
        names = [layer.name for layer in self.layers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Model '{self.owner}': names must differ, but several of its layers are called "
                f"{', '.join(map(repr, twice))}."
            )

    def _converters(self, node, by_input):
        """For each input, by slot, that was converted for another: how this node converts it."""
        return {
            slot: next(reader for other, reader in own if other is node).convert
            for slot, own in enumerate(by_input)
            if own and own[0][0] is not node and any(other is node for other, _ in own)
        }

    def _free_slots(self):
        """Let each step give up what is read there for the last time."""
        kept = set(self.output_slots)
        for step in reversed(self.steps):
            step.free = tuple(set(step.reads) - kept)
            kept.update(step.reads)

    def _final_steps(self):
        """For each output the number of the step that it comes from; None if others read it too."""
        read = [slot for step in self.steps for slot in step.reads] + self.output_slots
        steps = {
            step.target: i for i, step in enumerate(self.steps)
            if not isinstance(step.target, list)
        }
        return [steps.get(slot) if read.count(slot) == 1 else None for slot in self.output_slots]

    def first_branch(self):
        """The first layer that takes something else than what the one before gives, or gives
        several things; None in a chain."""
        before = 0
        for step in self.steps:
            if not step.plain or step.source != before or len(self.inputs) > 1:
                return step.layer
            before = step.target
        return None

    # -- running ---------------------------------------------------------------------------------

    def forward(self, x, mask, training):
        """Run all steps on a value and a mask for each input: outputs and masks, lists; a tape."""
        values, masks, tapes = [*x, *self._rest], [*mask, *self._rest], []
        for plain, layer, source, target, step in self._program:
            if plain:  # written out here, as it is what every layer of a chain is
                values[target], masks[target], tape = layer.run(
                    values[source], masks[source], training
                )
            else:
                tape = step.forward(values, masks, training)
            tapes.append(tape)
            for slot in step.free:
                values[slot] = masks[slot] = None
        outputs = self.output_slots
        return [values[slot] for slot in outputs], [masks[slot] for slot in outputs], tapes

    def backward(self, tape, gradients, from_logits=()):
        """The way back from a gradient for each output; those of the inputs.

        ``from_logits`` has the numbers of the outputs whose gradient is by what their last
        activation was applied to.
        """
        by_slot, logits = [None] * len(self._slots), {}
        for i, slot in enumerate(self.output_slots):
            if i in from_logits:
                logits[slot] = gradients[i]
            else:
                by_slot[slot] = add_gradients(by_slot[slot], gradients[i])
        for plain, layer, source, target, step in reversed(self._program):
            if not plain or target in logits or by_slot[source] is not None:
                step.backward(tape[step.number], by_slot, logits)
            elif by_slot[target] is not None:
                by_slot[source] = layer.backward(tape[step.number], by_slot[target])
                by_slot[target] = None
        return by_slot[: len(self.inputs)]

    def last_activation(self, tape):
        """`Layer.last_activation` of the layer that each output ends in, or pairs of None."""
        return [
            (None, None) if i is None else self.steps[i].layer.last_activation(tape[i])
            for i in self._ends
        ]

    def output_shapes(self, shapes):
        """The shapes of the outputs for inputs of these shapes, as lists."""
        by_slot = [*shapes, *self._rest]
        for step in self.steps:
            step.output_shape(by_slot)
        return [by_slot[slot] for slot in self.output_slots]
