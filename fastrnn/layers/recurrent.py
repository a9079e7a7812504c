"""Recurrent layers: a cell put to work on sequences.

`RNN` reads the steps in their order or backwards, closes the holes of masks, finds the state to
start from, and gives back the outputs and states that are wanted; what happens at a step is its
cell's affair (`fastrnn.layers.cells`).  `SimpleRNN`, `LSTM` and `GRU` are such layers with the cell
of their name.

Letters: B rows in a batch, T steps, D input width, H units.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines, recompute
from fastrnn.layers.base import Layer
from fastrnn.layers.cells import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    check_cell,
    flat_states,
)
from fastrnn.layers.core import ActivityRegularized
from fastrnn.layers.serialization import deserialize, serialize
from fastrnn.values import Lookup, RowGradient

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


class RNN(Layer):
    """Carries the state of a cell through the steps of sequences.

    Parameters
    ----------
    cell : RecurrentCell, or a list of them
        A list is stacked, as by `StackedRNNCells`.
    return_sequences : bool, default False
        The output of every step, (B, T, H), instead of the last, (B, H).
    return_state : bool, default False
        A list: the output, then the last states.
    go_backwards : bool, default False
        Reads the steps from the last to the first; a returned sequence stays in that order.
    stateful : bool, default False
        The states at the end of a batch are those where the next one starts, row by row; see
        `reset_state`.  All batches then have as many rows as the first.
    unroll : bool, default False
        Accepted for Keras's sake; it changes nothing here.
    zero_output_for_mask : bool, default False
        Zeros at masked steps of a sequence, instead of the output before them.
    recompute : bool, int or "auto", default False
        Keep the state at every k-th step only and run the steps between them again on the way back:
        sqrt(T) (True), "auto" (sqrt(T) where T > 1000), or the k given.  Far less memory for long
        sequences, for a third more time; the results stay the same.  See `fastrnn.recompute`.

    Raises
    ------
    ValueError
        If ``cell`` is no cell; when called, if shapes do not fit.

    Examples
    --------
    >>> from fastrnn.layers import GRUCell
    >>> layer = RNN([LSTMCell(8), GRUCell(4)], return_sequences=True)
    >>> layer(np.ones((2, 7, 3))).shape
    (2, 7, 4)
    """

    def __init__(self, cell, return_sequences=False, return_state=False, go_backwards=False,
                 stateful=False, unroll=False, zero_output_for_mask=False, recompute=False,
                 **kwargs):
        super().__init__(**kwargs)
        if isinstance(cell, (list, tuple)):
            cell = StackedRNNCells(cell, dtype=self.dtype)
        check_cell(self, cell)
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.recompute = recompute
        self.states = None

    @property
    def sublayers(self):
        return (self.cell,)

    @property
    def supports_masking(self):
        return self.return_sequences

    @property
    def states_count(self):
        """How many arrays make the state."""
        return len(self.cell.state_sizes)

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected inputs of shape (batch, "
                f"steps, features) with known features; got {tuple(input_shape)}. "
                "Behind another recurrent layer, that needs return_sequences=True; ids need an "
                "Embedding."
            )
        self.cell.build((input_shape[0], input_shape[2]))

    def unbuild(self):
        super().unbuild()
        self.states = None

    def compute_output_shape(self, input_shape):
        batch, steps, _ = input_shape
        width = self.cell.output_size
        output = (batch, steps, width) if self.return_sequences else (batch, width)
        if self.return_state:
            states = [(batch, size) for size in self.cell.state_sizes]
            return [output, *self.cell.nest(states)]
        return output

    # -- states ------------------------------------------------------------------------------

    def get_initial_state(self, batch_size):
        """Zeros to start from, a list of arrays (batch_size, state size)."""
        return self.cell.nest(self.cell.get_initial_state(batch_size))

    def reset_state(self):
        """Of a ``stateful`` layer: start the next batch from zeros."""
        if self.states is not None:
            self.states = [np.zeros_like(state) for state in self.states]

    reset_states = reset_state

    def _first_states(self, initial_state, rows):
        """The states to start from as a flat list of (B, H) arrays, or None for zeros."""
        if initial_state is not None:
            return self.cell.check_states("initial_state", flat_states(initial_state), rows)
        if not self.stateful:
            return None
        known = self.input_shape[0] if self.states is None else len(self.states[0])
        if known not in (None, rows):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): stateful=True keeps a state for "
                f"each row: expected batches of {known} rows, as before; got {rows}. Choose a "
                "batch_size that divides the data, and call reset_state() between sequences; "
                "another size needs a new layer."
            )
        return self.states

    def move_own(self):
        super().move_own()
        if self.states is not None:
            asarray = engines.current().asarray
            self.states = [asarray(state, self.dtype) for state in self.states]

    # -- the layer's work ----------------------------------------------------------------------

    def forward(self, x, mask=None, training=False, initial_state=None):
        shape = x.shape
        self.check_rank(shape, 3, "(batch, steps, features)")
        self.check_width(shape)
        if mask is not None and mask.shape != shape[:2]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected a mask of shape "
                f"{tuple(shape[:2])}, one flag for each row and step; got shape {mask.shape}."
            )
        states = self._first_states(initial_state, shape[0])
        behind = self._filling_behind(mask)
        x, mask = self._flip(x, mask)
        x, mask, holes = close_holes(x, mask)
        options = states, mask, self.return_sequences, self.zero_output_for_mask, training
        piece = recompute.piece_length(self.recompute, shape[1])
        in_pieces = piece is not None
        if in_pieces:
            output, last, tape = recompute.sweep(self.cell, x, *options, piece)
        else:
            output, last, tape = self.cell.sweep(x, *options)
        if self.stateful:
            self.states = last
        shown = None
        if self.return_sequences:
            if holes is not None:
                output = open_holes(output, holes, self.zero_output_for_mask)
            if behind is not None:
                output = rotated(output, behind)
        elif mask is not None:
            # Without a step there is no output; a masked last step's is zero where asked for.
            counted = holes or mask
            shown = (counted.last if self.zero_output_for_mask else counted.any)[:, None]
            shown = engines.current().asarray(shown)
            output = np.where(shown, output, 0)
        tape = holes, shown, behind, initial_state is not None, in_pieces, tape
        return ([output, *self.cell.nest(last)] if self.return_state else output), tape

    def backward(self, tape, dy):
        holes, shown, behind, had_state, in_pieces, tape = tape
        doutput, *dlast = flat_states(dy) if self.return_state else [dy]
        if doutput is not None:
            if behind is not None:
                doutput = rotated(doutput, -behind)
            if shown is not None:
                doutput = np.where(shown, doutput, 0)
            elif holes is not None:
                doutput = open_holes_backward(doutput, holes, self.zero_output_for_mask)
        sweep_backward = recompute.sweep_backward if in_pieces else self.cell.sweep_backward
        dx, dstates = sweep_backward(tape, doutput, dlast or [None] * self.states_count)
        if not isinstance(dx, RowGradient):
            if holes is not None:
                dx = close_holes_backward(dx, holes)
            if self.go_backwards:
                dx = engines.current().asarray(dx[:, ::-1])
        return [dx, *self.cell.nest(dstates)] if had_state else dx

    def _flip(self, x, mask):
        """The steps in the order in which they are read."""
        if not self.go_backwards:
            return x, mask
        engine = engines.current()
        if isinstance(x, Lookup):
            x = x._replace(ids=engine.asarray(x.ids[:, ::-1]), count=None)
        else:
            x = engine.asarray(x[:, ::-1])
        return x, mask and mask.flip()

    def _filling_behind(self, mask):
        """Of sequences of different lengths, read backwards, the steps (B,) that fill each one up:
        by so many the outputs come too late. None for all else."""
        given = None if mask is None else mask.given
        if given is None or not (self.go_backwards and self.return_sequences):
            return None
        if given.has_holes or given.start.any():
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): go_backwards with return_sequences "
                "cannot read sequences of different lengths that were concatenated step by step. "
                "Pad them (preprocessing.sequence.pad_sequences), or return the last output only."
            )
        return mask.steps - given.stop

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        return self.own_config() | {"cell": serialize(self.cell)}

    def own_config(self):
        """The configuration without the cell's."""
        return super().get_config() | {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
            "recompute": self.recompute,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls(deserialize(config.pop("cell"), custom_objects), **config)

    def __call__(self, x, initial_state=None, mask=None, training=None):
        return super().__call__(x, mask, training, initial_state=initial_state)


class CellLayer(RNN, ActivityRegularized):
    """An `RNN` whose cell is of a known class and whose arguments are the cell's and its own.

    Parameters
    ----------
    arguments : dict
        The ``locals()`` of the ``__init__`` of the layer.
    """

    cell_class = None

    def __init__(self, arguments):
        given = {k: v for k, v in arguments.items() if k not in ("self", "__class__", "use_cudnn")}
        own = given.pop("kwargs")
        implementation = {"implementation": own.pop("implementation", 2)}
        options = {name: given.pop(name) for name in _OPTIONS}
        own["activity_regularizer"] = given.pop("activity_regularizer")
        ActivityRegularized.__init__(self, **own)  # for the names of layer and cell
        cell = self.cell_class(name=self.name, dtype=self.dtype, **given, **implementation)
        super().__init__(cell, **options, **own | {"name": self.name})

    def get_config(self):
        own = self.own_config()
        of_cell = {k: v for k, v in self.cell.get_config().items() if k not in own}
        return own | of_cell

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)

    # As in Keras, the penalty is on the output and, with return_state, on each state.

    def forward(self, x, mask=None, training=False, initial_state=None):
        y, tape = super().forward(x, mask, training, initial_state)
        if self.activity_regularizer is None:
            return y, (None, tape)
        for part in flat_states(y):
            self.penalise(part)
        return y, (y, tape)

    def backward(self, tape, dy):
        y, tape = tape
        if y is not None:
            parts = zip(flat_states(dy), flat_states(y), strict=True)
            dy = [self.penalised(d, part) for d, part in parts]
            dy = dy if self.return_state else dy[0]
        return super().backward(tape, dy)


