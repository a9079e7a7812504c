"""The updates of optimizers: one thread a weight, all that it needs read and written once.

Equations: `fastrnn.engines.base.Engine.update`. ``grad`` is zero afterwards. Slots that a rule does
not have are any array; they are not touched.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import kernel

__all__ = ["update"]


@functools.cache
def update(rule, dtype):
    """The kernel of a rule; its arguments: `fastrnn.rules.RULES`."""
    return {"sgd": _sgd, "rmsprop": _rmsprop, "adam": _adam}[rule](np.dtype(dtype).type)


def _sgd(number):
    zero = number(0)

    @kernel(THREADS, writes="value grad moments")
    def sgd(value, grad, moments, none_1, none_2, rate, momentum, nesterov):
        i = cuda.grid(1)
        if i < value.size:
            step = -rate * grad[i]
            if momentum != zero:
                m = momentum * moments[i] + step
                moments[i] = m
                step = momentum * m + step if nesterov else m
            value[i] += step
            grad[i] = zero

    return sgd


def _rmsprop(number):
    zero, one = number(0), number(1)

    @kernel(THREADS, writes="value grad velocity moments means")
    def rmsprop(value, grad, velocity, moments, means, rate, rho, momentum, epsilon, centered):
        i = cuda.grid(1)
        if i < value.size:
            g = grad[i]
            v = rho * velocity[i] + (one - rho) * (g * g)
            velocity[i] = v
            v += epsilon
            if centered:
                mean = rho * means[i] + (one - rho) * g
                means[i] = mean
                v -= mean * mean
            step = rate * g / math.sqrt(v)
            if momentum != zero:
                step += momentum * moments[i]
                moments[i] = step
            value[i] -= step
            grad[i] = zero

    return rmsprop


def _adam(number):
    zero, one = number(0), number(1)

    @kernel(THREADS, writes="value grad moments velocity peaks")
    def adam(value, grad, moments, velocity, peaks, rate, beta_1, beta_2, epsilon, amsgrad):
        i = cuda.grid(1)
        if i < value.size:
            g, m, v = grad[i], moments[i], velocity[i]
            m += (one - beta_1) * (g - m)
            v += (one - beta_2) * (g * g - v)
            moments[i] = m
            velocity[i] = v
            if amsgrad:
                peak = peaks[i]
                v = peak if peak > v else v
                peaks[i] = v
            value[i] -= rate * m / (math.sqrt(v) + epsilon)
            grad[i] = zero

    return adam
