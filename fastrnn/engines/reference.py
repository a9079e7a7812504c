"""The reference engine: every operation in plain NumPy, for any float type.

It is the readable specification of what an engine computes, and the oracle of the tests: it is
checked by finite differences in float64 before anything is compared with it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn import activations
from fastrnn.config import epsilon
from fastrnn.engines.base import Engine
from fastrnn.values import Lookup, RowGradient

__all__ = ["ReferenceEngine"]


class ReferenceEngine(Engine):
    """NumPy, one step after the other."""

    name = "reference"

    # -- arrays ------------------------------------------------------------------------------

    def asarray(self, x, dtype=None):
        if type(x) is np.ndarray and (dtype is None or x.dtype == dtype):
            flags = x.flags
            if flags.c_contiguous and flags.aligned:  # as nearly always; `require` takes its time
                return x
        return np.require(x, dtype, ["C", "A"])

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype)

    def small_zeros(self, size, dtype):
        return np.zeros(size, dtype)

    def to_host(self, a):
        return a

    def holds(self, a):
        return isinstance(a, np.ndarray)

    # -- lookups and projections ---------------------------------------------------------------

    def lookup(self, ids, table):
        check_ids(ids, len(table))
        return table[ids]

    def lookup_backward(self, ids, dy, dtable):
        np.add.at(dtable, ids, dy)

    def add_rows(self, gradient, dtable):
        dtable[gradient.rows] += gradient.values

    def project(self, x, W, b=None, mask=None, keep=True, for_sweep=False):
        if isinstance(x, Lookup):
            check_ids(x.ids, len(x.table))
            return Lookup(x.ids, self.project(x.table, W, b))
        z = x @ W
        return z if b is None else z + b

    def project_backward(self, x, W, dz, dW, db=None, need_dx=True):
        if isinstance(x, Lookup):
            # P = E W + b, row by row, and dz holds the gradients of the rows of P.
            values = self.project_backward(x.table[dz.rows], W, dz.values, dW, db, need_dx)
            return None if values is None else RowGradient(dz.rows, values)
        flat = dz.reshape(-1, W.shape[1])
        dW += x.reshape(len(flat), W.shape[0]).T @ flat
        if db is not None:
            db += flat.sum(axis=0)
        return dz @ W.T if need_dx else None

    # -- activations ---------------------------------------------------------------------------

    def activate(self, activation, z):
        return activations.named(activation).forward(z)

    def activate_backward(self, activation, z, y, dy):
        return activations.named(activation).backward(z, y, dy)

    # -- recurrence ----------------------------------------------------------------------------

    def recurrent(self, cell, xz, U, states=None, mask=None, return_sequences=False,
                  zero_output_for_mask=False, keep=True, bias=None, noise=None):
        step_forward, _ = STEPS[cell.kind]
        ids = None
        if isinstance(xz, Lookup):
            ids, xz = xz.ids, self.lookup(xz.ids, xz.table)
        rows, steps, _ = xz.shape
        units = U.shape[0]
        if states is None:
            states = [np.zeros((rows, units), xz.dtype) for _ in range(cell.states)]
        weights = Recurrence(U, bias, noise)
        counts = np.ones((rows, steps), bool) if mask is None else np.asarray(mask)
        if mask is not None:  # `project` may have left anything there, and 0 times NaN is NaN
            xz = np.where(counts[..., None], xz, 0)
        history, traces = [states], []
        sequence = np.zeros((rows, steps, units), xz.dtype)
        for t in range(steps):
            new, trace = step_forward(cell, xz[:, t], weights, states)
            k = counts[:, t, None]
            # A masked step carries the state ...
            states = [np.where(k, a, b) for a, b in zip(new, states, strict=True)]
            # ... and repeats the output before it (zeros before the first, or always, if asked).
            before = 0 if zero_output_for_mask or t == 0 else sequence[:, t - 1]
            sequence[:, t] = np.where(k, new[0], before)
            if keep:
                history.append(states)
                traces.append(trace)
        tape = cell, history, traces, counts, zero_output_for_mask, ids, bias, noise
        return (sequence if return_sequences else None), states, tape

    def recurrent_backward(self, tape, U, dsequence, dstates, dU, need_dxz=True, dbias=None,
                           projection=None):
        cell, history, traces, counts, zero_output_for_mask, ids, bias, noise = tape
        _, step_backward = STEPS[cell.kind]
        weights, gradients = Recurrence(U, bias, noise), Recurrence(dU, dbias, None)
        rows, steps = counts.shape
        dstates = [
            np.zeros_like(s) if d is None else d
            for s, d in zip(history[-1], dstates or [None] * len(history[-1]), strict=True)
        ]
        dxz = np.zeros((rows, steps, U.shape[1]), U.dtype)
        doutput = np.zeros((rows, U.shape[0]), U.dtype)  # of the output carried over masked steps
        for t in reversed(range(steps)):
            k = counts[:, t, None]
            if dsequence is not None:
                doutput = doutput + dsequence[:, t]
            dnew = [np.where(k, d, 0) for d in dstates]
            dnew[0] = dnew[0] + np.where(k, doutput, 0)
            dxz[:, t], dbefore = step_backward(
                cell, traces[t], weights, history[t], dnew, gradients
            )
            dstates = [a + np.where(k, 0, d) for a, d in zip(dbefore, dstates, strict=True)]
            doutput = np.where(k | zero_output_for_mask, 0, doutput)
        if ids is not None:
            dxz = sum_by_id(ids, dxz)
        return (dxz if need_dxz else None), dstates

    def columns(self, dxz, where):
        return self.asarray(dxz[..., where])

    # -- losses ----------------------------------------------------------------------------------

    def loss(self, kind, target, output, weight, from_logits=False):
        losses, doutput = LOSSES[kind](target, output, from_logits)
        return losses, doutput * weight[:, None]

    # -- updates ---------------------------------------------------------------------------------

    def sum_squares(self, a):
        return float(np.sum(np.square(a, dtype=np.float64)))

    def bring_in(self, table, grad):
        """Add the ``table`` of `update` into the flat gradients."""
        if table is not None:
            where, gradient = table
            self.add_rows(gradient, grad[where].reshape(-1, gradient.values.shape[1]))

    def update(self, rule, value, grad, slots, table=None, **hyper):
        self.bring_in(table, grad)
        UPDATES[rule](value, grad, slots, **hyper)
        grad[...] = 0


def check_ids(ids, rows):
    """Raise IndexError unless every id is the number of one of ``rows`` rows."""
    if ids.size and not (0 <= ids.min() and ids.max() < rows):
        bad = ids[(ids < 0) | (ids >= rows)].flat[0]
        raise IndexError(
            f"token id {bad} is outside the table: expected ids from 0 to {rows - 1} "
            f"(input_dim={rows})."
        )


def sum_by_id(ids, dz):
    """The `RowGradient` of a table whose rows ``ids`` (...) got the gradients dz (..., M)."""
    rows, place = np.unique(ids, return_inverse=True)
    values = np.zeros((len(rows), dz.shape[-1]), dz.dtype)
    np.add.at(values, place.reshape(ids.shape), dz)
    return RowGradient(rows.astype(np.int32), values)


# -- cells ----------------------------------------------------------------------
#
# A step takes the projected input xz (B, G H) and the states before it; it returns the states after
# it, output first, and a trace for the way back. Its backward takes the gradients of the states
# after it, adds into those of U and the bias, and returns the gradients of xz and of the states
# before it. Equations: `fastrnn.cells.CellSpec`.


class Recurrence(NamedTuple):
    """What multiplies the state: U (H, G H), bias (H,) and noise (1 or G, B, H), or None."""

    U: Any
    bias: Any
    noise: Any

    def dropped(self, h, gate):
        """The state as the product of that gate sees it."""
        return h if self.noise is None else h * self.noise[gate % len(self.noise)]

    def kernel(self, gate):
        """The columns of U that belong to a gate."""
        units = len(self.U)
        return self.U[:, gate * units : (gate + 1) * units]

    def times(self, h, gate):
        """h U, for one gate."""
        return self.dropped(h, gate) @ self.kernel(gate)

    def times_backward(self, h, gate, dproduct, gradients):
        """Gradient of `times` by h; adds into that of U."""
        gradients.kernel(gate)[...] += self.dropped(h, gate).T @ dproduct
        return self.dropped(dproduct @ self.kernel(gate).T, gate)


def simple_rnn_step(cell, xz, weights, states):
    """h' = act(z), z = xz + h U."""
    (h,) = states
    z = xz + weights.times(h, 0)
    y = activations.named(cell.activation).forward(z)
    return [y], (z, y)


