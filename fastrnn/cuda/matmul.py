"""Batched matrix products: what is asked for is checked here, and handed to the kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.cuda import arrays, discovery, launches, stream
from fastrnn.cuda.tiles import choose_tile

__all__ = ["Matrices", "batched_matmul", "multiply", "prepared"]


def batched_matmul(a, b, trans_a=False, trans_b=False, bias=None, activation=None, out=None):
    """Many matrix products of one size on the GPU: ``activation(op(a) @ op(b) + bias)``.

    With B products of (M, K) by (K, N), and op(x) the matrix itself or its transpose.

    Parameters
    ----------
    a : array of shape (B, M, K), or (B, K, M) with ``trans_a``; without B, one for all products
    b : array of shape (B, K, N), or (B, N, K) with ``trans_b``; without B, one for all products
    trans_a, trans_b : bool
        Take the matrices transposed, which costs nothing.
    bias : array of shape (N,) or (B, N), optional
        Added to every row of a product.
    activation : {None, "linear", "relu", "sigmoid", "tanh"}
        Applied to every element, before it is written.
    out : array of shape (B, M, N), or (M, N) if neither a nor b has B, optional
        Where to write the result. It must not overlap the others.

    Returns
    -------
    array of shape (B, M, N), or (M, N) if neither a nor b has B
        ``out`` if it was given. NumPy arrays give a NumPy array: they are copied to the GPU and
        back. Arrays on the GPU (all with ``__cuda_array_interface__``: CuPy, PyTorch, Numba) are
        used where they lie and give an array of Numba there; CuPy and PyTorch take it over without
        a copy. The call then returns before the product is computed: it waits its turn on the
        default stream. Arrays that name a stream of their own (CuPy's) are waited for; PyTorch's
        name none, so what a side stream is to compute must be waited for before.

    Raises
    ------
    RuntimeError
        If there is no GPU, no driver or one that is too old, or no ``numba-cuda``; it says which.
    TypeError
        If an array is neither float32 nor float64, they differ in type, or some lie on the GPU and
        some do not.
    ValueError
        If shapes do not fit, an activation is not known, or an array lies on another GPU than the
        current one, is not contiguous along its last axis, or cannot be written to.

    Notes
    -----
    Arrays on the GPU may have any strides between rows and between matrices. All sums run over k
    in ascending order: a product is the same, bit for bit, whatever else is in the batch.

    The first call for a float type and a class of sizes compiles a kernel.

    Examples
    --------
    >>> import numpy as np
    >>> from fastrnn import cuda
    >>> a = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> b = np.array([[1.0, 0.0], [1.0, -1.0]])
    >>> cuda.batched_matmul(a, b, activation="relu")
    array([[[3., 0.]],
    <BLANKLINE>
           [[7., 0.]]])
    """
    again = _known.get(key := _key(a, b, trans_a, trans_b, bias, activation, out))
    if again is not None:
        again()
        return out
    discovery.require()
    given = {"a": a, "b": b, "bias": bias, "out": out}
    given = {name: array for name, array in given.items() if array is not None}
    on_device = arrays.are_on_device(given)
    checked = {name: arrays.checked(name, array, on_device) for name, array in given.items()}
    product = _product(checked, trans_a, trans_b, activation)
    if out is not None:
        _check_out(product, checked, out)
    if on_device:
        c = checked["out"] if out is not None else arrays.new(product.shape, product.dtype)
        again = _prepared(product, checked, c)
        if key is not None:
            _remember(key, again)
        again()
        return c.owner
    c = arrays.new(product.shape, product.dtype)
    copies = {name: arrays.copied(checked[name]) for name in given if name != "out"}
    _prepared(product, copies, c)()  # which does not keep them
    result = stream.fetch(c.owner)
    if out is None:
        return result
    out[...] = result
    return out


class _Product(NamedTuple):
    """What is to be computed."""

    dtype: np.dtype
    shape: tuple  # of the result
    batch: int
    M: int
    N: int
    K: int
    trans_a: bool
    trans_b: bool
    activation: int


def _product(checked, trans_a, trans_b, activation):
    """The `_Product` of arrays by name."""
    a, b, bias = (checked.get(name) for name in ("a", "b", "bias"))
    for name, array in checked.items():
        if array.dtype != a.dtype:
            raise TypeError(f"{name}: expected {a.dtype}, as a has; got {array.dtype}.")
    for name in ("a", "b"):
        if len(checked[name].shape) not in (2, 3):
            raise ValueError(
                f"{name}: expected a matrix, or (batch, rows, columns); got shape "
                f"{checked[name].shape}."
            )
    M, K = a.shape[-2:][:: -1 if trans_a else 1]
    inner, N = b.shape[-2:][:: -1 if trans_b else 1]
    if inner != K:
        raise ValueError(
            f"b: expected {K} {'columns' if trans_b else 'rows'} for a of shape {a.shape}"
            f"{' with trans_a' if trans_a else ''}; got shape {b.shape}"
            f"{' with trans_b' if trans_b else ''}."
        )
    batches = a.shape[:-2], b.shape[:-2]
    if all(batches) and a.shape[0] != b.shape[0]:
        raise ValueError(f"b: expected {a.shape[0]} matrices, as a has; got shape {b.shape}.")
    shape = (*(batches[0] or batches[1]), M, N)
    batch = shape[0] if len(shape) == 3 else 1
    if bias is not None and bias.shape not in ((N,), (batch, N)):
        raise ValueError(f"bias: expected shape ({N},) or ({batch}, {N}); got {bias.shape}.")
    kind = _activation_number(activation)
    return _Product(a.dtype, shape, batch, M, N, K, bool(trans_a), bool(trans_b), kind)


# What a product on the device was found out to be, launched again for the same places and sizes.
_known, MOST_KNOWN = {}, 64


def _key(a, b, trans_a, trans_b, bias, activation, out):
    """All that a product into ``out`` depends on but the numbers, or None if it is not known so."""
    if discovery.simulated():  # there, a launch keeps the arrays
        return None
    places = [_place(array) for array in ((a, b, out) if bias is None else (a, b, out, bias))]
    options = stream.device(), bool(trans_a), bool(trans_b), activation
    return (*places, *options) if all(places) else None


def _place(array):
    """Where an array on the device lies, and as what; None for others.

    PyTorch's tensors are asked by their own names: they take 2 us to put their interface together,
    and the whole call is to take ten.
    """
    pointer = getattr(array, "data_ptr", None)
    if pointer is not None:
        return pointer(), array.shape, array.stride(), array.dtype, array.requires_grad
    interface = getattr(array, "__cuda_array_interface__", None)
    # Who works in a stream of its own is waited for, at each call.
    if interface is None or interface.get("stream") not in (None, 1):
        return None
    return *interface["data"], interface["shape"], interface.get("strides"), interface["typestr"]


def _remember(key, launch):
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[key] = launch


def _activation_number(activation):
    from fastrnn.cuda.kernels.activations import ACTIVATIONS

    if activation not in (None, *ACTIVATIONS):
        raise ValueError(
            f"activation: expected None or one of {', '.join(ACTIVATIONS)}; got {activation!r}."
        )
    return ACTIVATIONS.index(activation or "linear")


def _check_out(product, checked, out):
    """Raise unless the result can be written to ``out``."""
    view = checked["out"]
    if view.shape != product.shape:
        raise ValueError(f"out: expected shape {product.shape}; got {view.shape}.")
    if not isinstance(view, arrays.View):
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out: expected a NumPy array; got {type(out).__name__}.")
        if not out.flags.writeable:
            raise ValueError("out: expected an array that can be written to; got a read-only one.")
        return
    if view.read_only:
        raise ValueError("out: expected an array that can be written to; got a read-only one.")
    if view.overlaps_itself:
        raise ValueError(
            f"out: expected elements in places of their own; got strides {view.strides} for shape "
            f"{view.shape}."
        )
    for name in ("a", "b", "bias"):
        if name in checked and checked[name].pointer == view.pointer != 0:
            raise ValueError(f"out: expected memory of its own; got that of {name}.")


def prepared(a, b, c, trans_a=False, trans_b=False):
    """A function that computes c = op(a) @ op(b), all `arrays.View`, each time it is called."""
    return _prepared(_product({"a": a, "b": b}, trans_a, trans_b, None), {"a": a, "b": b}, c)


def _prepared(product, views, c):
    def matrices(view):
        step, ld = (0, *view.strides[:-1])[-2:]
        return Matrices(view.flat, step, ld, view.wide)

    bias = views.get("bias")
    return _ready(
        matrices(views["a"]), matrices(views["b"]), matrices(c), product.batch, product.M,
        product.N, product.K, product.trans_a, product.trans_b,
        None if bias is None else (bias.flat, (0, *bias.strides)[-2]), product.activation,
    )


class Matrices(NamedTuple):
    """One matrix for each product: element (i, j) of product p is flat[p * step + i * ld + j]."""

    flat: Any  # array of Numba
    step: int  # 0: one for all products
    ld: int
    wide: bool  # every row begins at a multiple of 16 bytes


def multiply(*arguments, **options):
    """c = activation(op(a) @ op(b) + bias), for `Matrices` that nobody checks: as `_ready`."""
    _ready(*arguments, **options)()


def _ready(a, b, c, batch, M, N, K, trans_a=False, trans_b=False, bias=None, activation=0):
    """A function that computes c = activation(op(a) @ op(b) + bias), for `Matrices`.

    ``bias``: (flat, step), ``activation``: its number, as the kernel takes them.
    """
    if 0 in (batch, M, N):
        return lambda: None
    from fastrnn.cuda.kernels.matmul import Bias, Operand, matmul_kernel

    def operand(matrices, k_is_dense):
        return Operand(matrices.flat, matrices.step, matrices.ld, k_is_dense, matrices.wide)

    dtype, size = c.flat.dtype.name, (batch, M, N)
    tile = choose_tile(dtype, *size, arrays.multiprocessors())
    kernel = matmul_kernel(tile, dtype)
    blocks, threads = tile.blocks(*size), (tile.threads, tile.products)
    arguments = (
        operand(a, not trans_a), operand(b, trans_b),
        Bias(c.flat, 0, False) if bias is None else Bias(*bias, True), operand(c, False),
        *size, K, activation,
    )
    return launches.prepared(kernel, blocks, threads, arguments)
