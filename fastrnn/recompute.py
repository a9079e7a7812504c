"""Long sequences in little memory: states are kept now and then, and steps are run again.

Backpropagation through time wants to know what happened at every step.  A sweep that keeps all of
it needs memory for T steps; one that keeps the state at the start of each piece of k steps, and
runs a piece again when its turn to go backward comes, needs it for T / k + k steps, least at
k = sqrt(T), and costs one more run forward (Gruslys et al., 2016).  The numbers stay the same, up
to the order in which the gradients of the weights are summed.

`sweep` and `sweep_backward` do so for any cell, by its own methods of the same names: the product
of the inputs with the kernel, its gradient and whatever else the cell makes of its steps are never
there for more than one piece.

Letters: B rows in a batch, T steps, D input width, O output width.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines, random
from fastrnn.checks import whole
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient, add_gradients

__all__ = ["mask_of_steps", "piece_length", "slices", "sweep", "sweep_backward"]

# From so many steps on "auto" keeps fewer states: below, a tape is small, and time counts.
LONG = 1000


def piece_length(recompute, steps):
    """How many steps a piece has, or None for a sweep that keeps everything.

    Parameters
    ----------
    recompute : bool, "auto" or int
        The layer's option: True takes the length that needs least memory, "auto" does so for
        sequences of more than `LONG` steps only, a number is the length itself.
    steps : int
        T.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> piece_length(True, 20_000), piece_length("auto", 500), piece_length(64, 20_000)
    (142, None, 64)
    """
    if recompute is None or recompute is False or (recompute == "auto" and steps <= LONG):
        return None
    if recompute is True or recompute == "auto":
        return max(1, math.ceil(math.sqrt(steps)))
    if not whole(recompute):
        raise ValueError(
            "recompute: expected True, False, 'auto', or a number of steps from 1 on; "
            f"got {recompute!r}."
        )
    return int(recompute)


class Piece(NamedTuple):
    """What is kept of a run of steps: where it lies, and all that running it again takes.

    Attributes
    ----------
    steps : slice
    states : list of arrays, or None for zeros
        Before its first step.
    draws : list of int
        How often the cell's random streams had been drawn from.
    """

    steps: slice
    states: Any
    draws: Any


class Sweep(NamedTuple):
    """The tape of `sweep`."""

    cell: Any
    x: Any
    mask: Any
    sequences: bool
    zero_output_for_mask: bool
    training: bool
    pieces: list

    def run(self, piece):
        """The cell's sweep over the steps of a piece."""
        return self.cell.sweep(
            _part(self.x, piece.steps), piece.states, mask_of_steps(self.mask, piece.steps),
            self.sequences, self.zero_output_for_mask, self.training,
        )

    @property
    def repeats(self):
        """Whether a row's last output is shown again at the masked steps behind it."""
        return self.sequences and self.mask is not None and not self.zero_output_for_mask


def sweep(cell, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
          training=False, piece=None):
    """``cell.sweep``, piece by piece: ``(output, states, tape)``, the tape for `sweep_backward`.

    Parameters
    ----------
    cell : `fastrnn.layers.RecurrentCell`
    x : array of shape (B, T, D) or `Lookup`
    states : list of arrays, or None for zeros
    mask : `StepMask` without holes, or None
    return_sequences, zero_output_for_mask, training : bool
    piece : int, optional
        How many steps are run at a time; default: sqrt(T).

    Examples
    --------
    >>> from fastrnn.layers import SimpleRNNCell
    >>> cell = SimpleRNNCell(2)
    >>> cell.build((None, 3))
    >>> x = np.ones((1, 10, 3), np.float32)
    >>> whole, pieces = cell.sweep(x, None)[0], sweep(cell, x, None, piece=4)[0]
    >>> bool(np.allclose(whole, pieces))
    True
    """
    steps = x.shape[1]
    tape = Sweep(cell, x, mask, return_sequences, zero_output_for_mask, training, [])
    draws = _Draws(cell)
    output = sequence = None
    with engines.without_tapes():
        for where in slices(steps, piece or piece_length(True, steps)):
            own = Piece(where, states, draws.before())
            tape.pieces.append(own)
            y, states, _ = tape.run(own)
            own_mask = mask_of_steps(mask, where)
            if return_sequences:
                if sequence is None:
                    sequence = np.empty_like(y, shape=(len(y), steps, y.shape[-1]))
                ended = _ended(mask, where) if tape.repeats else None
                if ended is not None and ended.any():
                    sequence[:, where] = np.where(ended[:, None, None], output[:, None], y)
                else:
                    sequence[:, where] = y
            if tape.repeats:
                last = np.maximum(own_mask.stop - 1, 0)[:, None, None]
                y = np.take_along_axis(y, last, axis=1)[:, 0]
            if not return_sequences or tape.repeats:
                output = y if mask is None or output is None else np.where(
                    own_mask.any[:, None], y, output
                )
    return (sequence if return_sequences else output), states, tape


