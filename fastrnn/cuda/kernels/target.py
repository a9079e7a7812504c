"""What Numba's simulator does not know, in one place: kernels are written once, for both.

The simulator (``NUMBA_ENABLE_CUDASIM=1``) runs a kernel as plain Python, a thread of Python for
each thread of the block. It has no bounds on a launch, no alignment, no wide loads, and no way to
ask that a function be inlined: here they stand for what the hardware does, and do nothing there.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import cuda
from numba.cuda import cgutils, types
from numba.cuda.core import config
from numba.cuda.extending import intrinsic

from fastrnn.cuda.arrays import WIDE

__all__ = [
    "ALIGNMENT", "SIMULATED", "THREADS", "barrier", "copy_wide", "device_function", "kernel",
]

WARP = 32  # threads that a multiprocessor runs together
SIMULATED = bool(config.ENABLE_CUDASIM)
ALIGNMENT = None if SIMULATED else WIDE  # of arrays in shared memory and in registers
# Threads of a block that share nothing. The simulator starts a thread of Python for each.
THREADS = 4 if SIMULATED else 128


def kernel(threads, resident=1):
    """A decorator that makes a kernel for blocks of ``threads``.

    ``resident`` blocks are to fit a multiprocessor at a time, which bounds a thread's registers.
    """
    return cuda.jit if SIMULATED else cuda.jit(launch_bounds=(threads, resident))


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
