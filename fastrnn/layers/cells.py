"""Recurrent cells: what happens at one step, and how a whole sweep of steps is carried out.

`RecurrentCell` is the contract; a cell of one's own writes one step, `forward` and `backward`, in
Python.  `SimpleRNNCell`, `LSTMCell` and `GRUCell` hand whole sweeps to the engine: one product for
the inputs of all steps, then one call that carries the state.  `StackedRNNCells` sweeps its cells
one after the other.  `fastrnn.layers.RNN` puts a cell to work on sequences.

Letters: B rows in a batch, T steps, D input width, H units, G gates.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fastrnn import activations, constraints, engines, initializers, random, regularizers
from fastrnn.cells import CellSpec
from fastrnn.graph import apply, is_symbolic
from fastrnn.layers.base import Layer
from fastrnn.layers.core import activation_of, dropout_mask, fraction, positive
from fastrnn.layers.operations import applied
from fastrnn.layers.serialization import deserialize, serialize
from fastrnn.names import unique_name
from fastrnn.operands import drawn_inputs
from fastrnn.values import Lookup

__all__ = ["CellStep", "GRUCell", "LSTMCell", "RecurrentCell", "SimpleRNNCell", "StackedRNNCells"]

cell_spec = lru_cache(CellSpec)  # every call of a layer asks for its own, and few differ


class RecurrentCell(Layer):
    """The base of all cells.

    A cell of one's own sets ``state_size`` and writes `forward` and `backward` for one step; it
    makes its weights in `create`, for inputs of shape ``(batch, features)``, as any layer does.

    Attributes
    ----------
    state_size : int or list of int
        The width of each array of the state.
    output_size : int
        The width of the output; default: that of the first state.

    Examples
    --------
    A leaky integrator, h' = h + (x W - h) / 4:

    >>> class Leaky(RecurrentCell):
    ...     state_size = 3
    ...
    ...     def create(self, input_shape):
    ...         self.kernel = self.add_weight((input_shape[-1], 3), "glorot_uniform", name="kernel")
    ...
    ...     def forward(self, x, states, training=False):
    ...         h = states[0] + 0.25 * (x @ self.kernel.value - states[0])
    ...         return h, [h], x
    ...
    ...     def backward(self, tape, dy, dstates):
    ...         dh = dy + dstates[0]
    ...         self.kernel.grad += 0.25 * tape.T @ dh
    ...         return 0.25 * dh @ self.kernel.value.T, [0.75 * dh]
    >>> from fastrnn.layers import RNN
    >>> RNN(Leaky())(np.ones((2, 5, 4))).shape
    (2, 3)
    """

    state_size = None

    # -- to be written by a cell of one's own ----------------------------------------------------

    def forward(self, x, states, training=False):
        """One step: ``(y, states, tape)`` for x (B, D) and a list of states (B, state_size)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, states).")

    def backward(self, tape, dy, dstates):
        """``(dx, dstates)`` from the gradients of a step's output and of the states after it.

        Adds into the gradients of the parameters.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(tape, dy, dstates).")

    # -- shapes ------------------------------------------------------------------------------

    @property
    def state_sizes(self):
        """The widths of all arrays of the state, as a flat list."""
        size = self.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    _output_size = None

    @property
    def output_size(self):
        return self.state_sizes[0] if self._output_size is None else self._output_size

    @output_size.setter
    def output_size(self, size):
        self._output_size = size

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.output_size

    def get_initial_state(self, batch_size=None):
        """Zeros to start from, a list of arrays (batch_size, state_size).

        In a `call`, without ``batch_size`` or with None: of symbolic tensors.
        """
        if batch_size is None and drawn_inputs():
            return self.zero_states(drawn_inputs()[0])
        zeros = engines.current().zeros
        return [zeros((batch_size, size), self.dtype) for size in self.state_sizes]

    def zero_states(self, x):
        """Symbolic zeros to start from, with as many rows as the tensor x."""
        return [applied("full", x, shape=[size], value=0.0) for size in self.state_sizes]

    def nest(self, states):
        """The flat list of states in the structure that users see."""
        return states

    # -- a sweep over all steps --------------------------------------------------------------------

    def sweep(self, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
              training=False):
        """Carry the state through all steps.

        Parameters
        ----------
        x : array of shape (B, T, D) or `Lookup`
        states : list of arrays of shape (B, state_size), or None for zeros
        mask : `StepMask` without holes, or None
        return_sequences, zero_output_for_mask, training : bool

        Returns
        -------
        output : array of shape (B, T, output_size) or (B, output_size)
            Of the last step that counts, in the second case (undefined where none counts).
        states : list of arrays
            The last ones.
        tape : opaque
        """
        x = engines.dense(x)
        rows, steps, _ = x.shape
        states = self.get_initial_state(rows) if states is None else states
        counts = np.ones((rows, steps), bool) if mask is None else np.asarray(mask)
        zeros = engines.current().zeros
        output = zeros((rows, self.output_size), self.dtype)
        sequence = zeros((rows, steps, self.output_size), self.dtype)
        tapes = []
        for t in range(steps):
            y, new, tape = self.forward(x[:, t], states, training)
            k = counts[:, t, None]
            states = [np.where(k, a, b) for a, b in zip(new, states, strict=True)]
            output = np.where(k, y, output)
            sequence[:, t] = np.where(k, y, 0) if zero_output_for_mask else output
            tapes.append(tape)
        tape = x.shape, counts, tapes, return_sequences, zero_output_for_mask
        return (sequence if return_sequences else output), states, tape

    def sweep_backward(self, tape, doutput, dstates):
        """Gradients of the input and of the first states, for those of the output and the last.

        ``doutput`` and entries of ``dstates`` may be None.
        """
        shape, counts, tapes, sequences, zero_output_for_mask = tape
        rows, steps, _ = shape
        zeros = engines.current().zeros
        dx = zeros(shape, self.dtype)
        dstates = [
            zeros((rows, size), self.dtype) if d is None else d
            for d, size in zip(dstates, self.state_sizes, strict=True)
        ]
        dy = zeros((rows, self.output_size), self.dtype)  # of the output shown from here on
        if doutput is not None and not sequences:
            dy = dy + doutput
        for t in reversed(range(steps)):
            k = counts[:, t, None]
            if doutput is not None and sequences:
                dy = dy + (np.where(k, doutput[:, t], 0) if zero_output_for_mask else doutput[:, t])
            dnew = [np.where(k, d, 0) for d in dstates]
            dx_t, dbefore = self.backward(tapes[t], np.where(k, dy, 0), dnew)
            dx[:, t] = np.where(k, dx_t, 0)
            dstates = [
                np.where(k, before, d) for before, d in zip(dbefore, dstates, strict=True)
            ]
            dy = np.where(k, 0, dy)
        return dx, dstates

    # -- use on NumPy arrays, and on symbolic tensors ----------------------------------------------

    def __call__(self, x, states=None, training=None):
        """One step: ``(y, states)``, of NumPy arrays, or of symbolic tensors.

        Parameters
        ----------
        x : array or SymbolicTensor of shape (B, D)
        states : array of shape (B, state_size), or a list of them, nested as the cell has them
            Default: zeros.
        training : bool, optional
            With dropout, each call draws masks of its own; only a layer has one for all steps.
        """
        single = states is not None and not isinstance(states, (list, tuple))
        states = None if states is None else flat_states(states)
        step = self._symbolic if is_symbolic(x, states) else self._on_arrays
        y, states = step(x, states, training)
        return y, states[0] if single else self.nest(states)

    def _on_arrays(self, x, states, training):
        x = self.convert_input(x)
        self.check_rank(x.shape, 2, "(batch, features)")
        if not self.built:
            self.build((None, x.shape[1]))
        self.check_width(x.shape)
        states = self.get_initial_state(len(x)) if states is None else states
        states = self.check_states("states", states, len(x))
        y, states, _ = self.forward(x, states, bool(training))
        return self._to_host(y), [self._to_host(s) for s in states]

    def _symbolic(self, x, states, training):
        if self._step is None:
            self._step = CellStep(self)
        states = self.zero_states(x) if states is None else states
        y, *states = apply(self._step, [x, *states], training=training)
        return y, states

    _step = None  # the layer that stands for a step in graphs

    def check_states(self, argument, states, rows):
        """The states as engine arrays; ValueError unless they fit ``rows`` rows."""
        states = [engines.current().asarray(s, self.dtype) for s in states]
        expected = [(rows, size) for size in self.state_sizes]
        if [s.shape for s in states] != expected:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): {argument}: expected arrays of "
                f"shapes {expected}; got {[s.shape for s in states]}."
            )
        return states


class CellStep(Layer):
    """One step of a cell as a layer: what a cell makes of symbolic tensors.

    A list [x, *states] of arrays (B, D) and (B, state_size) gives a list [y, *states].

    Parameters
    ----------
    cell : RecurrentCell

    Examples
    --------
    >>> [part.shape for part in CellStep(LSTMCell(4))([np.ones((2, n)) for n in (3, 4, 4)])]
    [(2, 4), (2, 4), (2, 4)]
    """

    def __init__(self, cell, name=None, **kwargs):
        super().__init__(name=name or unique_name("cell_step"), **{"dtype": cell.dtype} | kwargs)
        check_cell(self, cell)
        self.cell = cell

    @property
    def sublayers(self):
        return (self.cell,)

    def create(self, input_shape):
        self.compute_output_shape(input_shape)
        self.cell.build(input_shape[0])

    def compute_output_shape(self, input_shape):
        (rows, *width), *states = input_shape
        sizes = self.cell.state_sizes
        if len(width) != 1 or [tuple(shape[1:]) for shape in states] != [(n,) for n in sizes]:
            raise ValueError(
                f"Cell '{self.cell.name}' ({type(self.cell).__name__}): expected a step's input "
                f"(batch, features), and states of shapes {[(rows, n) for n in sizes]}; got shapes "
                f"{', '.join(map(str, input_shape))}."
            )
        return [(rows, n) for n in (self.cell.output_size, *sizes)]

    def convert_input(self, x):
        return [super(CellStep, self).convert_input(part) for part in x]

    def forward(self, x, mask=None, training=False):
        x, *states = map(engines.dense, x)
        y, states, tape = self.cell.forward(x, states, training)
        return [y, *states], (tape, [part.shape for part in (y, *states)])

    def output_mask(self, x, mask, y):
        return None  # steps are masked by whoever goes through them

    def backward(self, tape, dy):
        tape, shapes = tape
        zeros = engines.current().zeros
        dy, *dstates = (
            zeros(shape, self.dtype) if d is None else d
            for d, shape in zip(dy, shapes, strict=True)
        )
        dx, dstates = self.cell.backward(tape, dy, dstates)
        return [dx, *dstates]

    def get_config(self):
        return super().get_config() | {"cell": serialize(self.cell)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config | {"cell": deserialize(config["cell"], custom_objects)})


def flat_states(states):
    """States as a flat list, however they are nested."""
    if not isinstance(states, (list, tuple)):
        return [states]
    return [leaf for part in states for leaf in flat_states(part)]


class EngineCell(RecurrentCell):
    """A cell whose equations the engines know, as a `CellSpec`: one product, then one sweep."""

    def __init__(self, units, activation, use_bias, kernel_initializer, recurrent_initializer,
                 bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
                 kernel_constraint, recurrent_constraint, bias_constraint, dropout,
                 recurrent_dropout, seed, **kwargs):
        kwargs.pop("implementation", None)  # Keras's choice of loops means nothing here
        super().__init__(**kwargs)
        self.units = positive(self, "units", units)
        self.activation = activation_of(self, "activation", activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout = fraction(self, "dropout", dropout)
        self.recurrent_dropout = fraction(self, "recurrent_dropout", recurrent_dropout)
        self.seed = seed
        self.stream = random.Stream(seed)

    @property
    def spec(self):
        """The cell as the engine knows it."""
        raise NotImplementedError

    @property
    def state_size(self):
        return self.units if self.spec.states == 1 else [self.units] * self.spec.states

    # -- weights -----------------------------------------------------------------------------------

    def create(self, input_shape):
        columns = self.spec.gates * self.units
        self.kernel = self.add_weight(
            (input_shape[-1], columns), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, name="kernel",
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, columns), self.recurrent_initializer,
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint,
            name="recurrent_kernel",
        )
        self.bias = self.use_bias and self.add_weight(
            self.bias_shape, self.initial_bias, regularizer=self.bias_regularizer,
            constraint=self.bias_constraint, name="bias",
        ) or None

    @property
    def bias_shape(self):
        return (self.spec.gates * self.units,)

    @property
    def initial_bias(self):
        return self.bias_initializer

    def input_bias(self):
        """The bias of the projected input, (G H,) or None, and the one inside the sweep (H,)."""
        return (self.bias.value if self.use_bias else None), None

    def bias_gradient(self):
        """The array (G H,) that the gradient of `input_bias`'s first part is added into, or None;
        `take_bias_gradient` then takes it, with that of the second part."""
        return self.bias.grad if self.use_bias else None

    def take_bias_gradient(self, db, dinner):
        """Add what `bias_gradient` gave out to the bias's gradient, if it is no part of it."""

    # -- sweeps ------------------------------------------------------------------------------------

    def sweep(self, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
              training=False):
        engine = engines.current()
        x, noise, recurrent_noise = self._drop(x, training)
        bias, inner = self.input_bias()
        keep = engines.recording()
        xz = self._project(x, noise, bias, mask, keep)
        if keep and isinstance(xz, Lookup):
            x = Lookup(x.ids, x.table, xz.count)  # what was counted serves the way back
        sequence, states, tape = engine.recurrent(
            self.spec, xz, self.recurrent_kernel.value, states, mask, return_sequences,
            zero_output_for_mask, keep, inner, recurrent_noise,
        )
        output = sequence if return_sequences else states[0]
        return output, states, (x, noise, return_sequences, tape)

    def sweep_backward(self, tape, doutput, dstates):
        x, noise, sequences, tape = tape
        if not sequences:
            if doutput is not None:
                first = doutput if dstates[0] is None else doutput + dstates[0]
                dstates = [first, *dstates[1:]]
            doutput = None
        engine, inner = engines.current(), self.input_bias()[1]
        dinner = None if inner is None else engine.small_zeros(self.units, self.dtype)
        db = self.bias_gradient()
        projection = None
        if noise is None:  # what `_project_backward` then asks for
            projection = x, self.kernel.value, self.kernel.grad, db
        dxz, dstates = engine.recurrent_backward(
            tape, self.recurrent_kernel.value, doutput, dstates, self.recurrent_kernel.grad,
            dbias=dinner, projection=projection,
        )
        dx = self._project_backward(x, noise, dxz, db)
        self.take_bias_gradient(db, dinner)
        return dx, dstates

    def forward(self, x, states, training=False):
        y, states, tape = self.sweep(x[:, None], states, training=training)
        return y, states, tape

    def backward(self, tape, dy, dstates):
        dx, dstates = self.sweep_backward(tape, dy, dstates)
        return dx[:, 0], dstates

    def _drop(self, x, training):
        """The input, its dropout masks and those of the state: one for all steps of a call.

        As in Keras, LSTM and GRU draw a mask for each gate where recurrent_dropout is on, and
        else one for all.
        """
        if not training or not (self.dropout or self.recurrent_dropout):
            return x, None, None
        rows, _, width = x.shape
        masks = self.spec.gates if self.recurrent_dropout else 1
        noise = recurrent_noise = None
        if self.dropout:
            x = engines.dense(x)
            noise = dropout_mask(self.stream, (masks, rows, 1, width), self.dropout, self.dtype)
        if self.recurrent_dropout:
            recurrent_noise = dropout_mask(
                self.stream, (masks, rows, self.units), self.recurrent_dropout, self.dtype
            )
        return x, noise, recurrent_noise

    def _project(self, x, noise, bias, mask, keep):
        """x W + b, each gate's columns with a mask of their own where there are several."""
        project = engines.current().project
        W = self.kernel.value
        if noise is None:
            return project(x, W, bias, mask, keep, for_sweep=True)
        if len(noise) == 1:
            return project(x * noise[0], W, bias, mask, keep, for_sweep=True)
        return np.concatenate(
            [project(x * own, part, None if bias is None else bias[columns], mask, keep)
             for own, columns, part in self._gates_of(noise, W)], axis=-1,
        )

    def _project_backward(self, x, noise, dxz, db):
        """Gradient of `_project` by x; adds into those of W and b."""
        engine = engines.current()
        W, dW = self.kernel.value, self.kernel.grad
        if noise is None:
            dx = engine.project_backward(x, W, dxz, dW, db)
        elif len(noise) == 1:
            dx = engine.project_backward(x * noise[0], W, dxz, dW, db) * noise[0]
        else:
            dx = np.zeros_like(x)
            for own, columns, part in self._gates_of(noise, W):
                dpart = np.zeros_like(part)
                dz = engine.columns(dxz, columns)
                dx += own * engine.project_backward(
                    x * own, part, dz, dpart, None if db is None else db[columns]
                )
                dW[:, columns] += dpart
        return dx

    def _gates_of(self, noise, W):
        """For each gate its mask, the columns that are its own, and those columns of W."""
        for gate, own in enumerate(noise):
            columns = slice(gate * self.units, (gate + 1) * self.units)
            yield own, columns, engines.current().asarray(W[:, columns])

    # -- configuration -----------------------------------------------------------------------------

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class SimpleRNNCell(EngineCell):
    """One step of a `SimpleRNN`: h' = activation(x W + b + h U).

    The arguments are those of `SimpleRNN` up to ``recurrent_dropout``, and ``seed``.

    Examples
    --------
    >>> cell = SimpleRNNCell(4)
    >>> output, [state] = cell(np.ones((2, 3)))
    >>> output.shape, state.shape
    ((2, 4), (2, 4))
    """

    def __init__(self, units, activation="tanh", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, kernel_constraint=None, recurrent_constraint=None,
                 bias_constraint=None, dropout=0.0, recurrent_dropout=0.0, seed=None, **kwargs):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )

    @property
    def spec(self):
        return cell_spec("simple_rnn", self.activation)