def simple_rnn_step_backward(cell, trace, weights, states, dnew, gradients):
    """dz = dh' act'(z); dU += h^T dz; dh = dz U^T."""
    (h,), (z, y) = states, trace
    dz = activations.named(cell.activation).backward(z, y, dnew[0])
    return dz, [weights.times_backward(h, 0, dz, gradients)]


def lstm_step(cell, xz, weights, states):
    """c' = f c + i g, h' = o act(c'); i, f, o through the recurrent activation, g through act."""
    h, c = states
    act, gate = (activations.named(a) for a in (cell.activation, cell.recurrent_activation))
    z = [part + weights.times(h, k) for k, part in enumerate(np.split(xz, 4, axis=1))]
    kinds = gate, gate, act, gate
    i, f, g, o = y = [kind.forward(part) for kind, part in zip(kinds, z, strict=True)]
    new_c = f * c + i * g
    shown = act.forward(new_c)
    return [o * shown, new_c], (z, y, new_c, shown)


def lstm_step_backward(cell, trace, weights, states, dnew, gradients):
    """do = dh' act(c'), dc' += dh' o act'(c'); di = dc' g, df = dc' c, dg = dc' i; dc = dc' f."""
    (h, c), (dh, dc) = states, dnew
    z, y, new_c, shown = trace
    i, f, g, o = y
    act, gate = (activations.named(a) for a in (cell.activation, cell.recurrent_activation))
    dc = dc + act.backward(new_c, shown, dh * o)
    dy = dc * g, dc * c, dc * i, dh * shown
    kinds = gate, gate, act, gate
    dz = [kind.backward(*parts) for kind, *parts in zip(kinds, z, y, dy, strict=True)]
    dh = sum(weights.times_backward(h, k, part, gradients) for k, part in enumerate(dz))
    return np.concatenate(dz, axis=1), [dh, dc * f]


