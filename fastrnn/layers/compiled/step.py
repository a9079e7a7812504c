"""The steps of cells that are written as a `call`, compiled, and sweeps with them.

The graph of a step is cut in three.  What depends on weights alone is computed once for a sweep.
What depends on the input, and not on the states, is computed by layers, for all steps at once.  The
rest becomes a program.

Letters: B rows in a batch, T steps, D input width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines
from fastrnn.differentiable import summed_to
from fastrnn.graph import Graph
from fastrnn.layers.compiled.translation import (
    CELLS,
    LAYERS,
    Translator,
    draws,
    is_weight,
    of_tensor,
)
from fastrnn.layers.operations import Weight
from fastrnn.programs.equations import Unsupported
from fastrnn.programs.instructions import Assembler, Register
from fastrnn.programs.sweeps import ProgramSweep
from fastrnn.programs.sweeps import Tape as ProgramTape
from fastrnn.values import add_gradients

__all__ = ["CompiledStep", "Steps", "Tape"]


class Tape(NamedTuple):
    """What the way back needs of a sweep."""

    step: CompiledStep
    width: int  # of the input
    program: ProgramTape
    input_tape: Any
    static_tape: Any


class Steps(dict):
    """What graphs of steps were compiled to, by the graphs; a copy of a cell compiles its own."""

    def of(self, graph):
        """The `CompiledStep` of a graph from [x, *states] to [y, *states].

        None: there are no instructions for it, or the engine in use runs none.
        """
        if not engines.current().runs_programs:
            return None
        if graph not in self:
            try:
                self[graph] = CompiledStep(graph)
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

    Raises
    ------
    Unsupported
        If there is no instruction for something in it.
    """

    def __init__(self, graph):
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
        translator = Translator(assembler)
        values = translator.values
        self.x = x
        values.update((t, Register(_width(t))) for t in (*self.loaded, *states))
        values.update((t, of_tensor(t)) for t in weights)
        for node in stepped:
            translator.node(node)
        outputs = [translator.register(values[t], _width(t)) for t in graph.outputs]
        self.program = ProgramSweep(
            assembler, [values[t] for t in self.loaded], [values[t] for t in states], outputs,
            translator.held, engines.current().program,
        )

    # -- running -------------------------------------------------------------------------------

    def sweep(self, x, states, mask, return_sequences, zero_output_for_mask, training):
        """As `RecurrentCell.sweep`, for the array x (B, T, D)."""
        x = np.ascontiguousarray(x)
        rows, steps, width = x.shape
        made, input_tape = self._run_input(x, training)
        loads = [x if t is self.x else made.pop(0) for t in self.loaded]
        values, static_tape = self._run_statics(training)
        output, last, tape = self.program.forward(
            engines.current(), x.dtype, rows, steps, loads, states, values, mask, return_sequences,
            zero_output_for_mask, engines.recording(),
        )
        tape = tape and Tape(self, width, tape, input_tape, static_tape)
        return output, last, tape

    def sweep_backward(self, tape, doutput, dstates):
        """As `RecurrentCell.sweep_backward`."""
        dloads, dfirst, totals = self.program.backward(
            engines.current(), tape.program, doutput, dstates
        )
        self._add_statics(tape, totals)
        return self._input_gradient(tape, dict(zip(self.loaded, dloads, strict=True))), dfirst

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
            values.update(zip(map(of_tensor, self.static_tensors), found, strict=True))
        return values, tape

    def _add_statics(self, tape, totals):
        """Add these gradients to those of weights, and take them back to weights."""
        by_tensor = {}
        for static, total in totals:
            source, shape = static.source, static.shape
            total = summed_to(np.atleast_2d(total), (1, *shape)[-2:]).reshape(shape)
            if not is_weight(static):
                by_tensor[source] = add_gradients(by_tensor.get(source), total)
            elif source.trainable:
                source.grad[...] += total
        if self.static_graph is not None:
            found = [by_tensor.get(t) for t in self.static_tensors]
            self.static_graph.backward(tape.static_tape, found)

    def _input_gradient(self, tape, dloads):
        """The gradient of x, from those of what the program read of it."""
        rows, steps = tape.program.rows, tape.program.steps
        dx = dloads.pop(self.x, None)
        if self.input_graph is not None:
            given = [d.reshape(rows * steps, d.shape[-1]) for d in dloads.values()]
            [own] = self.input_graph.backward(tape.input_tape, given)
            own = None if own is None else np.reshape(own, (rows, steps, tape.width))
            dx = own if dx is None else dx if own is None else dx + own
        if dx is None:
            dx = np.zeros((rows, steps, tape.width), tape.program.dtype)
        return dx


class Values(dict):
    """The values of `Static`; those that follow from weights are entries, others know their own."""

    def __missing__(self, static):
        source = static.source
        return source.value if is_weight(static) else np.asarray(source)


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
        for layer in () if node.inputs is None else node.layer.walk():
            known = type(layer) in (*LAYERS, Weight, *CELLS)
            if not known or layer.penalised_layers() or draws(layer):
                raise Unsupported(f"layer '{layer.name}' ({type(layer).__name__})")


def _width(tensor):
    if len(tensor.shape) != 2 or tensor.shape[1] is None:
        raise Unsupported(f"an array of shape {tensor.shape}")
    return tensor.shape[1]
