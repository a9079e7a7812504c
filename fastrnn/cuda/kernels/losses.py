"""Losses and their gradients, and softmax.

Equations: `fastrnn.engines.reference`. Losses that take columns one by one have a thread a row;
those over classes, and softmax, a warp a row, whose lanes take every 32nd column.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels import activations
from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import ALIGNMENT, SIMULATED, device_function, kernel

__all__ = ["LANES", "class_loss", "column_loss", "softmax", "softmax_backward"]

LANES = 4 if SIMULATED else 32  # that share a row of classes


@functools.cache
def _cut_off(number):
    """The device function (p, low): p kept between low and 1 - low; NaN stays, unlike in min."""
    one = number(1)

    @device_function
    def cut_off(p, low):
        return low if p < low else one - low if p > one - low else p

    return cut_off


# -- column by column -----------------------------------------------------------


@functools.cache
def column_loss(kind, from_logits, dtype):
    """``(target, output, weight, columns, low, losses, doutput)``, a thread a row.

    ``low``: probabilities are kept so far from 0 and 1.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    if kind == "binary_crossentropy":
        kind = "logits" if from_logits else "probabilities"
    pair = {
        "logits": _of_logits, "probabilities": _of_probabilities,
        "mean_squared_error": _squared, "mean_absolute_error": _absolute,
    }[kind](number)  # fmt: skip
    value, slope = map(device_function, pair)

    @kernel(THREADS, writes="losses doutput")
    def column_loss(target, output, weight, columns, low, losses, doutput):
        row = cuda.grid(1)
        if row < losses.size:
            total = zero
            share = weight[row] / number(columns)
            for i in range(row * columns, (row + 1) * columns):
                total += value(target[i], output[i], low)
                doutput[i] = slope(target[i], output[i], low) * share
            losses[row] = total / number(columns)

    return column_loss


def _of_logits(number):
    """max(z, 0) - z y + log(1 + exp(-|z|)); sigmoid(z) - y."""
    zero = number(0)
    sigmoid = activations.forward("sigmoid", number)

    def value(y, z, low):
        return max(z, zero) - z * y + math.log1p(math.exp(-abs(z)))

    def slope(y, z, low):
        return sigmoid(z) - y

    return value, slope


def _of_probabilities(number):
    """-y log p - (1 - y) log(1 - p); (p - y) / (p (1 - p)), zero where p was cut off."""
    zero, one = number(0), number(1)
    cut_off = _cut_off(number)

    def value(y, output, low):
        p = cut_off(output, low)
        return -(y * math.log(p) + (one - y) * math.log(one - p))

    def slope(y, output, low):
        p = cut_off(output, low)
        return (p - y) / (p * (one - p)) if output == p else zero

    return value, slope


def _squared(number):
    two = number(2)

    def value(y, output, low):
        return (output - y) * (output - y)

    def slope(y, output, low):
        return two * (output - y)

    return value, slope


def _absolute(number):
    zero, one = number(0), number(1)

    def value(y, output, low):
        return abs(output - y)

    def slope(y, output, low):
        error = output - y
        return one if error > zero else -one if error < zero else error  # NaN stays

    return value, slope


# -- over the columns -----------------------------------------------------------


@functools.cache
def _over_lanes(number):
    """The device functions that sum what the lanes of a block have, and find the largest.

    ``(shared, lane, mine)``: the same to every lane; in the order of the lanes.
    """

    @device_function
    def total(shared, lane, mine):
        cuda.syncthreads()
        shared[lane] = mine
        cuda.syncthreads()
        found = shared[0]
        for other in range(1, LANES):
            found += shared[other]
        return found

    @device_function
    def largest(shared, lane, mine):
        cuda.syncthreads()
        shared[lane] = mine
        cuda.syncthreads()
        found = shared[0]
        for other in range(1, LANES):
            found = max(found, shared[other])
        return found

    return total, largest