def gru_step(cell, xz, weights, states):
    """h' = z h + (1 - z) g; z, r through the recurrent activation, the candidate g through act."""
    (h,) = states
    act, gate = (activations.named(a) for a in (cell.activation, cell.recurrent_activation))
    x_z, x_r, x_h = np.split(xz, 3, axis=1)
    sums = [x_z + weights.times(h, 0), x_r + weights.times(h, 1)]
    z, r = map(gate.forward, sums)
    if cell.reset_after:
        inner = weights.times(h, 2)
        if weights.bias is not None:
            inner = inner + weights.bias
        sums.append(x_h + r * inner)
    else:
        inner = r * h
        sums.append(x_h + weights.times(inner, 2))
    g = act.forward(sums[2])
    return [z * h + (1 - z) * g], (sums, z, r, g, inner)


def gru_step_backward(cell, trace, weights, states, dnew, gradients):
    """dz = dh' (h - g), dg = dh' (1 - z), dh = dh' z; then through the gates."""
    (h,), (dnew,) = states, dnew
    sums, z, r, g, inner = trace
    act, gate = (activations.named(a) for a in (cell.activation, cell.recurrent_activation))
    d_h = act.backward(sums[2], g, dnew * (1 - z))
    dh = dnew * z
    if cell.reset_after:
        dr, dinner = d_h * inner, d_h * r
        if weights.bias is not None:
            gradients.bias[...] += dinner.sum(axis=0)
        dh = dh + weights.times_backward(h, 2, dinner, gradients)
    else:
        dinner = weights.times_backward(inner, 2, d_h, gradients)
        dr = dinner * h
        dh = dh + dinner * r
    d_z = gate.backward(sums[0], z, dnew * (h - g))
    d_r = gate.backward(sums[1], r, dr)
    dh = dh + weights.times_backward(h, 0, d_z, gradients)
    dh = dh + weights.times_backward(h, 1, d_r, gradients)
    return np.concatenate([d_z, d_r, d_h], axis=1), [dh]


