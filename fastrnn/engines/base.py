"""The interface between layers and hardware.

An engine owns arrays and does all the arithmetic of a training step on them.  Its methods are few
and each takes a whole batch; how the batch is cut up, and on how many threads, is the engine's own
affair, and the result must not depend on it.

Letters: B rows in a batch, T steps, D input width, H units, G gates (1 for SimpleRNN), V
vocabulary, M columns of a projection; ``d`` before a name: the gradient of the loss by it.
Gradients of parameters are **added into** the array given; gradients of inputs are returned.
"""

from __future__ import annotations

import abc
import math

import numpy as np

from fastrnn.masks import mask_where

__all__ = ["Engine"]


class Engine(abc.ABC):
    """One way to carry out a model's arithmetic."""

    name: str
    runs_ahead = False  # whether a method may return before its work is done

    # -- programs ----------------------------------------------------------------------------

    runs_programs = False  # whether there is a `program`

    def program(self, widths, statics, code, loads, stores, carries, matrices):
        """A cell's step as instructions, ready to run: a `fastrnn._core.Program`, made of these."""
        raise NotImplementedError(f"the engine '{self.name}' runs no programs")

    # -- arrays ------------------------------------------------------------------------------

    @abc.abstractmethod
    def asarray(self, x, dtype=None):
        """``x`` as a C-contiguous, aligned array of this engine; copied only where needed."""

    @abc.abstractmethod
    def zeros(self, shape, dtype):
        """A new array of zeros."""

    def small_zeros(self, size, dtype):
        """`zeros` in one axis, for a few numbers, which must cost next to no time."""
        return self.zeros((size,), dtype)

    @abc.abstractmethod
    def to_host(self, a):
        """``a`` as a NumPy array."""

    @abc.abstractmethod
    def holds(self, a):
        """Whether ``a`` lies where this engine has its arrays."""

    def staged(self, x):
        """``x``, an array of data, as one whose rows this engine takes fast; both stay as they are.
        """
        return x

    # -- lookups and projections ---------------------------------------------------------------

    @abc.abstractmethod
    def lookup(self, ids, table):
        """``table[ids]``: ids (...) int32, table (V, D) -> (..., D).

        Raises IndexError if an id is negative or not below V.
        """

    @abc.abstractmethod
    def lookup_backward(self, ids, dy, dtable):
        """Add into ``dtable`` (V, D) the gradient of `lookup`, dy (..., D)."""

    @abc.abstractmethod
    def add_rows(self, gradient, dtable):
        """Add a `RowGradient` into ``dtable`` (V, D)."""

    @abc.abstractmethod
    def project(self, x, W, b=None, mask=None, keep=True, for_sweep=False):
        """``x @ W + b``: x (..., D), W (D, M), b (M,) or None -> (..., M).

        Steps that a `StepMask` leaves out may be left undefined.

        A `Lookup` gives a `Lookup`, whose table may lack the rows that do not occur: for
        `recurrent` only.  With ``for_sweep`` the result is for `recurrent` in any case, and may be
        whatever that takes.  Without ``keep`` nothing goes backward.
        """

    @abc.abstractmethod
    def project_backward(self, x, W, dz, dW, db=None, need_dx=True):
        """Gradient of `project` for dz (..., M), or for a `Lookup` its `RowGradient`.

        Adds into dW (D, M) and db (M,); returns dx (..., D), for a `Lookup` the `RowGradient` of
        its table, or None unless ``need_dx``.
        """

    # -- activations ---------------------------------------------------------------------------

    @abc.abstractmethod
    def activate(self, activation, z):
        """``activation(z)``, element by element (softmax: over the last axis)."""

    @abc.abstractmethod
    def activate_backward(self, activation, z, y, dy):
        """dz, given y = activate(activation, z)."""

    def mean_over(self, x, axes):
        """The mean over ``axes``, a tuple of numbers from 0 on; they stay with length 1."""
        # As products with a vector where the array allows it, which take a fraction of the time.
        if axes == (x.ndim - 1,):
            width = x.shape[-1]
            return x @ np.full((width, 1), 1 / width, x.dtype)
        if axes == tuple(range(x.ndim - 1)):
            rows = x.reshape(-1, x.shape[-1])
            mean = np.full(len(rows), 1 / max(len(rows), 1), x.dtype) @ rows
            return mean.reshape(*(1 for _ in axes), -1)
        return x.mean(axis=axes, keepdims=True)

    # -- recurrence ----------------------------------------------------------------------------

    @abc.abstractmethod
    def recurrent(self, cell, xz, U, states=None, mask=None, return_sequences=False,
                  zero_output_for_mask=False, keep=True, bias=None, noise=None):
        """Carry the state of ``cell`` through all steps of all rows.

        Parameters
        ----------
        cell : `fastrnn.cells.CellSpec`
            Which equations, and with which activations.
        xz : array of shape (B, T, G * H), such a `Lookup`, or what `project` made ``for_sweep``
            The projected input of every step, bias included.
        U : array of shape (H, G * H)
        states : list of arrays of shape (B, H), or None for zeros
        mask : `fastrnn.masks.StepMask` without holes, or None where every step counts
        return_sequences : bool
            Whether the output of every step is wanted.
        zero_output_for_mask : bool
            Zeros at masked steps instead of the output before them.
        keep : bool
            Keep what the way back needs; False where there will be none, which takes less memory.
        bias : array of shape (H,), optional
            Of a GRU with ``reset_after``: what is added to h U_h, inside the reset.
        noise : array of shape (1, B, H) or (G, B, H), optional
            Dropout of the state on its way into U: a factor for each row and unit, the same at all
            steps; one for all gates, or one for each.

        Returns
        -------
        sequence : array of shape (B, T, H), or None
        states : list of arrays of shape (B, H)
            The last ones, output first.
        tape : opaque
            For `recurrent_backward`.
        """

    @abc.abstractmethod
    def recurrent_backward(self, tape, U, dsequence, dstates, dU, need_dxz=True, dbias=None,
                           projection=None):
        """Backpropagation through time.

        ``dsequence`` is (B, T, H) or None, ``dstates`` a list of (B, H) or None in each place.
        Adds into dU, and into dbias (H,) where there was a bias; returns ``(dxz, dstates0)``: dxz
        as `project_backward` takes it, zero at masked steps, and the gradients of the initial
        states, list of (B, H).  Where xz was a `Lookup`, dxz is a `RowGradient`:
        (n, G * H) for the n rows that occur, by their numbers in the table that was projected.

        ``projection``, ``(x, W, dW, db)``: xz was x W + b, and `project_backward` will be called
        with just these for its gradients.  An engine may take them here, while dxz is near; what
        it then returns as dxz is for that call alone.
        """

    @abc.abstractmethod
    def columns(self, dxz, where):
        """The columns ``where``, a slice, of a gradient that `recurrent_backward` returned without
        a ``projection``, in the form that `project_backward` takes; not of a `RowGradient`."""

    # -- masks -----------------------------------------------------------------------------------

    def padding_mask(self, x, value=None):
        """`mask_where` of ids (B, T), or of features (B, T, D) and a value."""
        return mask_where(self.to_host(x), value)

    def dropout_mask(self, stream, shape, rate, dtype):
        """An array of zeros, with probability ``rate`` < 1, and 1/(1 - rate).

        By the next call of a `fastrnn.random.Stream`: from every engine the same.
        """
        keep = stream.uniform(shape) >= rate
        return self.asarray(keep * np.dtype(dtype).type(1 / (1 - rate)))

    # -- losses ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def loss(self, kind, target, output, weight, from_logits=False):
        """Losses of n rows and the gradient of their weighted sum.

        Parameters
        ----------
        kind : {"binary_crossentropy", "categorical_crossentropy",
                "sparse_categorical_crossentropy", "mean_squared_error", "mean_absolute_error"}
        target : float array of shape (n, C); for the sparse kind int64 of shape (n,)
        output : array of shape (n, C)
            Probabilities or values; with ``from_logits`` what the sigmoid or softmax was given.
        weight : array of shape (n,) of output's type
            The factor of each row in the sum, 1/n where all count the same.

        Returns
        -------
        losses : array of shape (n,)
            Unweighted; the mean over the C columns where the loss has one.
        doutput : array of shape (n, C)
            Gradient of ``sum(weight * losses)``.
        """

    def weighted_sum(self, values, weights):
        """``sum(values * weights)`` in double precision, of arrays of shape (n,).

        A float; from an engine that `runs_ahead` what ``float()`` makes one of when it is wanted.
        """
        return float(np.add.reduce(values * weights, dtype=np.float64))

    # -- updates ---------------------------------------------------------------------------------

    def repeated(self, function, rows):
        """A function that does what ``function(index)`` does, in whatever way is fastest.

        Parameters
        ----------
        function : callable
            Of an array of row numbers below ``rows``. What it does on the device follows from them
            and from arrays that are changed in place.
        rows : int

        Returns
        -------
        callable
            It may call ``function`` only at first, for each number of rows, and have the device do
            the same from then on.
        """
        return function

    @abc.abstractmethod
    def sum_squares(self, a):
        """The sum of squares of all elements, accumulated in float64.

        A Python float; from an engine that `runs_ahead` what ``float()`` makes one of.
        """

    def sum_magnitudes(self, a):
        """The sum of the absolute values, as `sum_squares`."""
        return float(np.sum(np.abs(a), dtype=np.float64))

    def limit_norm(self, gradient, parts, most, needs_direction=False):
        """Scale a flat array, in place, until the norm of some parts together is ``most`` at most.

        ``parts`` is a list of slices.  With ``needs_direction`` an infinite norm, which has none,
        makes all NaN; one that is NaN always does.
        """
        norm = math.sqrt(sum(self.sum_squares(gradient[part]) for part in parts))
        if needs_direction and norm == math.inf:
            norm = math.nan
        if not norm <= most:
            gradient *= most / norm

    @abc.abstractmethod
    def update(self, rule, value, grad, slots, table=None, **hyper):
        """One optimizer step on flat arrays, in place; ``grad`` is zero afterwards.

        ``table``, if given, is a slice, where a table lies in ``value``, and the `RowGradient` of
        that table, whose part of ``grad`` is zero.

        ==========  =====================================  =======================================
        rule        slots (dict of arrays like value)      hyper (floats)
        ==========  =====================================  =======================================
        "sgd"       "momentum" if momentum                 learning_rate, momentum, nesterov
        "rmsprop"   "velocity"; "momentum" if momentum;    learning_rate, rho, momentum, epsilon,
                    "average_gradient" if centered         centered
        "adam"      "momentum", "velocity";                learning_rate (bias correction
                    "velocity_hat" if amsgrad              included), beta_1, beta_2, epsilon,
                                                           amsgrad
        ==========  =====================================  =======================================

        For these three engines may have kernels (`fastrnn.rules`).  All other rules that there are
        stand in `fastrnn.engines.reference.UPDATES`, as formulas in NumPy's functions, and any
        engine takes them from there with its own arrays.
        """
