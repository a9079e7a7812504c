"""What Numba's simulator does not know, in one place: kernels are written once, for both.

The simulator (``NUMBA_ENABLE_CUDASIM=1``) runs a kernel as plain Python, a thread of Python for
each thread of the block. It has no bounds on a launch, no alignment, no wide loads, and no way to
ask that a function be inlined: here they stand for what the hardware does, and do nothing there.
"""

from __future__ import annotations

import functools
import inspect
import math

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.cuda import cgutils, types
from numba.cuda.core import config
from numba.cuda.extending import intrinsic

from fastrnn.cuda.tiles import WARP, WIDE

__all__ = [
    "ALIGNMENT", "SIMULATED", "THREADS", "barrier", "copy_wide", "device_function", "exchanged",
    "kernel", "logistic", "plus", "times",
]

SIMULATED = bool(config.ENABLE_CUDASIM)
if not SIMULATED:
    from numba.cuda import libdevice
ALIGNMENT = None if SIMULATED else WIDE  # of arrays in shared memory and in registers
# Threads of a block that share nothing. The simulator starts a thread of Python for each; not as
# many as elsewhere, that it is seen where one number stands for another.
THREADS = 2 if SIMULATED else 128


def kernel(threads, resident=1, *, writes):
    """A decorator that makes a kernel for blocks of ``threads``.

    ``resident`` blocks are to fit a multiprocessor at a time, which bounds a thread's registers.
    ``writes`` names the arguments that it writes to; it only reads all others. From their places,
    ``kernel.writes``, a recording knows what has to wait (`fastrnn.cuda.hazards`).
    """

    def decorated(function):
        options = {} if SIMULATED else {"launch_bounds": (threads, resident)}
        made = cuda.jit(**options)(function)
        names = list(inspect.signature(function).parameters)
        made.threads, made.writes = threads, frozenset(map(names.index, writes.split()))
        return made

    return decorated


def device_function(function):
    """A function for kernels to call. It is inlined: only then do its arrays stay in registers."""
    if SIMULATED:
        return cuda.jit(device=True)(function)
    return cuda.jit(device=True, forceinline=True)(function)


@functools.cache
def barrier(threads):
    """The device function in which all ``threads`` of a block wait for each other.

    Those of one warp have a barrier that takes a few cycles, not some tens.
    """
    if SIMULATED or threads > WARP:

        @device_function
        def wait():
            cuda.syncthreads()

    else:

        @device_function
        def wait():
            cuda.syncwarp()

    return wait


def simulated_exchanged(value, distance):
    places = cuda.shared.array(1024, np.float64)
    place = cuda.threadIdx.x
    places[place] = value
    cuda.syncthreads()
    found = type(value)(places[place ^ distance])
    cuda.syncthreads()
    return found


def compiled_exchanged(value, distance):
    """The value of the thread of the warp whose number differs by a bit; all threads take part."""
    return cuda.shfl_xor_sync(0xFFFFFFFF, value, distance)


exchanged = device_function(simulated_exchanged if SIMULATED else compiled_exchanged)


def simulated_logistic(z):
    return type(z)(0.5 + 0.5 * math.tanh(0.5 * z))


def compiled_logistic(z):
    """1 / (1 + exp(-z)) in single precision, in four instructions.

    exp and the quotient are the hardware's: an error of z by its last bit and one of 2^-22 in the
    exponential make at most 5e-8 in y. Far below 0 that is no longer the last bit of y, but |z| of
    them. Where exp overflows the quotient is 0, as it should be.
    """
    one = np.float32(1)
    return libdevice.fast_fdividef(one, one + libdevice.fast_expf(-z))


logistic = device_function(simulated_logistic if SIMULATED else compiled_logistic)


WORD = 1 << 64


def simulated_plus(a, b):
    return np.uint64((int(a) + int(b)) % WORD)


def compiled_plus(a, b):
    """The sum of two words of 64 bits, without what goes beyond."""
    return a + b


def simulated_times(a, b):
    high, low = divmod(int(a) * int(b), WORD)
    return np.uint64(high), np.uint64(low)


def compiled_times(a, b):
    """The high and the low word of the product of two words of 64 bits."""
    return np.uint64(libdevice.umul64hi(np.int64(a), np.int64(b))), a * b


plus = device_function(simulated_plus if SIMULATED else compiled_plus)
times = device_function(simulated_times if SIMULATED else compiled_times)


def simulated_copy_wide(target, to, source, start):
    for array, index in ((target, to), (source, start)):
        place = array.__array_interface__["data"][0] + int(index) * array.dtype.itemsize
        if place % WIDE:
            raise ValueError(f"a wide access at {place}, which is no multiple of {WIDE}")
    for i in range(WIDE // target.dtype.itemsize):
        target[to + i] = source[start + i]


@intrinsic
def compiled_copy_wide(typing, target, to, source, start):
    """Copy 16 bytes from ``source[start:]`` to ``target[to:]`` with one load and one store.

    Both are flat arrays of one type, and both places are aligned to 16 bytes, which nobody checks.
    """

    def place(context, builder, kind, array, index):
        array = context.make_array(kind)(context, builder, value=array)
        return cgutils.get_item_pointer(context, builder, kind, array, [index])

    def generate(context, builder, signature, arguments):
        element = context.get_data_type(target.dtype)
        vector = ir.VectorType(element, WIDE * 8 // target.dtype.bitwidth).as_pointer()
        to_kind, _, from_kind, _ = signature.args
        into, to_index, out_of, from_index = arguments
        read = builder.bitcast(place(context, builder, from_kind, out_of, from_index), vector)
        write = builder.bitcast(place(context, builder, to_kind, into, to_index), vector)
        builder.store(builder.load(read, align=WIDE), write, align=WIDE)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp), generate


copy_wide = simulated_copy_wide if SIMULATED else compiled_copy_wide