STEPS = {
    "simple_rnn": (simple_rnn_step, simple_rnn_step_backward),
    "lstm": (lstm_step, lstm_step_backward),
    "gru": (gru_step, gru_step_backward),
}


# -- losses: (losses (n,), their gradients (n, C)), rows independent ----------------------------


def _binary_crossentropy(target, output, from_logits):
    """-y log p - (1 - y) log(1 - p), the mean over columns; p = sigmoid(z) with logits."""
    columns = output.shape[1]
    if from_logits:
        # max(z, 0) - z y + log(1 + exp(-|z|)) neither overflows nor cancels.
        losses = np.maximum(output, 0) - output * target + np.log1p(np.exp(-np.abs(output)))
        gradient = activations.named("sigmoid").forward(output) - target
    else:
        low = output.dtype.type(epsilon())
        high = 1 - low
        p = np.clip(output, low, high)
        losses = -(target * np.log(p) + (1 - target) * np.log(1 - p))
        inside = (output >= low) & (output <= high)
        gradient = np.where(inside, (p - target) / (p * (1 - p)), 0)
    return losses.mean(axis=1), (gradient / columns).astype(output.dtype)


def _categorical_crossentropy(target, output, from_logits):
    """-sum_c y_c log p_c; probabilities are first divided by their sum, then clipped."""
    if from_logits:
        shifted = output - output.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        gradient = p * target.sum(axis=1, keepdims=True) - target
        return -(target * log_p).sum(axis=1), gradient
    total = output.sum(axis=1, keepdims=True)
    low = output.dtype.type(epsilon())
    q = output / total
    p = np.clip(q, low, 1 - low)
    dp = np.where((q >= low) & (q <= 1 - low), -target / p, 0)
    gradient = (dp - (dp * q).sum(axis=1, keepdims=True)) / total
    return -(target * np.log(p)).sum(axis=1), gradient


def _sparse_categorical_crossentropy(target, output, from_logits):
    """-log p_y: the categorical one with the class number for a target."""
    onehot = np.zeros_like(output)
    onehot[np.arange(len(target)), target] = 1
    return _categorical_crossentropy(onehot, output, from_logits)


def _mean_squared_error(target, output, from_logits):
    error = output - target
    return np.square(error).mean(axis=1), 2 * error / output.shape[1]


def _mean_absolute_error(target, output, from_logits):
    error = output - target
    return np.abs(error).mean(axis=1), np.sign(error) / output.shape[1]


LOSSES = {
    "binary_crossentropy": _binary_crossentropy,
    "categorical_crossentropy": _categorical_crossentropy,
    "sparse_categorical_crossentropy": _sparse_categorical_crossentropy,
    "mean_squared_error": _mean_squared_error,
    "mean_absolute_error": _mean_absolute_error,
}


# -- updates: value, gradient g and slots are flat and changed in place --------------------------


def _sgd(value, g, slots, learning_rate, momentum, nesterov):
    """m = mu m - lr g; w += m, or with Nesterov's look ahead w += mu m - lr g."""
    step = -learning_rate * g
    if momentum:
        m = slots["momentum"]
        m[...] = momentum * m + step
        step = momentum * m + step if nesterov else m
    value += step


def _rmsprop(value, g, slots, learning_rate, rho, momentum, epsilon, centered):
    """v = rho v + (1 - rho) g^2; w -= lr g / sqrt(v + eps); centred: v less the mean squared."""
    v = slots["velocity"]
    v[...] = rho * v + (1 - rho) * np.square(g)
    denominator = v + epsilon
    if centered:
        mean = slots["average_gradient"]
        mean[...] = rho * mean + (1 - rho) * g
        denominator = denominator - np.square(mean)
    step = learning_rate * g / np.sqrt(denominator)
    if momentum:
        m = slots["momentum"]
        m[...] = momentum * m + step
        step = m
    value -= step


