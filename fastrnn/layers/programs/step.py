"""A cell's step, compiled, and sweeps with it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines, random
from fastrnn.differentiable import summed_to
from fastrnn.graph import Graph
from fastrnn.layers.operations import Weight
from fastrnn.layers.programs.gradients import Gradients
from fastrnn.layers.programs.instructions import (
    Assembler,
    Parts,
    Program,
    Register,
    Static,
    apart,
)
from fastrnn.layers.programs.translation import LAYERS, Translator, Unsupported
from fastrnn.values import add_gradients

__all__ = ["CompiledStep", "Steps", "Tape"]


# Products of so many terms, or more, are kept for the way back: to write and read them costs less
# than to multiply again.
KEPT_TERMS = 64


class Tape(NamedTuple):
    """What the way back needs of a sweep."""

    step: CompiledStep
    shape: tuple
    mask: Any
    sequences: bool
    zero_output_for_mask: bool
    loads: list
    before: list
    input_tape: Any
    static_tape: Any
    values: dict


class Steps(dict):
    """What graphs of steps were compiled to, by the graphs; a copy of a cell compiles its own."""

    def of(self, graph):
        """The `CompiledStep` of a graph from [x, *states] to [y, *states].

        None: there are no instructions for it, or the engine in use runs none.
        """
        activations = engines.current().program_activations
        if activations is None:
            return None
        if graph not in self:
            try:
                self[graph] = CompiledStep(graph, activations)
            except Unsupported:
                self[graph] = None
        return self[graph]

    def __deepcopy__(self, memo):
        return Steps()

    def __reduce__(self):
        return Steps, ()


class CompiledStep:
    """A cell's step as two programs, and the graphs of what need not be done step by step.

    Parameters
    ----------
    graph : Graph
        From [x, *states] to [y, *states], arrays (B, width).
    activations : set of str
        Those for which the engine has instructions.

    Raises
    ------
    Unsupported
        If there is no instruction for something in it.
    """

    def __init__(self, graph, activations):
        kinds = _kinds(graph)
        x, *states = graph.inputs
        stepped = [n for n in graph.nodes if n.inputs is not None and kinds[n.outputs[0]] == STEP]
        read = dict.fromkeys([t for n in stepped for t in n.parents] + graph.outputs)
        self.loaded = [t for t in read if kinds[t] == INPUT]
        weights = [t for t in read if kinds[t] == STATIC]
        made = [t for t in self.loaded if t is not x]
        self.input_graph = Graph(graph.owner, [x], made, [x]) if made else None
        self.static_tensors = weights
        self.static_graph = Graph(graph.owner, [], weights, []) if weights else None
        for part in (self.input_graph, self.static_graph):
            _check_apart(part)

        assembler = Assembler()
        translator = Translator(assembler, activations)
        values = translator.values
        self.x = x
        values.update((t, Register(_width(t))) for t in (*self.loaded, *states))
        values.update((t, Static(t)) for t in weights)
        for node in stepped:
            translator.node(node)
        outputs = [translator.register(values[t], _width(t)) for t in graph.outputs]
        self.state_registers = [values[t] for t in states]
        self.load_registers = [values[t] for t in self.loaded]
        self.kept_registers = [
            i.dst for i in assembler.code if i.name == "product" and i.a.width >= KEPT_TERMS
        ]
        self._there(assembler, outputs)
        self._back(assembler, translator.held, outputs)

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
            ))
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
            )
            for counted in (None, False, True)
        }  # fmt: skip

    # -- running -------------------------------------------------------------------------------

    def sweep(self, x, states, mask, return_sequences, zero_output_for_mask, training, output_size):
        """As `RecurrentCell.sweep`, for the array x (B, T, D)."""
        x = np.ascontiguousarray(x)
        rows, steps, _ = shape = x.shape
        dtype, keeps = x.dtype, engines.recording()
        made, input_tape = self._run_input(x, training)
        loads = [x if t is self.x else made.pop(0) for t in self.loaded]
        values, static_tape = self._run_statics(training)

        def empty(*shape):
            return engines.current().empty(shape, dtype)

        written = [*self.state_registers, *self.kept_registers] if keeps else []
        before = [empty(rows, steps, r.width) for r in written]
        sequence = [empty(rows, steps, output_size)] if return_sequences else []
        last = [empty(rows, r.width) for r in self.state_registers]
        output = empty(rows, output_size)
        zeroes = bool(zero_output_for_mask and return_sequences)
        first = [None] * len(last) if states is None else [*map(np.ascontiguousarray, states)]
        self.programs[keeps, bool(return_sequences), zeroes].run(
            rows, steps, values.__getitem__, dtype, loads, [*before, *sequence], [*first, None],
            [*last, output], mask,
        )
        tape = None
        if keeps:
            tape = Tape(
                self, shape, mask, bool(return_sequences), zeroes, loads, before, input_tape,
                static_tape, values,
            )
        return (sequence[0] if return_sequences else output), last, tape

    def sweep_backward(self, tape, doutput, dstates):
        """As `RecurrentCell.sweep_backward`."""
        (rows, steps, width), dtype = tape.shape, tape.before[0].dtype
        empty = engines.current().empty
        stores = {r: empty((rows, steps, r.width), dtype) for r in self.stored}
        dbefore = [empty((rows, r.width), dtype) for r in self.state_registers]
        by_step = tape.sequences and doutput is not None
        loads = [*tape.loads, *tape.before, *([np.ascontiguousarray(doutput)] * by_step)]
        dlast = None if by_step or doutput is None else np.ascontiguousarray(doutput)
        first = [None if d is None else np.ascontiguousarray(d) for d in dstates]
        self.programs_back[tape.zero_output_for_mask if by_step else None].run(
            rows, steps, tape.values.__getitem__, dtype, loads, [*stores.values()],
            [*first, dlast], [*dbefore, None], tape.mask, reverse=True,
        )
        self._add_statics(tape, *self._totals(tape, stores))
        return self._input_gradient(tape, stores, rows, steps, width), dbefore

    def _run_input(self, x, training):
        """What depends on the input alone, arrays (B, T, width), and a tape."""
        if self.input_graph is None:
            return [], None
        rows, steps, width = x.shape
        flat = x.reshape(rows * steps, width)
        found, _, tape = self.input_graph.forward([flat], [None], training)
        return [np.ascontiguousarray(a).reshape(rows, steps, a.shape[-1]) for a in found], tape

    def _run_statics(self, training):
        """What depends on weights alone, by `Static`, and a tape."""
        values, tape = Values(), None
        if self.static_graph is not None:
            found, _, tape = self.static_graph.forward([], [], training)
            values.update(zip(map(Static, self.static_tensors), found, strict=True))
        return values, tape

    def _totals(self, tape, stores):
        """Lists of statics and of their gradients, of all rows and steps together; some come twice.

        That of a matrix is one product; a bias that is added to it gets its own on the way.
        """
        written = *self.state_registers, *self.kept_registers
        held = dict(zip(written, tape.before, strict=True))
        held |= zip(self.load_registers, tape.loads, strict=True)
        left, found = self.gradient_of_static, []
        for a, matrix, d in self.products:
            given = held[a] if a in held else stores[a]
            dmatrix, total = np.zeros(matrix.shape, given.dtype), np.zeros(d.width, given.dtype)
            biases = [static for static, own in left if own is d]
            engines.current().project_backward(
                given, np.ascontiguousarray(tape.values[matrix]), stores[d], dmatrix,
                total if biases else None, need_dx=False,
            )
            found += [(matrix, dmatrix), *((bias, total) for bias in biases)]
            left = [(static, own) for static, own in left if own is not d]
        found += [(static, stores[d].reshape(-1, d.width).sum(axis=0)) for static, d in left]
        return zip(*found, strict=True) if found else ((), ())

    def _add_statics(self, tape, statics, totals):
        """Add these gradients to those of weights, and take them back to weights."""
        by_tensor = {}
        for static, total in zip(statics, totals, strict=True):
            source, shape = static.source, static.shape
            total = summed_to(np.atleast_2d(total), (1, *shape)[-2:]).reshape(shape)
            if not static.is_weight:
                by_tensor[source] = add_gradients(by_tensor.get(source), total)
            elif source.trainable:
                source.grad[...] += total
        if self.static_graph is not None:
            found = [by_tensor.get(t) for t in self.static_tensors]
            self.static_graph.backward(tape.static_tape, found)

    def _input_gradient(self, tape, stores, rows, steps, width):
        by_tensor = dict(zip(self.loaded, self.gradient_of_load, strict=True))
        dx = stores[by_tensor[self.x]] if self.x in by_tensor else None
        if self.input_graph is not None:
            given = [stores[d].reshape(rows * steps, d.width) for t, d in by_tensor.items()
                     if t is not self.x]  # fmt: skip
            [own] = self.input_graph.backward(tape.input_tape, given)
            own = None if own is None else np.reshape(own, (rows, steps, width))
            dx = own if dx is None else dx if own is None else dx + own
        return np.zeros((rows, steps, width), tape.before[0].dtype) if dx is None else dx


class Values(dict):
    """The values of `Static`; those that follow from weights are entries, others know their own."""

    def __missing__(self, static):
        source = static.source
        return source.value if static.is_weight else np.asarray(source)


STATIC, INPUT, STEP = range(3)


def _kinds(graph):
    """What each tensor depends on: weights alone, the input as well, or states."""
    x, *_ = graph.inputs
    kinds = {}
    for node in graph.nodes:
        if node.inputs is None:
            kind = INPUT if node.outputs[0] is x else STEP
        else:
            kind = max((kinds[t] for t in node.parents), default=STATIC)
        kinds.update(dict.fromkeys(node.outputs, kind))
    return kinds


def _check_apart(graph):
    """Raise unless the layers of a graph do the same for rows of all steps at once."""
    for node in () if graph is None else graph.nodes:
        layer = node.layer
        known = node.inputs is None or type(layer) in (*LAYERS, Weight)
        draws = random.streams_of(layer)
        if not known or draws or getattr(layer, "activity_regularizer", None) is not None:
            raise Unsupported(f"layer '{layer.name}' ({type(layer).__name__})")


def _width(tensor):
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise Unsupported(f"an array of shape {tensor.shape}")
    return tensor.shape[1]
