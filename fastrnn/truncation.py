"""Truncated backpropagation through time: long batches, trained in short pieces.

``model.fit(x, y, truncate=k)`` cuts every batch into pieces of k steps.  The recurrent layers start
a piece with the states in which they ended the one before (zeros for the first), and each piece
makes an update of its own, whose gradients go back to the start of that piece and no further
(Williams and Peng, 1990).  Memory and the time for an update then depend on k, not on T.

What is learned in a piece depends on the model's output:

- An output for each step: a piece is a batch of its own, with the labels (and weights) of its
  steps.
- One output for a whole sequence: a row's loss belongs to the piece in which its last step that
  counts lies, and is the mean over the rows that end there.  Pieces in which no row ends only carry
  the state on; gradients reach back k steps at most from the piece's end.

A piece without a step that counts, of rows that have all ended, is left out.  Dropout draws its
masks anew for each piece.  Layers that are ``stateful`` carry their states on from batch to batch,
too, as they always do.  With k >= T nothing is cut, and the result is that of an ordinary ``fit``.

Letters: B rows in a batch, T steps.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np

from fastrnn.checks import whole
from fastrnn.layers.input import InputLayer
from fastrnn.layers.recurrent import RNN
from fastrnn.recompute import mask_of_steps, slices

__all__ = ["Piece", "Truncation"]

# Stands for T while shapes are looked at: a number of steps that no layer brings along.
STEPS = 7919


class Piece(NamedTuple):
    """Some steps of a batch.

    Attributes
    ----------
    batch : tuple
        ``(x, mask, target, weight)``, as `Data.batch` gives it.
    trains : bool
        Whether it makes an update; else it only carries the states on.
    counted : tuple, optional
        The rows whose loss it has and their own weights; None for all rows.
    """

    batch: tuple
    trains: bool = True
    counted: Any = None


class Truncation:
    """How the batches of a model are cut.

    Parameters
    ----------
    model : Model
        A chain of layers.
    length : int
        k.
    shape : tuple
        Of x, (N, T, ...).

    Raises
    ------
    ValueError
        If there is nothing to cut, or a layer looks at steps of other pieces.
    """

    def __init__(self, model, length, shape):
        if not whole(length):
            raise ValueError(f"truncate: expected a number of steps from 1 on; got {length!r}.")
        self.model = model
        self.length = int(length)
        if len(shape) < 2:
            raise ValueError(f"truncate: expected x with an axis of steps; got shape {shape}.")
        self.layers = []
        probe = (None, STEPS, *shape[2:])
        self._walk(model, probe)
        self.by_step = _has_steps(model.compute_output_shape(probe))
        if not self.layers:
            raise ValueError(
                f"truncate: model '{model.name}' has no recurrent layer to carry a state from "
                "piece to piece; leave truncate out."
            )

    def _walk(self, model, shape):
        """Find the layers that carry states; returns the shape that comes out at the end."""
        _check_chain(model)
        for layer in _without_inputs(model):
            before = shape
            if hasattr(layer, "layers"):  # a model inside the model
                shape = self._walk(layer, before)
                continue
            shape = layer.compute_output_shape(before)
            if not _has_steps(before):
                continue
            if isinstance(layer, RNN):
                if layer.go_backwards:
                    raise _refused(layer, "it reads the steps from the last to the first")
                self.layers.append(layer)
            elif not _has_steps(shape):
                raise _refused(layer, "its output depends on the steps of all pieces")
            elif _any_rnn(layer) or not layer.keeps_steps(len(before)):
                raise _refused(layer, "it reads the steps in an order of its own")
        return shape

    @contextlib.contextmanager
    def carried(self):
        """Inside, states go on from one run of the model to the next, at first from zeros."""
        fresh = [layer for layer in self.layers if not layer.stateful]
        for layer in fresh:
            layer.stateful, layer.states = True, None
        try:
            yield
        finally:
            for layer in fresh:
                layer.stateful, layer.states = False, None

    def pieces(self, batch, loss):
        """The pieces of a batch ``(x, mask, target, weight)``, one after the other.

        Parameters
        ----------
        batch : tuple
        loss : Loss
            Its reduction says how rows are weighed.
        """
        x, mask, target, weight = batch
        seen = self._entry_mask(x, mask)
        places = slices(x.shape[1], self.length)
        if seen is not None:
            end = max(int(seen.stop.max(initial=1)), 1)
            places = [place for place in places if place.start < end]
        ends = None if seen is None else np.where(seen.any, seen.stop, places[-1].stop)
        for place in places:
            own = np.ascontiguousarray(x[:, place]), mask_of_steps(mask, place)
            if self.by_step:
                by_step = weight is not None and weight.ndim > 1
                own_weight = np.ascontiguousarray(weight[:, place]) if by_step else weight
                trains = seen is None or bool(np.any(np.asarray(seen)[:, place]))
                yield Piece((*own, np.ascontiguousarray(target[:, place]), own_weight), trains)
                continue
            if ends is None:
                ending = place is places[-1]
            else:
                ending = (ends > place.start) & (ends <= place.stop)
            if np.all(ending):
                yield Piece((*own, target, weight))
            elif not np.any(ending):
                yield Piece((*own, target, weight), trains=False)
            else:
                yield self._partly(own, target, weight, ending, loss)

    def _partly(self, own, target, weight, ending, loss):
        """The piece in which some rows end: the others weigh nothing."""
        (rows,) = np.nonzero(ending)
        scale = len(ending) / len(rows) if loss.reduction in ("sum_over_batch_size", "mean") else 1
        given = np.ones(len(ending), self.model.output_dtype) if weight is None else weight
        factors = (given.T * ending * scale).T.astype(given.dtype)
        return Piece(
            (*own, target, factors), True, (rows, None if weight is None else weight[rows])
        )

    def _entry_mask(self, x, mask):
        """Which steps of the batch count, as far as the first layer knows."""
        if mask is not None:
            return mask
        first = self.model
        while hasattr(first, "layers"):
            first = _without_inputs(first)[0]
        return first.compute_mask(x, None)


def _check_chain(model):
    """Raise unless each layer takes what the one before gives, from one input to one output."""
    branch = model.graph.first_branch()
    if branch is not None or len(model.graph.outputs) > 1:
        where = "it has several outputs" if branch is None else f"layer '{branch.name}' branches"
        raise ValueError(
            "truncate: expected a model whose layers form a chain, from one input to one output; "
            f"model '{model.name}' has another form: {where}."
        )


def _without_inputs(model):
    return [layer for layer in model.graph.layers if not isinstance(layer, InputLayer)]


def _has_steps(shape):
    return isinstance(shape, tuple) and len(shape) > 1 and shape[1] == STEPS


def _any_rnn(layer):
    return any(isinstance(part, RNN) or _any_rnn(part) for part in layer.sublayers)


def _refused(layer, reason):
    return ValueError(
        f"truncate: layer '{layer.name}' ({type(layer).__name__}) cannot be trained in pieces: "
        f"{reason}."
    )