def _adam(value, g, slots, learning_rate, beta_1, beta_2, epsilon, amsgrad):
    """m += (1-b1)(g-m); v += (1-b2)(g^2-v); w -= lr m / (sqrt(v) + eps)."""
    m, v = slots["momentum"], slots["velocity"]
    m += (1 - beta_1) * (g - m)
    v += (1 - beta_2) * (np.square(g) - v)
    if amsgrad:
        v = np.maximum(slots["velocity_hat"], v, out=slots["velocity_hat"])
    value -= learning_rate * m / (np.sqrt(v) + epsilon)


def _adagrad(value, g, slots, learning_rate, epsilon):
    """s += g^2; w -= lr g / sqrt(s + eps)."""
    s = slots["accumulator"]
    s += np.square(g)
    value -= learning_rate * g / np.sqrt(s + epsilon)


def _adadelta(value, g, slots, learning_rate, rho, epsilon):
    """s = rho s + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(s + eps); u = rho u + (1 - rho) d^2;
    w -= lr d."""
    s, u = slots["accumulated_grad"], slots["accumulated_delta_var"]
    s[...] = rho * s + (1 - rho) * np.square(g)
    step = np.sqrt(u + epsilon) * g / np.sqrt(s + epsilon)
    u[...] = rho * u + (1 - rho) * np.square(step)
    value -= learning_rate * step


def _adamax(value, g, slots, learning_rate, beta_1, beta_2, epsilon):
    """m += (1-b1)(g-m); u = max(b2 u, |g|); w -= lr m / (u + eps)."""
    m, u = slots["momentum"], slots["norm"]
    m += (1 - beta_1) * (g - m)
    u[...] = np.maximum(beta_2 * u, np.abs(g))
    value -= learning_rate * m / (u + epsilon)


def _nadam(value, g, slots, learning_rate, beta_1, beta_2, epsilon, ahead, now, correction):
    """m += (1-b1)(g-m); v += (1-b2)(g^2-v); w -= lr (a m + n g) / (sqrt(v / c) + eps)."""
    m, v = slots["momentum"], slots["velocity"]
    m += (1 - beta_1) * (g - m)
    v += (1 - beta_2) * (np.square(g) - v)
    value -= learning_rate * (ahead * m + now * g) / (np.sqrt(v / correction) + epsilon)


def _lion(value, g, slots, learning_rate, beta_1, beta_2):
    """w -= lr sign(b1 m + (1-b1) g); m = b2 m + (1-b2) g."""
    m = slots["momentum"]
    value -= learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)
    m[...] = beta_2 * m + (1 - beta_2) * g


def _ftrl(value, g, slots, learning_rate, power, l1, l2, shrinkage, beta):
    """n' = n + g^2; z += g + 2 s w - (n'^-p - n^-p) w / lr;
    w = (clip(z, -l1, l1) - z) / ((n'^-p + beta) / lr + 2 l2).  A rate of zero moves nothing."""
    if not learning_rate:
        return
    n, z = slots["accumulator"], slots["linear"]
    before, after = n**-power, (n + np.square(g)) ** -power
    z += g + 2 * shrinkage * value - (after - before) / learning_rate * value
    # Between weights lies 0/0, where n starts from zero: nobody reads it.
    with np.errstate(invalid="ignore"):
        value[...] = (np.clip(z, -l1, l1) - z) / ((after + beta) / learning_rate + 2 * l2)
    n += np.square(g)


UPDATES = {
    "sgd": _sgd, "rmsprop": _rmsprop, "adam": _adam, "adagrad": _adagrad, "adadelta": _adadelta,
    "adamax": _adamax, "nadam": _nadam, "lion": _lion, "ftrl": _ftrl,
}
