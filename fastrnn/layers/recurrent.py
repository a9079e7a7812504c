"""Recurrent layers: a projection of all steps, then a sweep that carries the state.

``forward`` multiplies the whole input by the kernel in one product and hands the result to the
engine's sweep; ``backward`` is the sweep back through time, then one product again.  What a cell
is (its gates, its states, its equations) stands in a `CellSpec` and the engine.

Letters: B rows in a batch, T steps, D input width, H units, G gates.
"""

from __future__ import annotations

import numpy as np

from fastrnn import activations, constraints, engines, initializers, random, regularizers
from fastrnn.cells import CellSpec
from fastrnn.layers.base import Layer
from fastrnn.layers.core import dropout_mask, fraction, not_there_yet, positive
from fastrnn.values import Lookup

__all__ = ["SimpleRNN"]


class SimpleRNN(Layer):
    """The fully connected recurrent layer: h_t = activation(x_t W + b + h_{t-1} U).

    Parameters
    ----------
    units : int
        H.
    activation : default "tanh"
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        Default "glorot_uniform", "orthogonal", "zeros".
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : default None
    kernel_constraint, recurrent_constraint, bias_constraint : default None
    dropout : float, default 0
        Fraction of the inputs to drop in training; one mask a call, shared over time.
    recurrent_dropout : float, default 0
        Only 0 so far.
    return_sequences : bool, default False
        The output of every step, (B, T, H), instead of the last, (B, H).
    return_state : bool, default False
        A list: the output, then the last state.
    go_backwards : bool, default False
        Reads the steps from the last to the first; a returned sequence stays in that order.
    stateful : bool, default False
        The state at the end of a batch is where the next one starts; see `reset_state`.
    unroll : bool, default False
        Accepted for Keras's sake; it changes nothing here.
    seed : int, optional
    zero_output_for_mask : bool, default False
        Zeros at masked steps of a sequence, instead of the output before them.

    Examples
    --------
    >>> layer = SimpleRNN(4, return_state=True)
    >>> output, state = layer(np.ones((2, 7, 3)), mask=np.ones((2, 7), bool))
    >>> output.shape, state.shape
    ((2, 4), (2, 4))
    """

    states_count = 1

    def __init__(self, units, activation="tanh", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, activity_regularizer=None, kernel_constraint=None,
                 recurrent_constraint=None, bias_constraint=None, dropout=0.0,
                 recurrent_dropout=0.0, return_sequences=False, return_state=False,
                 go_backwards=False, stateful=False, unroll=False, seed=None,
                 zero_output_for_mask=False, **kwargs):
        super().__init__(**kwargs)
        self.units = positive(self, "units", units)
        self.activation = activations.name_of(activation)
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
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.seed = seed
        self.zero_output_for_mask = zero_output_for_mask
        self.stream = random.Stream(seed)
        not_there_yet(self, recurrent_dropout=self.recurrent_dropout, stateful=stateful,
                      activity_regularizer=activity_regularizer)

    @property
    def supports_masking(self):
        return self.return_sequences

    @property
    def spec(self):
        """The cell as the engine knows it."""
        return CellSpec("simple_rnn", self.activation)

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected inputs of shape (batch, "
                f"steps, features) with known features; got {tuple(input_shape)}. "
                "An Embedding before it turns ids into features."
            )
        self.kernel = self.add_weight(
            "kernel", (input_shape[2], self.units), self.kernel_initializer,
            self.kernel_regularizer, self.kernel_constraint,
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (self.units, self.units), self.recurrent_initializer,
            self.recurrent_regularizer, self.recurrent_constraint,
        )
        self.bias = self.use_bias and self.add_weight(
            "bias", (self.units,), self.bias_initializer,
            self.bias_regularizer, self.bias_constraint,
        ) or None

    def compute_output_shape(self, input_shape):
        batch, steps, _ = input_shape
        output = (batch, steps, self.units) if self.return_sequences else (batch, self.units)
        if self.return_state:
            return [output, *([(batch, self.units)] * self.states_count)]
        return output

    # -- the layer's work ----------------------------------------------------------------------

    def forward(self, x, mask=None, training=False, initial_state=None):
        engine = engines.current()
        self.check_rank(x, 3, "(batch, steps, features)")
        self.check_width(x)
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected a mask of shape "
                f"{tuple(x.shape[:2])}, one flag for each row and step; got shape {mask.shape}."
            )
        states = self._initial(initial_state, len(x.ids) if isinstance(x, Lookup) else len(x))
        x, mask = self._flip(x, mask)
        x, noise = self._drop(x, training)
        x, mask, holes = close_holes(x, mask)
        xz = engine.project(x, self.kernel.value, self.bias and self.bias.value, mask)
        if isinstance(xz, Lookup):
            x = x._replace(count=xz.count)  # serves the way back
        sequence, last, tape = engine.recurrent(
            self.spec, xz, self.recurrent_kernel.value, states, mask,
            self.return_sequences, self.zero_output_for_mask, engines.recording(),
        )
        if holes is not None and self.return_sequences:
            sequence = open_holes(sequence, holes, self.zero_output_for_mask)
        output, shown = (sequence if self.return_sequences else last[0]), None
        if mask is not None and not self.return_sequences:
            # Without a step there is no output; a masked last step's is zero where asked for.
            counted = holes or mask
            shown = (counted.last if self.zero_output_for_mask else counted.any)[:, None]
            output = output * shown
        tape = x, noise, holes, shown, initial_state is not None, tape
        return ([output, *last] if self.return_state else output), tape

    def backward(self, tape, dy):
        engine = engines.current()
        x, noise, holes, shown, had_state, tape = tape
        dsequence, dstates = self._split(dy, shown)
        if holes is not None and dsequence is not None:
            dsequence = open_holes_backward(dsequence, holes, self.zero_output_for_mask)
        dxz, dstates = engine.recurrent_backward(
            tape, self.recurrent_kernel.value, dsequence, dstates, self.recurrent_kernel.grad
        )
        dx = engine.project_backward(
            x, self.kernel.value, dxz, self.kernel.grad, self.bias and self.bias.grad
        )
        if isinstance(dx, np.ndarray):
            if holes is not None:
                dx = close_holes_backward(dx, holes)
            if noise is not None:
                dx = dx * noise
            if self.go_backwards:
                dx = engine.asarray(dx[:, ::-1])
        return [dx, *dstates] if had_state else dx

    def _initial(self, initial_state, rows):
        """The states to start from as a list of (B, H) arrays, or None for zeros."""
        if initial_state is None:
            return None
        if not isinstance(initial_state, (list, tuple)):
            initial_state = [initial_state]
        states = [engines.current().asarray(s, self.dtype) for s in initial_state]
        expected = [(rows, self.units)] * self.states_count
        if [s.shape for s in states] != expected:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): initial_state: expected arrays of "
                f"shapes {expected}; got {[s.shape for s in states]}."
            )
        return states

    def _flip(self, x, mask):
        """The steps in the order in which they are read."""
        if not self.go_backwards:
            return x, mask
        engine = engines.current()
        if isinstance(x, Lookup):
            x = x._replace(ids=engine.asarray(x.ids[:, ::-1]))
        else:
            x = engine.asarray(x[:, ::-1])
        return x, mask and mask.flip()

    def _drop(self, x, training):
        """Dropout of the input: one mask for all steps."""
        if not training or not self.dropout:
            return x, None
        x = self.dense(x)
        rows, _, width = x.shape
        noise = dropout_mask(self.stream, (rows, 1, width), self.dropout, self.dtype)
        return x * noise, noise

    def _split(self, dy, shown):
        """dy as (of the sequence or None, of the last states)."""
        doutput, *dlast = dy if self.return_state else [dy]
        if shown is not None:
            doutput = doutput * shown
        dlast = dlast or [None] * self.states_count
        if self.return_sequences:
            return doutput, dlast
        if dlast[0] is not None and doutput is not None:
            return None, [doutput + dlast[0], *dlast[1:]]
        return None, [dlast[0] if doutput is None else doutput, *dlast[1:]]

    def get_config(self):
        return super().get_config() | {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }

    def __call__(self, x, mask=None, training=False, initial_state=None):
        return super().__call__(x, mask, training, initial_state=initial_state)


