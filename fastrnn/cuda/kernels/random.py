"""Random numbers from counters, the same as NumPy's generator gives (`fastrnn.random`).

Philox 4x64-10 (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011): ten rounds
of multiplications turn a counter and a key into four words of 64 bits. Any thread can begin at any
place of the sequence.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import device_function, kernel, plus, times

__all__ = ["BLOCK", "advance", "dropout"]

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)  # what keys grow by
BLOCK = 8  # numbers of single precision that a counter gives
UNIT = np.float32(2.0**-24)


@device_function
def philox(place, call, key_0, key_1):
    """The four words at a place of the sequence of a call."""
    a, b, c, d = np.uint64(place), np.uint64(0), np.uint64(0), np.uint64(call)
    for _ in range(ROUNDS):
        high, low = times(a, MULTIPLIERS[0])
        other_high, other_low = times(c, MULTIPLIERS[1])
        a, b, c, d = other_high ^ b ^ key_0, other_low, high ^ d ^ key_1, low
        key_0, key_1 = plus(key_0, WEYL[0]), plus(key_1, WEYL[1])
    return a, b, c, d


@functools.cache
def dropout(dtype):
    """``(key_0, key_1, calls, counted, call, rate, factor, target)``: 0 with probability ``rate``,
    else ``factor``.

    A thread makes `BLOCK` elements. The call is that number, behind ``calls[0]`` if ``counted``.
    """
    zero = np.dtype(dtype).type(0)

    @device_function
    def put(word, at, rate, factor, target):
        """The low half of a word comes first; a number is its highest 24 bits."""
        for half in range(2):
            if at + half < target.size:
                bits = (np.uint64(word) >> np.uint64(32 * half + 8)) & np.uint64(0xFFFFFF)
                target[at + half] = factor if np.float32(bits) * UNIT >= rate else zero

    @kernel(THREADS, writes="target")
    def dropout(key_0, key_1, calls, counted, call, rate, factor, target):
        i = cuda.grid(1)
        at = i * BLOCK
        if at < target.size:
            # NumPy's generator counts on before it makes a block.
            words = philox(i + 1, calls[0] + call if counted else call, key_0, key_1)
            put(words[0], at, rate, factor, target)
            put(words[1], at + 2, rate, factor, target)
            put(words[2], at + 4, rate, factor, target)
            put(words[3], at + 6, rate, factor, target)

    return dropout


@functools.cache
def advance():
    """``(calls, count)``: so many more calls."""

    @kernel(1, writes="calls")
    def advance(calls, count):
        calls[0] += count

    return advance
