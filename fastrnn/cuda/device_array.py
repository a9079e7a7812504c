"""Arrays on the device that NumPy's functions take: what has no kernel is done on the host.

`DeviceArray` is what the CUDA engine computes with. Layers, optimizers and users' own code may
treat one like an array of NumPy: it goes through operators, ufuncs and functions of NumPy. A few of
these (sums of two arrays, parts of one, arrays put together, rows by their numbers, choices) have a
kernel and give a `DeviceArray`. For all others the values are brought to the host, and what
comes out is an array of NumPy, which the engine takes to the device again when it needs it there.
So everything is right, and what matters is fast.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from fastrnn.cuda import operations
from fastrnn.cuda.memory import Borrowed, Memory
from fastrnn.cuda.parts import are_rows, part_of

__all__ = [
    "DTYPES", "FLOATS", "FUNCTIONS", "UFUNCS", "DeviceArray", "alike", "empty", "is_number",
    "on_device", "to_host",
]

# What kernels have a type for: numbers, ids, and places.
DTYPES = frozenset({"float32", "float64", "int32", "int64"})
FLOATS = frozenset({"float32", "float64"})

# What has kernels: `fastrnn.cuda.numpy_functions` fills these. Each function takes what NumPy's
# does (a ufunc's ``out`` is an array or None) and gives NotImplemented where there is no kernel.
UFUNCS, FUNCTIONS = {}, {}
# Functions that write to their first argument.
WRITING = frozenset({
    np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask,
})  # fmt: skip
# Methods of arrays, done on the host.
METHODS = (
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumsum", "diagonal",
    "dot", "flatten", "item", "max", "mean", "min", "nonzero", "prod", "repeat", "round",
    "searchsorted", "squeeze", "std", "sum", "swapaxes", "tolist", "trace", "transpose", "var",
)  # fmt: skip


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device, C-contiguous.

    Parameters
    ----------
    memory : `fastrnn.cuda.memory.Memory`
    dtype : np.dtype
    start : int
        Where it begins, in elements behind the memory's beginning.
    shape : tuple of int
    twin : callable, optional
        Gives the same values as an array on the host, which was there all along and is not to be
        written to. Only for arrays that nobody writes to: data.

    Examples
    --------
    >>> from fastrnn import cuda
    >>> a = np.arange(6.0).reshape(2, 3)
    >>> b = on_device(a) if cuda.is_available() else a
    >>> np.asarray(b[1] + 1), float(b.sum())
    (array([4., 5., 6.]), 15.0)
    """

    __slots__ = ("_flat", "_twin", "dtype", "limits", "memory", "shape", "start")
    __hash__ = None

    def __init__(self, memory, dtype, start, shape, twin=None, limits=None):
        self.memory = memory
        self.dtype = dtype
        self.start = start
        self.shape = shape
        self.limits = limits  # of ids: none is outside of (least, largest)
        self._twin = twin
        self._flat = None

    # -- as kernels take it ------------------------------------------------------------------------

    @property
    def flat(self):
        """Its elements as a flat array of Numba."""
        if self._flat is None:
            self._flat = self.memory.view(self.dtype, self.start, (self.size,))
        return self._flat

    @property
    def shaped(self):
        """The array of Numba of its own shape."""
        return self.memory.view(self.dtype, self.start, self.shape)

    def view(self, start, shape, twin=None):
        """A part that lies together, ``start`` elements from here on: no copy."""
        return DeviceArray(self.memory, self.dtype, self.start + start, shape, twin, self.limits)

    def with_twin(self, array):
        """This, with the array of the host that has its values; nobody may write to either."""
        self._twin = lambda: array
        return self

    # -- as an array -------------------------------------------------------------------------------

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def T(self):
        return self.host().T

    def host(self):
        """The values as an array of NumPy: a copy, or the one that is there for good."""
        if self._twin is not None:
            return self._twin()
        if not self.size:
            return np.empty(self.shape, self.dtype)
        return self.flat.copy_to_host().reshape(self.shape)

    def __array__(self, dtype=None, copy=None):
        found = self.host()
        if copy and self._twin is not None:
            found = found.copy()
        return found if dtype is None else found.astype(dtype, copy=False)

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __bool__(self):
        return bool(self.host())

    def __float__(self):
        return float(self.host())

    def __int__(self):
        return int(self.host())

    def __repr__(self):
        return f"DeviceArray({self.host()!r})"

    def __reduce__(self):
        # A copy, or what was kept in a file, lies on the host.
        return np.array, (self.host(),)

    def reshape(self, *shape):
        """The same elements in another shape: no copy."""
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        shape = tuple(map(operator.index, shape))
        if -1 in shape:
            known = -math.prod(shape)
            rest = self.size // known if known else 0
            shape = tuple(rest if n == -1 else n for n in shape)
        if math.prod(shape) != self.size:
            raise ValueError(f"cannot reshape an array of shape {self.shape} into {shape}")
        twin = self._twin and (lambda: self._twin().reshape(shape))
        return self.view(0, shape, twin)

    def ravel(self):
        return self.reshape(-1)

    def take(self, index, axis=None, out=None, mode="raise"):
        """Entries by their numbers; rows of the first axis by a kernel."""
        if axis == 0 and out is None and self.ndim:
            return self[np.asarray(index)]
        return _on_host(np.ndarray.take, (self, index), {"axis": axis, "mode": mode, "out": out})

    # -- parts -------------------------------------------------------------------------------------

    def __getitem__(self, key):
        part = part_of(key, self.shape)
        if part is None:
            return self._rows(key) if are_rows(key, self.ndim) else self.host()[key]
        twin = self._twin and (lambda: self._twin()[key])
        if part.together:
            if part.shape == ():
                return self.host()[key]
            return self.view(part.first * part.inner, part.shape, twin)
        found = empty(part.shape, self.dtype, twin, self.limits)
        operations.copy_axis(self, found, *part.sizes, part.place, part.whole)
        return found

    def _rows(self, index):
        """Rows by their numbers, on the device; only the numbers travel."""
        rows, n = np.asarray(index), len(self)
        if rows.size and not (-n <= rows.min() and rows.max() < n):
            raise IndexError(f"row numbers from {rows.min()} to {rows.max()} for {n} rows")
        width = math.prod(self.shape[1:])
        twin = self._twin and (lambda: self._twin()[rows])
        found = empty((len(rows), *self.shape[1:]), self.dtype, twin, self.limits)
        if found.size:
            numbers = on_device(np.where(rows < 0, rows + n, rows).astype(np.int32))
            operations.gather(numbers, self, found, width)
        return found

    def padded(self, starts, lengths, steps):
        """Sequences that lie one behind the other as rows of ``steps`` steps, zeros behind.

        Parameters
        ----------
        starts, lengths : int64 array of shape (B,)
            Where each begins along the first axis, and how long it is: up to ``steps``.
        """
        starts, lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
        if lengths.size and not (
            min(starts.min(), lengths.min()) >= 0 and lengths.max() <= steps
            and (starts + lengths).max() <= len(self)
        ):
            raise IndexError(f"sequences beyond the {len(self)} steps there are")
        limits = self.limits and (min(0, self.limits[0]), max(0, self.limits[1]))
        found = empty((len(starts), steps, *self.shape[1:]), self.dtype, limits=limits)
        width = math.prod(self.shape[1:])
        places = on_device(starts), on_device(lengths)
        if found.size:
            operations.pad(self, *places, found, steps, width)
        return found

    def __setitem__(self, key, value):
        self._twin = self.limits = None
        part = part_of(key, self.shape)
        if part is None:
            host = np.array(self.host())
            host[to_host(key)] = to_host(value)
            self._overwrite(host)
        elif part.together:
            self.view(part.first * part.inner, part.shape)._overwrite(value)
        else:
            value = np.broadcast_to(to_host(value), part.shape) if not alike(
                value, part.shape, self.dtype
            ) else value
            source = on_device(value, self.dtype)
            operations.copy_axis(source, self, *part.sizes, part.whole, part.place)

    def _overwrite(self, value):
        """Give all elements the values of an array or number that can be stretched to them."""
        if not self.size:
            return
        if is_number(value):
            operations.fill(self, value)
        elif alike(value, self.shape, self.dtype):
            if value.memory is not self.memory or value.start != self.start:
                self.flat.copy_to_device(value.flat)
        else:
            host = np.broadcast_to(np.asarray(to_host(value), self.dtype), self.shape)
            self.flat.copy_to_device(np.ascontiguousarray(host).reshape(-1))

    # -- NumPy's protocols -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **kwargs):
        if method == "__call__" and ufunc in UFUNCS and len(out) <= 1 and not kwargs:
            found = UFUNCS[ufunc](*inputs, out=out[0] if out else None)
            if found is not NotImplemented:
                return found
        if out:
            kwargs["out"] = out if len(out) > 1 else out[0]
        return _on_host(getattr(ufunc, method), inputs, kwargs, writes=method == "at")

    def __array_function__(self, function, types, args, kwargs):
        own = FUNCTIONS.get(function)
        if own is not None:
            found = own(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return _on_host(function, args, kwargs, writes=function in WRITING)


def _method(name):
    function = getattr(np.ndarray, name)

    def method(self, *args, **kwargs):
        return _on_host(function, (self, *args), kwargs)

    method.__name__, method.__doc__ = name, f"As `numpy.ndarray.{name}`, on the host."
    return method


for _name in METHODS:
    setattr(DeviceArray, _name, _method(_name))


# -- to and fro ---------------------------------------------------------------------------------


def empty(shape, dtype, twin=None, limits=None):
    """A new array on the device with undefined contents."""
    dtype = np.dtype(dtype)
    shape = tuple(map(operator.index, shape if hasattr(shape, "__len__") else (shape,)))
    memory = Memory(math.prod(shape) * dtype.itemsize)
    return DeviceArray(memory, dtype, 0, shape, twin, limits)


def borrowed(array, owner):
    """A C-contiguous array of Numba as one of these; ``owner`` keeps its memory."""
    return DeviceArray(Borrowed(array, owner), np.dtype(array.dtype), 0, tuple(array.shape))


def on_device(x, dtype=None):
    """``x`` on the device, of the type ``dtype`` (None: its own), with no copy if it is there.

    Raises
    ------
    TypeError
        For a type that the kernels do not have.
    """
    if type(x) is DeviceArray and (dtype is None or x.dtype == dtype):
        return x
    host = np.ascontiguousarray(to_host(x), dtype).reshape(np.shape(x))
    if host.dtype.name not in DTYPES:
        raise TypeError(f"expected one of {sorted(DTYPES)} on the device; got {host.dtype}.")
    limits = twin = None
    if host.dtype.kind == "i":  # ids, which nobody writes to
        limits = (int(host.min()), int(host.max())) if host.size else (0, 0)
        twin = lambda: host  # noqa: E731
    found = empty(host.shape, host.dtype, twin, limits)
    if host.size:
        found.flat.copy_to_device(host.reshape(-1))
    return found


def to_host(x):
    """``x`` with all arrays on the device, however nested, as arrays of NumPy."""
    if type(x) is DeviceArray:
        return x.host()
    if isinstance(x, (list, tuple)):
        found = [to_host(part) for part in x]
        if all(a is b for a, b in zip(found, x, strict=True)):
            return x
        return type(x)(*found) if hasattr(x, "_fields") else type(x)(found)
    return x


def _on_host(function, args, kwargs, writes=False):
    """Call a function of NumPy on the host; where it writes to arrays of the device, it still does.

    ``writes``: to its first argument.
    """
    outs = kwargs.get("out")
    targets = list(outs if isinstance(outs, tuple) else [outs])
    own = [np.array(t.host()) if type(t) is DeviceArray else t for t in targets]
    args_on_host = [to_host(a) for a in args]
    if outs is not None:
        kwargs = kwargs | {"out": tuple(own) if isinstance(outs, tuple) else own[0]}
    if writes and type(args[0]) is DeviceArray:
        args_on_host[0] = np.array(args_on_host[0])
        targets.append(args[0])
        own.append(args_on_host[0])
    found = function(*args_on_host, **{name: to_host(value) for name, value in kwargs.items()})
    for target, array in zip(targets, own, strict=True):
        if type(target) is DeviceArray:
            target[...] = array
            if found is array:
                found = target
    return found


def is_number(x):
    return isinstance(x, (int, float, np.number, np.bool_))


def alike(x, shape, dtype):
    """Whether ``x`` lies on the device and has this shape and type."""
    return type(x) is DeviceArray and x.shape == shape and x.dtype == dtype
