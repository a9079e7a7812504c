"""One step at a time: a model that is fed as its input comes in.

``model.stream(batch_size)`` gives a `Stream`: each call takes the next step of every row and gives
what ``predict`` gives for all steps so far, at the cost of one.  The states live in the stream, not
in the model, so that any number of streams can run over one model, be looked at, put aside and
taken up again.

A stream makes all its arrays when it is made.  A step then is, for each recurrent layer, one call
of the engine, which writes into them.

Letters: B rows, T steps, D input width, H units, G gates, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from fastrnn import activations, engines
from fastrnn.checks import whole
from fastrnn.layers import (
    RNN,
    Activation,
    BatchNormalization,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GaussianNoise,
    Identity,
    LayerNormalization,
    Masking,
    StackedRNNCells,
    TimeDistributed,
    TokenDropout,
)
from fastrnn.layers.cells import EngineCell
from fastrnn.masks import StepMask
from fastrnn.names import unused

__all__ = ["Stream"]


class Stream:
    """A model that takes one step of each row at a time, and remembers the rest.

    Parameters
    ----------
    model : Model
        A built chain of layers, each of which treats a step by itself or by the steps before.
        Its weights are read at each step, so training in between has its effect.
    batch_size : int, default 1
        B, how many rows go on side by side.

    Raises
    ------
    ValueError
        If the model is not built, is no chain, or has a layer that needs later steps too:
        Bidirectional, go_backwards, pooling over the steps, and the like.

    Examples
    --------
    >>> from fastrnn import Input, Sequential
    >>> from fastrnn.layers import Dense, GRU
    >>> model = Sequential([Input((None, 3)), GRU(4), Dense(2)])
    >>> x = np.random.default_rng(0).normal(size=(1, 5, 3))
    >>> stream = Stream(model)
    >>> for t in range(5):
    ...     y = stream(x[:, t])
    >>> bool(np.allclose(y, model.predict(x, verbose=0), atol=1e-6))
    True
    """

    def __init__(self, model, batch_size=1):
        if not whole(batch_size):
            raise ValueError(
                f"stream: batch_size must be a positive whole number; got {batch_size!r}."
            )
        if not model.built:
            raise ValueError(
                f"stream: model '{model.name}' has no weights yet; call build(shape) or fit first."
            )
        if engines.get_device() != "cpu":
            raise RuntimeError(
                "stream: steps run one at a time on the CPU; call fastrnn.set_device('cpu') before."
            )
        model.move()
        self.model = model
        self.batch_size = int(batch_size)
        self._stages = _stages(model, self.batch_size)
        self._recurrent = {}
        for stage in self._stages:
            if isinstance(stage, _Recurrent):
                self._recurrent[unused(stage.layer.name, self._recurrent)] = stage

    def __call__(self, x, out=None):
        """Take the next step of every row.

        Parameters
        ----------
        x : array of shape (B,) or (B, D)
            Ids for a model that starts with an Embedding, else floats.
        out : array of the output's shape and type, optional
            Written, and returned; without it a new array is made.

        Returns
        -------
        array of shape (B, …)
            The output for this step, or for all steps so far where the model gives one output for
            a sequence.
        """
        x = self._checked(x)
        mask = None
        with engines.without_tapes():
            for stage in self._stages:
                x, mask = stage(x, mask)
        if out is None:
            return np.array(x)
        if out.shape != x.shape or out.dtype != x.dtype:
            raise ValueError(
                f"stream: out: expected an array of shape {x.shape} and type {x.dtype}; got shape "
                f"{out.shape}, {out.dtype}."
            )
        out[...] = x
        return out

    def _checked(self, x):
        x = np.asarray(x)
        expected = self.batch_size, *self.model.input_shape[2:]
        if x.shape != expected:
            raise ValueError(
                f"stream: expected one step of each row, shape {expected}; got shape {x.shape}."
            )
        x = self.model.convert_input(x)
        self.model.check_input(x)
        return x

    # -- the state ---------------------------------------------------------------------------------

    @property
    def state(self):
        """The states of all recurrent layers, copied: a dict of lists of arrays (B, H) by name.

        Setting it goes on from there.

        Raises
        ------
        ValueError
            When set, if names or shapes differ; nothing is changed then.
        """
        return {name: [np.array(a) for a in s.state] for name, s in self._recurrent.items()}

    @state.setter
    def state(self, state):
        expected = {name: [a.shape for a in s.state] for name, s in self._recurrent.items()}
        given = {name: [np.shape(a) for a in arrays] for name, arrays in state.items()}
        if given != expected:
            raise ValueError(f"stream: state: expected arrays of shapes {expected}; got {given}.")
        for name, stage in self._recurrent.items():
            for own, array in zip(stage.state, state[name], strict=True):
                own[...] = array

    def reset(self, rows=None):
        """Start anew: all rows, or these.

        Parameters
        ----------
        rows : int, list of int, slice or bool array (B,), optional
        """
        for stage in self._recurrent.values():
            for array in stage.state:
                array[slice(None) if rows is None else rows] = 0

    def __repr__(self):
        return f"<Stream of '{self.model.name}', {self.batch_size} rows>"


# -- stages: (x (B, …), mask (B,) or None) -> the same of the next layer ---------------------------
#
# What a stage returns is its own array, valid until its next call.


def _stages(model, rows):
    """The stages of a chain of layers, in their order."""
    stages, has_steps = [], True
    for layer in _chain(model):
        if has_steps:
            stage, has_steps = _step_stage(layer, rows)
        else:
            stage = _row_stage(layer, rows)
        if stage is not None:
            stages.append(stage)
    return stages


def _chain(model):
    """The layers of a chain and of the chains inside it."""
    graph = model.graph
    if (layer := graph.first_branch()) is not None:
        raise ValueError(
            f"stream: model '{model.name}' is no chain: expected layers that each take what "
            f"the one before gives, and nothing else; layer '{layer.name}' has other or "
            "more inputs, or more outputs."
        )
    for step in graph.steps:
        if getattr(step.layer, "graph", None) is None:
            yield step.layer
        else:
            yield from _chain(step.layer)
    if graph.output_slots != [step.target for step in graph.steps[-1:]]:
        raise ValueError(
            f"stream: model '{model.name}' is no chain: expected one output, that of its last "
            f"layer; it has {len(graph.outputs)}."
        )


def _step_stage(layer, rows):
    """The stage for a layer that is given steps, and whether it gives steps in turn.

    None for a layer that does nothing outside training.
    """
    if isinstance(layer, RNN):
        if layer.go_backwards:
            raise _refused(layer, "it reads the steps from the last to the first")
        return _Recurrent(layer, rows), layer.return_sequences
    if isinstance(layer, Embedding):
        return _Lookup(layer, rows), True
    if isinstance(layer, TokenDropout):
        return None, True
    if len(layer.input_shape) < 3:
        raise _refused(layer, f"its input, of shape {layer.input_shape}, has no axis of steps")
    if isinstance(layer, Masking):
        return _Masked(layer, rows), True
    if isinstance(layer, (Dropout, GaussianNoise, Identity)):
        return None, True
    if isinstance(layer, (Dense, Activation)):
        return _Affine(layer, rows), True
    if isinstance(layer, TimeDistributed):
        return _Rows(layer.layer, passes_mask=True), True
    if isinstance(layer, (BatchNormalization, LayerNormalization)):
        if 1 in layer.feature_axes(len(layer.input_shape)):
            raise _refused(layer, f"axis={layer.axis} is that of the steps")
        return _OneStep(layer), True
    if isinstance(layer, Bidirectional):
        raise _refused(layer, "it reads the steps from both ends")
    raise _refused(layer, "its output depends on all steps together, or may do so")


def _row_stage(layer, rows):
    """The stage for a layer behind the last axis of steps: a function of rows."""
    if isinstance(layer, (Dropout, GaussianNoise, Identity)):
        return None
    if isinstance(layer, (Dense, Activation)) and len(layer.input_shape) == 2:
        return _Affine(layer, rows)
    return _Rows(layer)


def _refused(layer, reason):
    return ValueError(
        f"stream: layer '{layer.name}' ({type(layer).__name__}) cannot take one step at a time: "
        f"{reason}. Layers that can: Embedding, Masking, SimpleRNN, LSTM, GRU, RNN, Dense, "
        "Activation, Dropout, TokenDropout, Gaussian noise, normalisation of features, and "
        "TimeDistributed around any other."
    )


class _Lookup:
    """An Embedding: ids (B,) -> rows of its table."""

    def __init__(self, layer, rows):
        self.layer = layer
        self.y = np.empty((rows, layer.output_dim), layer.dtype)
        self.counts = np.empty(rows, bool) if layer.mask_zero else None

    def __call__(self, ids, mask):
        # The stream has looked at the ids; mode="raise" would need a buffer of its own.
        np.take(self.layer.embeddings.value, ids, axis=0, out=self.y, mode="clip")
        if mask is None and self.counts is not None:
            mask = np.not_equal(ids, 0, out=self.counts)
        return self.y, mask


class _Masked:
    """A Masking layer."""

    def __init__(self, layer, rows):
        self.layer = layer
        self.y = np.empty((rows, *layer.input_shape[2:]), layer.dtype)
        self.differs = np.empty(self.y.shape, bool)
        self.counts = np.empty(rows, bool)

    def __call__(self, x, mask):
        np.not_equal(x, self.layer.mask_value, out=self.differs)
        np.any(self.differs, axis=1, out=self.counts)
        self.y[...] = 0
        np.copyto(self.y, x, where=self.counts[:, None])
        return self.y, self.counts


class _Affine:
    """A Dense or an Activation."""

    def __init__(self, layer, rows):
        self.layer = layer
        self.y = np.empty((rows, layer.output_shape[-1]), layer.dtype)
        self.work = np.empty_like(self.y)
        self.column = np.empty((rows, 1), layer.dtype)

    def __call__(self, x, mask):
        layer, y = self.layer, self.y
        if isinstance(layer, Dense):
            np.matmul(x, layer.kernel.value, out=y)
            if layer.bias is not None:
                np.copyto(self.work, layer.bias.value)
                np.add(y, self.work, out=y)
        else:
            y[...] = x
        activate_in_place(layer.activation, y, self.work, self.column)
        return y, mask


class _Rows:
    """Any layer, as a function of rows."""

    def __init__(self, layer, passes_mask=False):
        self.layer = layer
        self.passes_mask = passes_mask

    def __call__(self, x, mask):
        y, own, _ = self.layer.run(x)
        return engines.dense(y), mask if self.passes_mask else own


class _OneStep:
    """A layer that treats each step by itself, given sequences of one."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x, mask):
        y, _ = self.layer.forward(x[:, None])
        return y[:, 0], mask


