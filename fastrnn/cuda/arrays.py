"""Arrays of users, on the host or on a device, as kernels take them.

What has ``__cuda_array_interface__`` (arrays of Numba and CuPy, tensors of PyTorch) lies on a
device and is used where it lies. All else is on the host, and is copied.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastrnn.cuda import discovery, memory, stream
from fastrnn.cuda.tiles import WIDE

__all__ = ["View", "are_on_device", "checked", "copied", "multiprocessors", "new"]

FLOATS = ("float32", "float64")
SIMULATED_MULTIPROCESSORS = 132  # as an H200 has


class View(NamedTuple):
    """An array of floats on a device, dense along its last axis."""

    interface: dict
    owner: Any  # keeps the memory
    shape: tuple
    strides: tuple  # in elements; 0 along axes of one element
    dtype: np.dtype

    @property
    def pointer(self):
        return self.interface["data"][0]

    @property
    def read_only(self):
        return self.interface["data"][1]

    @property
    def wide(self):
        """Whether every row begins at a multiple of 16 bytes."""
        places = self.pointer, *(stride * self.dtype.itemsize for stride in self.strides[:-1])
        return all(place % WIDE == 0 for place in places)

    @property
    def flat(self):
        """All its elements, and those between them, as the flat array that a kernel takes."""
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        flat = self.interface | {"shape": (0 if 0 in self.shape else span,), "strides": None}
        if discovery.simulated():  # there, the memory of a device is the host's
            return np.asarray(SimpleNamespace(__array_interface__=flat, owner=self.owner))
        from numba import cuda

        return cuda.from_cuda_array_interface(flat, owner=self.owner)

    @property
    def overlaps_itself(self):
        """Whether two elements share a place, as in what was broadcast."""
        span = 1
        for stride, n in sorted(zip(self.strides, self.shape, strict=True)):
            if n > 1 and stride < span:
                return True
            span += (n - 1) * stride
        return False


def are_on_device(arrays):
    """Whether arrays, by name, lie on a device; TypeError unless all or none do."""
    names = {True: [], False: []}
    for name, array in arrays.items():
        names[_interface(array) is not None].append(name)
    if names[True] and names[False]:
        raise TypeError(
            f"expected all arrays on the device or all on the host; got {', '.join(names[True])} "
            f"on a device and {', '.join(names[False])} on the host."
        )
    return bool(names[True])


def checked(name, array, on_device):
    """An array as a `View`, or on the host as a NumPy array, with what is wrong in its own name."""
    if on_device:
        return _view(name, array)
    try:
        array = np.asarray(array)
    except ValueError:
        raise ValueError(f"{name}: expected an array; got lists of different lengths.") from None
    _check_dtype(name, array.dtype)
    return array


def new(shape, dtype):
    """A `View` of a new array on the device, with undefined contents."""
    return _view("new", memory.allocated(shape, dtype))


def copied(array):
    """A `View` of a copy of a NumPy array on the device."""
    return _view("copy", stream.sent(np.ascontiguousarray(array)))


def multiprocessors():
    """How many multiprocessors the current device has."""
    if discovery.simulated():
        return SIMULATED_MULTIPROCESSORS
    from numba import cuda

    return cuda.get_current_device().MULTIPROCESSOR_COUNT


def _interface(array):
    """What an array on a device says of itself; None for all others."""
    if hasattr(array, "__cuda_array_interface__"):
        return array.__cuda_array_interface__
    if getattr(array, "__cuda_ndarray__", False):  # the simulator's
        return array.__array_interface__
    return None


def _view(name, array):
    interface = _interface(array)
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    _check_dtype(name, dtype)
    _check_device(name, interface["data"][0])
    strides = interface.get("strides")
    if strides is None:
        strides = np.lib.stride_tricks.as_strided(np.empty(0, dtype), shape).strides
    for n, stride in zip(shape, strides, strict=True):
        if n > 1 and (stride < 0 or stride % dtype.itemsize):
            raise ValueError(
                f"{name}: expected strides of whole elements, and none below 0; got {strides} "
                f"bytes for shape {shape}."
            )
    if shape and shape[-1] > 1 and strides[-1] != dtype.itemsize:
        raise ValueError(
            f"{name}: expected an array that is contiguous along its last axis; got strides "
            f"{strides} bytes for shape {shape}. For a transposed view, pass what it is a view of "
            "and say so with trans_a or trans_b; or copy it."
        )
    pairs = zip(shape, strides, strict=True)
    in_elements = tuple(stride // dtype.itemsize if n > 1 else 0 for n, stride in pairs)
    return View(interface, array, shape, in_elements, dtype)


def _check_dtype(name, dtype):
    if dtype.name not in FLOATS or not dtype.isnative:
        raise TypeError(f"{name}: expected float32 or float64; got {dtype}.")


def _check_device(name, pointer):
    """Raise ValueError if an address lies in the memory of another GPU than the current one."""
    if discovery.simulated() or len(discovery.ask_driver().capabilities) == 1 or not pointer:
        return
    from numba import cuda

    found, current = discovery.device_of(pointer), cuda.get_current_device().id
    if found != current:
        raise ValueError(
            f"{name}: expected an array on GPU {current}, the current device; got one on "
            f"{'no GPU' if found is None else f'GPU {found}'}."
        )