@functools.cache
def softmax(dtype):
    """``(z, columns, target)``: kernel[rows, LANES]."""
    number = np.dtype(dtype).type
    zero = number(0)
    total, largest = _over_lanes(number)

    @kernel(LANES, writes="target")
    def softmax(z, columns, target):
        shared = cuda.shared.array(LANES, number, ALIGNMENT)
        lane, start = cuda.threadIdx.x, cuda.blockIdx.x * columns
        top = z[start]
        for i in range(lane, columns, LANES):
            top = max(top, z[start + i])
        top = largest(shared, lane, top)
        mine = zero
        for i in range(lane, columns, LANES):
            e = math.exp(z[start + i] - top)
            target[start + i] = e
            mine += e
        mine = total(shared, lane, mine)
        for i in range(lane, columns, LANES):
            target[start + i] /= mine

    return softmax


@functools.cache
def softmax_backward(dtype):
    """``(y, dy, columns, target)``: dz = y (dy - sum(dy y)); kernel[rows, LANES]."""
    number = np.dtype(dtype).type
    zero = number(0)
    total, _ = _over_lanes(number)

    @kernel(LANES, writes="target")
    def softmax_backward(y, dy, columns, target):
        shared = cuda.shared.array(LANES, number, ALIGNMENT)
        lane, start = cuda.threadIdx.x, cuda.blockIdx.x * columns
        mine = zero
        for i in range(lane, columns, LANES):
            mine += dy[start + i] * y[start + i]
        mine = total(shared, lane, mine)
        for i in range(lane, columns, LANES):
            target[start + i] = y[start + i] * (dy[start + i] - mine)

    return softmax_backward


@functools.cache
def class_loss(sparse, from_logits, dtype):
    """``(target, output, weight, columns, low, losses, doutput)``: kernel[rows, LANES].

    -sum_c y_c log p_c; ``sparse``: y is 1 in the column that target names.
    """
    number = np.dtype(dtype).type
    zero, one = number(0), number(1)
    total, largest = _over_lanes(number)
    cut_off = _cut_off(number)
    if sparse:

        @device_function
        def label(target, row, columns, c):
            return one if target[row] == c else zero

    else:

        @device_function
        def label(target, row, columns, c):
            return target[row * columns + c]

    @kernel(LANES, writes="losses doutput")
    def by_logits(target, output, weight, columns, low, losses, doutput):
        # log p_c = z_c - top - log(sum exp(z - top)); dz_c = p_c sum(y) - y_c.
        shared = cuda.shared.array(LANES, number, ALIGNMENT)
        lane, row = cuda.threadIdx.x, cuda.blockIdx.x
        start = row * columns
        top = output[start]
        for c in range(lane, columns, LANES):
            top = max(top, output[start + c])
        top = largest(shared, lane, top)
        mine, labels = zero, zero
        for c in range(lane, columns, LANES):
            mine += math.exp(output[start + c] - top)
            labels += label(target, row, columns, c)
        whole = math.log(total(shared, lane, mine))
        labels = total(shared, lane, labels)
        mine = zero
        for c in range(lane, columns, LANES):
            y, log_p = label(target, row, columns, c), output[start + c] - top - whole
            mine -= y * log_p
            doutput[start + c] = (math.exp(log_p) * labels - y) * weight[row]
        mine = total(shared, lane, mine)
        if lane == 0:
            losses[row] = mine

    @kernel(LANES, writes="losses doutput")
    def by_probabilities(target, output, weight, columns, low, losses, doutput):
        # q = p / sum(p), cut off; dq_c = -y_c / q_c; dp = (dq - sum(dq q)) / sum(p).
        shared = cuda.shared.array(LANES, number, ALIGNMENT)
        lane, row = cuda.threadIdx.x, cuda.blockIdx.x
        start = row * columns
        mine = zero
        for c in range(lane, columns, LANES):
            mine += output[start + c]
        whole = total(shared, lane, mine)
        mine, along = zero, zero
        for c in range(lane, columns, LANES):
            y, q = label(target, row, columns, c), output[start + c] / whole
            p = cut_off(q, low)
            mine -= y * math.log(p)
            d = -y / p if q == p else zero
            along += d * q
            doutput[start + c] = d
        mine = total(shared, lane, mine)
        along = total(shared, lane, along)
        for c in range(lane, columns, LANES):
            doutput[start + c] = (doutput[start + c] - along) / whole * weight[row]
        if lane == 0:
            losses[row] = mine

    return by_logits if from_logits else by_probabilities