class _Recurrent:
    """A recurrent layer: the states of its cells, and their steps."""

    def __init__(self, layer, rows):
        self.layer = layer
        self.cells = [
            (_EngineStep if isinstance(cell, EngineCell) else _OwnStep)(cell, rows)
            for cell in _leaf_cells(layer.cell)
        ]
        self.shown = np.empty((rows, layer.cell.output_size), layer.dtype)

    @property
    def state(self):
        """The arrays that make the state of all cells."""
        return [array for cell in self.cells for array in cell.state]

    def __call__(self, x, mask):
        for cell in self.cells:
            x = cell(x, mask)
        if mask is not None and self.layer.zero_output_for_mask:
            self.shown[...] = 0
            np.copyto(self.shown, x, where=mask[:, None])
            x = self.shown
        return x, mask


def _leaf_cells(cell):
    """A cell, or the cells of a stack."""
    if isinstance(cell, StackedRNNCells):
        return [leaf for part in cell.cells for leaf in _leaf_cells(part)]
    return [cell]


class _EngineStep:
    """The step of a cell whose equations the engine knows."""

    def __init__(self, cell, rows):
        self.cell, self.spec = cell, cell.spec
        shape = rows, cell.units
        self.state = [np.zeros(shape, cell.dtype) for _ in range(self.spec.states)]
        self.next = [np.zeros(shape, cell.dtype) for _ in range(self.spec.states)]
        self.work = np.empty((rows, self.spec.gates * cell.units), cell.dtype)
        self.b = np.empty(self.spec.gates * cell.units, cell.dtype)

    def __call__(self, x, mask):
        cell = self.cell
        b, bias = self._biases()
        step(
            self.spec, x, cell.kernel.value, b, cell.recurrent_kernel.value, self.state, self.next,
            self.work, mask, bias,
        )
        self.state, self.next = self.next, self.state
        return self.state[0]

    def _biases(self):
        """`EngineCell.input_bias`, in an array that is there."""
        if self.cell.bias is None or self.cell.bias.value.ndim == 1:
            return self.cell.input_bias()
        # A GRU with reset_after has two: in z and r they add up, in the candidate they stand apart.
        (outer, inner), gates = self.cell.bias.value, 2 * self.cell.units
        np.add(outer[:gates], inner[:gates], out=self.b[:gates])
        self.b[gates:] = outer[gates:]
        return self.b, inner[gates:]