_OPTIONS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll",
            "zero_output_for_mask", "recompute")


def _of_cell(name):
    return property(lambda self: getattr(self.cell, name), doc=f"The cell's ``{name}``.")


for _name in (
    "units", "activation", "recurrent_activation", "use_bias", "unit_forget_bias", "reset_after",
    "kernel_initializer", "recurrent_initializer", "bias_initializer", "kernel_regularizer",
    "recurrent_regularizer", "bias_regularizer", "kernel_constraint", "recurrent_constraint",
    "bias_constraint", "dropout", "recurrent_dropout", "seed", "kernel", "recurrent_kernel", "bias",
):
    setattr(CellLayer, _name, _of_cell(_name))


class SimpleRNN(CellLayer):
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
        The same of the state, on its way into U.
    return_sequences, return_state, go_backwards, stateful, unroll :
        As in `RNN`; default False.
    zero_output_for_mask, recompute :
        As in `RNN`; default False.
    seed : int, optional
        Of the dropout.

    Examples
    --------
    >>> layer = SimpleRNN(4, return_state=True)
    >>> output, state = layer(np.ones((2, 7, 3)), mask=np.ones((2, 7), bool))
    >>> output.shape, state.shape
    ((2, 4), (2, 4))
    """

    cell_class = SimpleRNNCell

    def __init__(self, units, activation="tanh", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, activity_regularizer=None, kernel_constraint=None,
                 recurrent_constraint=None, bias_constraint=None, dropout=0.0,
                 recurrent_dropout=0.0, return_sequences=False, return_state=False,
                 go_backwards=False, stateful=False, unroll=False, seed=None,
                 zero_output_for_mask=False, recompute=False, **kwargs):
        super().__init__(locals())


class LSTM(CellLayer):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    With i, f, o = recurrent_activation(x W + b + h U) in the columns of the gates i, f and o, and
    g = activation(x W + b + h U) in those of c: c' = f c + i g and h' = o activation(c').

    Parameters
    ----------
    units : int
        H.
    activation : default "tanh"
    recurrent_activation : default "sigmoid"
        Of the gates.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        Default "glorot_uniform", "orthogonal", "zeros"; of the matrices of all gates together.
    unit_forget_bias : bool, default True
        The bias of the forget gate starts at 1.
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : default None
    kernel_constraint, recurrent_constraint, bias_constraint : default None
    dropout : float, default 0
        Fraction of the inputs to drop in training; masks are shared over time.
    recurrent_dropout : float, default 0
        The same of the state, on its way into U; with it, each gate has masks of its own.
    seed : int, optional
        Of the dropout.
    return_sequences, return_state, go_backwards, stateful, unroll :
        As in `RNN`; default False.  The states are h and c.
    zero_output_for_mask, recompute :
        As in `RNN`; default False.
    use_cudnn : default "auto"
        Accepted for Keras's sake; it changes nothing here.

    Examples
    --------
    >>> output, h, c = LSTM(4, return_state=True)(np.ones((2, 7, 3)))
    >>> output.shape, c.shape
    ((2, 4), (2, 4))
    """

    cell_class = LSTMCell

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", unit_forget_bias=True, kernel_regularizer=None,
                 recurrent_regularizer=None, bias_regularizer=None, activity_regularizer=None,
                 kernel_constraint=None, recurrent_constraint=None, bias_constraint=None,
                 dropout=0.0, recurrent_dropout=0.0, seed=None, return_sequences=False,
                 return_state=False, go_backwards=False, stateful=False, unroll=False,
                 use_cudnn="auto", zero_output_for_mask=False, recompute=False, **kwargs):
        super().__init__(locals())