def sweep_backward(tape, doutput, dstates):
    """Gradients of the input and of the first states; see ``cell.sweep_backward``."""
    dx = None
    draws = _Draws(tape.cell)
    late = None  # of outputs that are shown again behind the last step that counts
    for piece in reversed(tape.pieces):
        where, own_mask = piece.steps, mask_of_steps(tape.mask, piece.steps)
        with draws.again(piece.draws):
            _, _, inner = tape.run(piece)
        dy, late = _of_piece(tape, where, own_mask, doutput, late)
        part, dstates = tape.cell.sweep_backward(inner, dy, dstates)
        if isinstance(part, RowGradient):
            dx = add_gradients(dx, part)
            continue
        if dx is None:
            dx = np.empty_like(part, shape=(len(part), *tape.x.shape[1:]))
        dx[:, where] = part
    return dx, dstates


def _of_piece(tape, where, own_mask, doutput, late):
    """The gradient of a piece's output, and that of last outputs which earlier pieces made."""
    if doutput is None:
        return None, None
    if not tape.sequences:
        if tape.mask is None:
            return (doutput if where.stop == tape.x.shape[1] else None), None
        last = own_mask.any & (tape.mask.stop <= where.stop)
        return np.where(last[:, None], doutput, 0).astype(doutput.dtype, copy=False), None
    dy = doutput[:, where]
    if not tape.repeats:
        return engines.current().asarray(dy), None
    behind = np.where(_ended(tape.mask, where)[:, None], dy.sum(axis=1), 0)
    late = behind if late is None else late + behind
    last = own_mask.any & (tape.mask.stop <= where.stop)
    here = np.arange(dy.shape[1]) == np.where(last, own_mask.stop - 1, -1)[:, None]
    dy = dy + np.where(here[..., None], late[:, None], 0)
    return engines.current().asarray(dy), late


# -- parts of a sequence ---------------------------------------------------------------------------


def slices(steps, length):
    """``steps`` steps as slices of ``length``, of which the last may be shorter."""
    return [slice(start, min(start + length, steps)) for start in range(0, steps, length)]


def _part(x, where):
    """Some steps of an input."""
    asarray = engines.current().asarray
    if isinstance(x, Lookup):
        return Lookup(asarray(x.ids[:, where]), x.table)
    return asarray(x[:, where])


def mask_of_steps(mask, where):
    """The `StepMask` (or None) of the steps of a slice."""
    if mask is None:
        return None
    if mask.has_holes:
        return StepMask.from_array(mask.pattern[:, where])
    length = where.stop - where.start
    start, stop = (np.clip(a - where.start, 0, length) for a in (mask.start, mask.stop))
    return StepMask(start, np.maximum(start, stop), length)


def _ended(mask, where):
    """The rows whose last step that counts lies before these steps, bool (B,)."""
    return mask.any & (mask.stop <= where.start)


# -- dropout ---------------------------------------------------------------------------------------


class _Draws:
    """Where a cell's random streams stand.

    Cells that sweep by themselves draw once a sweep, for all its steps: each piece draws what the
    first one drew.  Cells that are swept step by step go on drawing.
    """

    def __init__(self, cell):
        self.streams = random.streams_of(cell)
        by_step = {id(s) for s in _drawn_by_step(cell)}
        self.first = [None if id(s) in by_step else s.calls for s in self.streams]

    def before(self):
        """Set the streams for a piece, and return where they stand."""
        for stream, first in zip(self.streams, self.first, strict=True):
            stream.calls = stream.calls if first is None else first
        return [stream.calls for stream in self.streams]

    @contextlib.contextmanager
    def again(self, calls):
        """Draw what was drawn from there on, and leave no trace."""
        now = [stream.calls for stream in self.streams]
        for stream, then in zip(self.streams, calls, strict=True):
            stream.calls = then
        try:
            yield
        finally:
            for stream, then in zip(self.streams, now, strict=True):
                stream.calls = then


def _drawn_by_step(cell):
    """The streams of cells that write one step only."""
    from fastrnn.layers.cells import RecurrentCell
    from fastrnn.layers.composite import DrawnCell

    if getattr(type(cell), "sweep", None) in (RecurrentCell.sweep, DrawnCell.sweep):
        return random.streams_of(cell)
    return [s for part in cell.sublayers for s in _drawn_by_step(part)]