# -- masks with holes -----------------------------------------------------------
#
# The steps that count are brought to the front of their rows, the sweep runs over them as over any
# ragged batch, and every step then shows the output of the last step that counts up to it.


def close_holes(x, mask):
    """x and mask without holes, and the mask as it was (None if it had none)."""
    if mask is None or not mask.has_holes:
        return x, mask, None
    order, packed = mask.packing()
    if isinstance(x, Lookup):
        x = x._replace(ids=np.take_along_axis(x.ids, order, axis=1))
    else:
        x = np.take_along_axis(x, order[..., None], axis=1)
    return x, packed, mask


def close_holes_backward(dx, holes):
    """Gradient of `close_holes`: every step back to its place."""
    order, _ = holes.packing()
    out = np.zeros_like(dx)
    np.put_along_axis(out, order[..., None], dx, axis=1)
    return out


def _shown(holes, zero_output_for_mask):
    place = holes.unpacking()
    hidden = place < 0
    if zero_output_for_mask:
        hidden |= ~holes.pattern
    return np.maximum(place, 0), hidden


def open_holes(sequence, holes, zero_output_for_mask):
    """The output of a packed sweep, (B, T, H), shown at the steps of the mask ``holes``."""
    place, hidden = _shown(holes, zero_output_for_mask)
    opened = np.take_along_axis(sequence, place[..., None], axis=1)
    opened[hidden] = 0
    return opened


def open_holes_backward(dopened, holes, zero_output_for_mask):
    """Gradient of `open_holes`: an output shown at several steps sums their gradients."""
    place, hidden = _shown(holes, zero_output_for_mask)
    dsequence = np.zeros_like(dopened)
    rows = np.arange(len(place))[:, None]
    np.add.at(dsequence, (rows, place), np.where(hidden[..., None], 0, dopened))
    return dsequence