class GRU(CellLayer):
    """The gated recurrent unit (Cho et al., 2014).

    With z, r = recurrent_activation(x W + b + h U) in the columns of the gates z and r, and a
    candidate g = activation(x W_h + b_h + r (h U_h + c_h)): h' = z h + (1 - z) g.

    Parameters
    ----------
    units : int
        H.
    activation : default "tanh"
    recurrent_activation : default "sigmoid"
        Of the gates.
    use_bias : bool, default True
    kernel_initializer, recurrent_initializer, bias_initializer :
        Default "glorot_uniform", "orthogonal", "zeros"; of the matrices of all gates together.
    kernel_regularizer, recurrent_regularizer, bias_regularizer, activity_regularizer : default None
    kernel_constraint, recurrent_constraint, bias_constraint : default None
    dropout : float, default 0
        Fraction of the inputs to drop in training; masks are shared over time.
    recurrent_dropout : float, default 0
        The same of the state, on its way into U; with it, each gate has masks of its own.
    seed : int, optional
        Of the dropout.
    return_sequences, return_state, go_backwards, stateful, unroll :
        As in `RNN`; default False.
    zero_output_for_mask, recompute :
        As in `RNN`; default False.
    reset_after : bool, default True
        Multiply by the reset gate after the product with U, as above and as cuDNN and PyTorch do;
        the bias then has two rows, (2, 3 H).  Else g = activation(x W_h + b_h + (r h) U_h).
    use_cudnn : default "auto"
        Accepted for Keras's sake; it changes nothing here.

    Examples
    --------
    >>> GRU(4, return_sequences=True)(np.ones((2, 7, 3))).shape
    (2, 7, 4)
    """

    cell_class = GRUCell

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                 kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
                 bias_regularizer=None, activity_regularizer=None, kernel_constraint=None,
                 recurrent_constraint=None, bias_constraint=None, dropout=0.0,
                 recurrent_dropout=0.0, seed=None, return_sequences=False, return_state=False,
                 go_backwards=False, stateful=False, unroll=False, reset_after=True,
                 use_cudnn="auto", zero_output_for_mask=False, recompute=False, **kwargs):
        super().__init__(locals())