class _OwnStep:
    """The step of a cell that is written in Python; its output is kept beside its states."""

    def __init__(self, cell, rows):
        self.cell = cell
        self.state = [np.zeros((rows, size), cell.dtype) for size in cell.state_sizes]
        self.state.append(np.zeros((rows, cell.output_size), cell.dtype))

    def __call__(self, x, mask):
        *states, _ = self.state
        y, new, _ = self.cell.forward(x, [np.array(s) for s in states])
        for own, array in zip(self.state, [*new, y], strict=True):
            np.copyto(own, array, where=True if mask is None else mask[:, None])
        return self.state[-1]


# -- arithmetic on arrays that are there -----------------------------------------------------------


def step(cell, x, W, b, U, states, out, work, mask=None, bias=None):
    """One step of a cell, without a way back, written into ``out``.

    Parameters
    ----------
    cell : `fastrnn.cells.CellSpec`
    x : array of shape (B, D)
    W, b : arrays of shapes (D, G * H) and (G * H,); b may be None
    U : array of shape (H, G * H)
    states, out : lists of arrays of shape (B, H)
        Those before the step, and those after it; no array is in both.
    work : array of shape (B, G * H)
        Overwritten.
    mask : bool array of shape (B,), optional
        The rows for which the step counts; all others keep their states.
    bias : array of shape (H,), optional
        Of a GRU with ``reset_after``, inside the reset.
    """
    engine = engines.current()
    if hasattr(engine, "step"):
        engine.step(cell, x, W, b, U, states, out, work, mask, bias)
        return
    xz = engine.project(x, W, b)[:, None]
    steps = None if mask is None else StepMask(np.zeros(len(x), np.int64), mask.astype(np.int64), 1)
    _, last, _ = engine.recurrent(cell, xz, U, states, steps, keep=False, bias=bias)
    for own, array in zip(out, last, strict=True):
        own[...] = array


def activate_in_place(activation, z, work, column):
    """z (B, H) becomes ``activation(z)``; work (B, H) and column (B, 1) are overwritten."""
    if activation == "relu":
        np.maximum(z, 0, out=z)
    elif activation == "tanh":
        np.tanh(z, out=z)
    elif activation == "sigmoid":  # (1 + tanh(z / 2)) / 2
        np.multiply(z, 0.5, out=z)
        np.tanh(z, out=z)
        np.multiply(z, 0.5, out=z)
        np.add(z, 0.5, out=z)
    elif activation == "softmax":
        # The column is spread out first: NumPy's arithmetic would make a buffer to do so.
        np.copyto(work, np.max(z, axis=1, keepdims=True, out=column))
        np.subtract(z, work, out=z)
        np.exp(z, out=z)
        np.copyto(work, np.sum(z, axis=1, keepdims=True, out=column))
        np.divide(z, work, out=z)
    elif activation != "linear":
        z[...] = activations.named(activation).forward(z)