class LSTMCell(EngineCell):
    """One step of an `LSTM`: a state h and a carry c, four gates i, f, c, o.

    The arguments are those of `LSTM` up to ``recurrent_dropout``, and ``seed``.

    Examples
    --------
    >>> cell = LSTMCell(4)
    >>> output, [h, c] = cell(np.ones((2, 3)))
    >>> output.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", unit_forget_bias=True, kernel_regularizer=None,
                 recurrent_regularizer=None, bias_regularizer=None, kernel_constraint=None,
                 recurrent_constraint=None, bias_constraint=None, dropout=0.0,
                 recurrent_dropout=0.0, seed=None, **kwargs):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )
        self.recurrent_activation = activation_of(
            self, "recurrent_activation", recurrent_activation
        )
        self.unit_forget_bias = unit_forget_bias

    @property
    def spec(self):
        return cell_spec("lstm", self.activation, self.recurrent_activation)

    @property
    def initial_bias(self):
        if not self.unit_forget_bias:
            return self.bias_initializer

        def with_ones(shape, dtype=None):
            # A forget gate that starts open lets gradients through (Jozefowicz et al., 2015).
            parts = [self.bias_initializer((self.units,), dtype=dtype),
                     np.ones(self.units, dtype),
                     self.bias_initializer((2 * self.units,), dtype=dtype)]
            return np.concatenate(parts)

        return with_ones

    def get_config(self):
        return super().get_config() | {
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "unit_forget_bias": self.unit_forget_bias,
        }


class GRUCell(EngineCell):
    """One step of a `GRU`: gates z and r and a candidate h.

    The arguments are those of `GRU` up to ``recurrent_dropout``, then ``reset_after`` and ``seed``.

    Examples
    --------
    >>> cell = GRUCell(4)
    >>> output, [state] = cell(np.ones((2, 3)))
    >>> cell.bias.shape
    (2, 12)
    """

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, kernel_constraint=None, recurrent_constraint=None,
                 bias_constraint=None, dropout=0.0, recurrent_dropout=0.0, reset_after=True,
                 seed=None, **kwargs):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, kernel_regularizer, recurrent_regularizer, bias_regularizer,
            kernel_constraint, recurrent_constraint, bias_constraint, dropout, recurrent_dropout,
            seed, **kwargs,
        )
        self.recurrent_activation = activation_of(
            self, "recurrent_activation", recurrent_activation
        )
        self.reset_after = reset_after

    @property
    def spec(self):
        return cell_spec(
            "gru", self.activation, self.recurrent_activation, bool(self.reset_after)
        )

    @property
    def bias_shape(self):
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def input_bias(self):
        if not (self.use_bias and self.reset_after):
            return super().input_bias()
        # The biases of x W and of h U add up in z and r; only the candidate's stands apart.
        outer, inner = self.bias.value
        gates = 2 * self.units
        return np.concatenate([outer[:gates] + inner[:gates], outer[gates:]]), inner[gates:]

    def bias_gradient(self):
        if not (self.use_bias and self.reset_after):
            return super().bias_gradient()
        return engines.current().small_zeros(3 * self.units, self.dtype)

    def take_bias_gradient(self, db, dinner):
        if self.use_bias and self.reset_after:
            outer, inner = self.bias.grad
            gates = 2 * self.units
            outer += db
            inner[:gates] += db[:gates]
            inner[gates:] += dinner

    def get_config(self):
        return super().get_config() | {
            "recurrent_activation": activations.serialize(self.recurrent_activation),
            "reset_after": self.reset_after,
        }


class StackedRNNCells(RecurrentCell):
    """Cells one upon another: each takes the output of the one below as its input.

    Parameters
    ----------
    cells : list of RecurrentCell

    Raises
    ------
    ValueError
        If there are none, or one is no cell.

    Examples
    --------
    >>> from fastrnn.layers import RNN
    >>> RNN(StackedRNNCells([LSTMCell(8), GRUCell(4)]))(np.ones((2, 7, 3))).shape
    (2, 4)
    """

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        self.cells = list(cells)
        for cell in self.cells:
            check_cell(self, cell)
        if not self.cells:
            raise ValueError(f"Layer '{self.name}' (StackedRNNCells): expected at least one cell.")

    @property
    def sublayers(self):
        return self.cells

    @property
    def state_size(self):
        return [cell.state_size for cell in self.cells]

    @property
    def state_sizes(self):
        return [size for cell in self.cells for size in cell.state_sizes]

    @property
    def output_size(self):
        return self.cells[-1].output_size

    def create(self, input_shape):
        for cell in self.cells:
            cell.build(input_shape)
            input_shape = *input_shape[:-1], cell.output_size

    def split(self, states):
        """A flat list of states as Keras has them: a list for each cell."""
        states = iter(states)
        return [[next(states) for _ in cell.state_sizes] for cell in self.cells]

    def nest(self, states):
        return self.split(states)

    def forward(self, x, states, training=False):
        new, tapes = [], []
        for cell, own in zip(self.cells, self.split(states), strict=True):
            x, own, tape = cell.forward(x, own, training)
            new += own
            tapes.append(tape)
        return x, new, tapes

    def backward(self, tape, dy, dstates):
        before = []
        parts = zip(self.cells, tape, self.split(dstates), strict=True)
        for cell, own, dstate in reversed(list(parts)):
            dy, dstate = cell.backward(own, dy, dstate)
            before = [*dstate, *before]
        return dy, before

    def sweep(self, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
              training=False):
        # A step of all cells depends on the cells below and the steps before alone: one sweep after
        # the other gives what all cells at each step would.
        new, tapes = [], []
        parts = [None] * len(self.cells) if states is None else self.split(states)
        for cell, own in zip(self.cells, parts, strict=True):
            last = cell is self.cells[-1]
            x, own, tape = cell.sweep(
                x, own, mask, return_sequences if last else True, zero_output_for_mask and last,
                training,
            )
            new += own
            tapes.append(tape)
        return x, new, tapes

    def sweep_backward(self, tape, doutput, dstates):
        before = []
        parts = zip(self.cells, tape, self.split(dstates), strict=True)
        for cell, own, dstate in reversed(list(parts)):
            doutput, dstate = cell.sweep_backward(own, doutput, dstate)
            before = [*dstate, *before]
        return doutput, before

    def get_config(self):
        return super().get_config() | {"cells": [serialize(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls([deserialize(c, custom_objects) for c in config.pop("cells")], **config)


def check_cell(layer, cell):
    """Raise unless ``cell`` is one that ``layer`` can sweep."""
    if isinstance(cell, type) or not isinstance(cell, RecurrentCell):
        hint = f" Write {cell.__name__}(...)." if isinstance(cell, type) else ""
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): cell: expected a cell, such as "
            f"LSTMCell(32) or a RecurrentCell of your own; got {cell!r}.{hint}"
        )