def rotated(sequence, by):
    """The steps of each row of (B, T, H) so many places further to the front, (B,), around."""
    steps = sequence.shape[1]
    places = (np.arange(steps) + by[:, None]) % max(steps, 1)
    return np.take_along_axis(sequence, places[..., None], axis=1)


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
    return np.take_along_axis(dx, np.argsort(order, axis=1)[..., None], axis=1)


def _shown(holes, zero_output_for_mask):
    place = holes.unpacking()
    hidden = place < 0
    if zero_output_for_mask:
        hidden |= ~holes.pattern
    return np.maximum(place, 0), hidden


def open_holes(sequence, holes, zero_output_for_mask):
    """The output of a packed sweep, (B, T, H), shown at the steps of the mask ``holes``."""
    place, hidden = _shown(holes, zero_output_for_mask)
    return np.where(hidden[..., None], 0, np.take_along_axis(sequence, place[..., None], axis=1))


def open_holes_backward(dopened, holes, zero_output_for_mask):
    """Gradient of `open_holes`: an output shown at several steps sums their gradients."""
    place, hidden = _shown(holes, zero_output_for_mask)
    (rows, steps, units), engine = dopened.shape, engines.current()
    dsequence = engine.zeros((rows * steps, units), dopened.dtype)
    places = (place + steps * np.arange(rows)[:, None]).astype(np.int32)
    engine.lookup_backward(places, np.where(hidden[..., None], 0, dopened), dsequence)
    return dsequence.reshape(dopened.shape)
