"""The CUDA engine, on the GPU or in Numba's simulator, against the reference and the CPU engine."""

import contextlib
import copy
import gc

import numpy as np
import pytest
import test_ragged
from engine_cases import CELLS, Problem

import fastrnn
from fastrnn import activations, engines, layers, ops, random, streaming
from fastrnn.interrupts import Shield
from fastrnn.training import scores
from fastrnn.values import Lookup, RowGradient

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from cuda_cases import DTYPES, choose_small_tiles, make_simulator_safe  # noqa: E402

from fastrnn.cuda import discovery, memory, operations, repeated, stream  # noqa: E402
from fastrnn.cuda.device_array import DeviceArray, on_device  # noqa: E402
from fastrnn.cuda.recording import Recording  # noqa: E402
from fastrnn.engines import cuda  # noqa: E402
from fastrnn.masks import StepMask  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
reference = engines._engine("reference")


@pytest.fixture(autouse=True)
def safe(monkeypatch):
    make_simulator_safe(monkeypatch)
    choose_small_tiles(monkeypatch)


@pytest.fixture
def gpu():
    with engines.using("cuda") as engine:
        yield engine


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@contextlib.contextmanager
def nothing_fetched():
    """Fail where the values of an array on the device are brought to the host."""
    with stream.watched() as trips:
        yield
    assert "to the host" not in {where for where, _ in trips}


def close(found, wanted, dtype=None):
    """Equal up to rounding, relative to the largest element; what was found is of this type."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert dtype is None or found.dtype == dtype
    scale = max(1.0, np.abs(wanted).max(initial=0))
    np.testing.assert_allclose(
        found / scale, wanted / scale, rtol=0, atol=TOLERANCE[found.dtype.name]
    )


# -- arrays ---------------------------------------------------------------------


@pytest.fixture
def pair(gpu, rng):
    """The same numbers on the host and on the device."""
    a = rng.normal(size=(3, 4, 2))
    return a, gpu.asarray(a)


KEYS = [
    0, -1, slice(1, 3), slice(None), Ellipsis, (0, 1), (slice(None), 1), (..., 1),
    (slice(None), slice(1, 3)), slice(None, None, -1), (slice(None), slice(None, None, -1)),
    (..., slice(0, 2, 2)), [2, 0, 0], np.array([-1, 1]), (slice(1, 2), 1), None, (0, 1, 1),
    np.array([True, False, True]), (slice(None), slice(3, 1)), (slice(None), [0, 2]),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_parts_of_an_array_are_those_of_numpy(pair, key):
    a, b = pair
    np.testing.assert_array_equal(np.asarray(b[key]), a[key])
    value = np.full(a[key].shape, 7.0)
    for given in (3.0, value, on_device(value)):
        a[key] = b[key] = 1.0
        a[key], b[key] = np.asarray(given), given
        np.testing.assert_array_equal(np.asarray(b), a)


def test_contiguous_parts_are_views(pair):
    a, b = pair
    for key in (1, slice(0, 2), Ellipsis):
        assert b[key].memory is b.memory
    b[1][...] = 5
    b.reshape(6, 4)[5] = 6
    a[1], a.reshape(6, 4)[5] = 5, 6
    np.testing.assert_array_equal(np.asarray(b), a)


@pytest.mark.parametrize("key", [3, (0, 4), (0, 0, 0, 0), [3], np.array([-4])], ids=str)
def test_no_part_outside(pair, key):
    with pytest.raises(IndexError):
        pair[1][key]


OPERATIONS = [
    lambda a: a + a, lambda a: a - 2, lambda a: 2 - a, lambda a: 1 / (a * a + 1), lambda a: -a,
    lambda a: a * np.arange(2.0), lambda a: np.ones((3, 4, 2)) / a, lambda a: a > 0,
    lambda a: np.exp(a), lambda a: a @ a.swapaxes(1, 2), lambda a: a.sum(axis=1), np.square,
    lambda a: np.where(a > 0, a, 0), lambda a: np.where(np.ones((3, 1, 1), bool), a, 0),
    lambda a: np.where(np.array([[[True], [False], [True], [False]]] * 3), 1, a),
    lambda a: np.concatenate([a, a, np.zeros((3, 1, 2))], axis=1), np.zeros_like,
    lambda a: np.concatenate([a, a], axis=-1), lambda a: np.stack([a, a]),
    lambda a: np.split(a, [1, 3], axis=1)[1], lambda a: np.expand_dims(a, 1),
    lambda a: a.take([1, 1], axis=0), lambda a: a.reshape(-1), lambda a: a.reshape((4, -1)),
    lambda a: np.maximum(a, 0), lambda a: np.moveaxis(a, 0, -1), lambda a: a + np.float64(1),
]  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_are_those_of_numpy(pair, operation):
    a, b = pair
    found, wanted = operation(b), operation(a)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-15)


# Of a (3, 4, 2), row (4, 1), some (3, 1, 2), one (), which all lie on the device.
KERNELS = {
    **{f"stretched {f.__name__}": (lambda a, row, some, one, f=f: f(a, row)) for f in (
        np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum)},
    **{f.__name__: (lambda a, row, some, one, f=f: f(a)) for f in (
        np.negative, np.absolute, np.sign, np.square, np.exp, np.expm1, np.tanh, np.reciprocal)},
    **{f"{f.__name__} of what is positive": (lambda a, row, some, one, f=f: f(a * a + 1)) for f in (
        np.sqrt, np.log, np.log1p)},
    **{f"{f.__name__}, chosen by": (lambda a, row, some, one, f=f: np.where(f(a, some), a, 0))
       for f in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)},
    "power": lambda a, row, some, one: np.abs(a) ** row + a**3,
    "maximum of a number": lambda a, row, some, one: np.maximum(0.1, a),
    "stretched both": lambda a, row, some, one: row * some,
    "stretched from the host": lambda a, row, some, one: a * np.arange(2.0, dtype=a.dtype),
    "a number of the device": lambda a, row, some, one: (a / one, 2 * one, one + one),
    "of other types": lambda a, row, some, one: (a > 0) * a + a.astype("float64"),
    "counted": lambda a, row, some, one: (
        (a > some).sum(axis=1, keepdims=True).astype(a.dtype), (a > 0).sum(axis=2).astype(a.dtype)),
    "both": lambda a, row, some, one: np.where(~((a > 0) & (a < 1)) | (a == one), a, some),
    "booleans stretched": lambda a, row, some, one: np.where((a > 0) | (row > 0), 1, some),
    "chosen by the host": lambda a, row, some, one: (
        np.where(np.array([[[True], [False], [True], [False]]] * 3), 1, a)),
    "chosen stretched": lambda a, row, some, one: np.where(row > 0, some, one),
    "chosen by numbers": lambda a, row, some, one: np.where(a, some, 7),
    "clip": lambda a, row, some, one: (a.clip(-0.5, 0.5), np.clip(a, some - 1, some)),
    **{f"{f.__name__} over {axes}": (
        lambda a, row, some, one, f=f, axes=axes: (f(a, axes), f(a, axis=axes, keepdims=True)))
       for f, those in {
           np.sum: (None, 0, 1, -1, (0, 1), (2, 1), (0, 2), ()), np.mean: (None, 1, (0, 2), ()),
           np.max: (None, 1, -1, (0, 2)), np.min: (1, -1)}.items()
       for axes in those},
    "sum in double precision": lambda a, row, some, one: (
        np.sum(a, dtype=np.float64), (a > 0).sum(dtype=np.float64)),
    "where the largest is": lambda a, row, some, one: (
        np.argmax(a, axis=-1).astype(a.dtype), row.argmax(1).astype(a.dtype)),
    "methods": lambda a, row, some, one: (a.sum(), a.mean(0), a.max(1), a.min(axis=(1, 2))),
    "transposed": lambda a, row, some, one: (
        a.T, a.transpose(0, 2, 1), a.transpose((2, 1, 0)), a.swapaxes(0, -1), some.swapaxes(1, 2)),
    "moved": lambda a, row, some, one: (np.moveaxis(a, 1, -1), np.moveaxis(a, -1, 0)),
    "four axes": lambda a, row, some, one: a.reshape(3, 2, 2, 2).T + row.reshape(2, 2, 1, 1),
    "stretched out": lambda a, row, some, one: (
        np.broadcast_to(some, (2, 3, 4, 2)), np.repeat(a, 3, axis=1), np.repeat(some, 2, axis=-1)),
    "product": lambda a, row, some, one: (
        a @ a.swapaxes(1, 2), some @ np.ones((1, 2, 3), a.dtype), a @ np.ones((2, 5), a.dtype),
        row @ row.T),
    "put together": lambda a, row, some, one: (
        np.concatenate([a, some], axis=1), np.stack([a, a], axis=1), np.stack([a, a], axis=-1),
        *np.split(a, [1, 3], axis=1), *np.split(a, indices_or_sections=np.array([2]), axis=-2)),
    "other shapes": lambda a, row, some, one: (
        np.expand_dims(a, 1), some.squeeze(1), np.squeeze(some), a[:, None], a[None, ..., None, 1],
        a[1, None, :, None], a.flatten(), a.copy()),
    "taken": lambda a, row, some, one: (
        np.take_along_axis(a, np.array([[[3], [-1]]] * 3), axis=1), a[[0, 2, 0]],
        np.take_along_axis(a, np.array([[[2]]]).repeat(4, 1).repeat(2, 2), axis=0)),
    "new": lambda a, row, some, one: (
        np.zeros_like(a), np.ones_like(a), np.zeros_like(a, shape=(2, 5))),
}  # fmt: skip
ON_THE_HOST = {"taken"}  # in part


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_functions_of_numpy_that_have_kernels(gpu, rng, dtype, name, monkeypatch):
    """They give what NumPy gives, without a copy to the host."""
    monkeypatch.setattr(operations, "FOLD_SHARE", 3)  # several shares of an axis
    monkeypatch.setattr(operations, "REDUCING", 5)
    arrays = [rng.normal(size=size).astype(dtype) for size in ((3, 4, 2), (4, 1), (3, 1, 2), ())]
    own = [on_device(a) for a in arrays]
    with contextlib.nullcontext() if name in ON_THE_HOST else nothing_fetched():
        found = KERNELS[name](*own)
    wanted = KERNELS[name](*arrays)
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for a, b in pairs:
        assert isinstance(a, DeviceArray) or name in ON_THE_HOST
        close(a, b, b.dtype)


def test_what_is_no_number_stays(gpu):
    a = np.array([[np.nan, 1.0], [2.0, np.nan], [-1.0, 0.0]])
    b = on_device(a)
    for f in (
        lambda x: np.maximum(x, 0), lambda x: np.minimum(0, x), lambda x: np.maximum(0, x),
        lambda x: x.max(axis=0), lambda x: x.min(axis=1), lambda x: x.sum(axis=1), np.sign,
        lambda x: x.max(), lambda x: np.clip(x, 0, 1),
    ):
        np.testing.assert_array_equal(np.asarray(f(b)), f(a))


def test_more_axes_than_kernels_have(gpu, rng):
    a = rng.normal(size=(2, 2, 2, 2, 2))
    b, row = on_device(a), rng.normal(size=(2, 1, 2, 1))
    for f in (lambda x: x.T, lambda x: x + row, lambda x: np.where(row > 0, x, 1),
              lambda x: np.broadcast_to(x[..., :1, :], x.shape)):
        np.testing.assert_array_equal(np.asarray(f(b)), f(a))
    b[...] = b[:1, :, :1, :, :1]
    np.testing.assert_array_equal(np.asarray(b), np.broadcast_to(a[:1, :, :1, :, :1], a.shape))


@pytest.mark.compiled
@pytest.mark.parametrize("width", [1, 5, 70])
def test_the_first_of_the_largest(gpu, rng, width):
    """As NumPy has it where several are as large, and where some are no numbers."""
    a = rng.integers(-2, 3, (40, width)).astype("float32")
    a[rng.random(a.shape) < 0.5 / width] = np.nan
    a[a == 1] = -0.0
    found = np.argmax(on_device(a), axis=1)
    assert isinstance(found, DeviceArray)
    np.testing.assert_array_equal(np.asarray(found), np.argmax(a, axis=1))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_functions_of_empty_arrays(gpu, shape):
    a = np.zeros(shape)
    b = on_device(a)
    for f in (lambda x: x + x[:1], lambda x: x.sum(axis=0), lambda x: x.T, lambda x: x @ x.T,
              lambda x: np.where(x > 0, x, 1), lambda x: np.repeat(x, 2, axis=1), np.exp):
        np.testing.assert_array_equal(np.asarray(f(b)), f(a))


@pytest.mark.parametrize("bad", [
    lambda a: a + np.ones(3), lambda a: a.sum(axis=3), lambda a: a.sum(axis=(0, 0)),
    lambda a: a.transpose(0, 0, 1), lambda a: a @ a, lambda a: np.broadcast_to(a, (3, 4)),
    lambda a: a.squeeze(0), lambda a: a.__setitem__(slice(0, 2), np.ones((3, 4, 2))),
    lambda a: a.transpose(0, 1, 5), lambda a: a.swapaxes(0, 3), lambda a: np.moveaxis(a, 0, 3),
    lambda a: np.expand_dims(a, 4), lambda a: np.concatenate([a, a], axis=-4),
    lambda a: np.stack([a, a], axis=4),
    lambda a: a.__iadd__(np.ones((2, 3, 4, 2))),
])  # fmt: skip
def test_what_does_not_fit_is_refused_as_by_numpy(pair, bad):
    for x in pair:
        with pytest.raises(ValueError):  # NumPy's errors of axes are such, too
            bad(x)


def test_a_grid_is_within_what_a_gpu_has(monkeypatch):
    """Up to 2^31 - 1 blocks along the first axis, 65,535 along the others, whatever is summed."""
    grids = []
    monkeypatch.setattr(operations, "launch", lambda kernel, blocks, *_: grids.append(blocks))
    some = on_device(np.ones(1, np.float32))
    for outer, n, inner in ((1, 2, 3_000_000), (3_000_000, 2, 3), (100_000, 600, 1), (1, 2, 3)):
        operations.fold("sum", some, outer, n, inner, some)
    assert len(grids) >= 4
    for grid in grids:
        first, *others = grid if isinstance(grid, tuple) else (grid,)
        assert first < 2**31 and all(n <= 65_535 for n in others)


def test_another_float_type_is_made_on_the_device(gpu, pair):
    a, b = pair
    with nothing_fetched():
        found = gpu.asarray(b, np.float32), on_device(b > 0, np.float32)
    for one, wanted in zip(found, (a, a > 0), strict=True):
        close(one, wanted.astype(np.float32), np.float32)


def test_sums_along_axes_repeat_bit_for_bit(gpu, rng, monkeypatch):
    monkeypatch.setattr(operations, "FOLD_SHARE", 4)  # several shares of an axis
    a = on_device(rng.normal(size=(3, 11, 3)).astype(np.float32))
    for axes in (0, 1, 2, (0, 1), None):
        first, again = (np.asarray(a.sum(axis=axes)) for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_parts_of_one_array_that_overlap(pair):
    """What is read is what was there before anything was written."""
    a, b = pair
    for x in (a, b):
        x[1:] += x[:-1]
        x[:-1] = x[1:]
        x *= x[1]
        x[:, 1:] = x[:, :-1]
        x[::2] = x[1]
        x[[0, 2]] = x[:2]
        x[...] = x[:1]
    np.testing.assert_allclose(np.asarray(b), a, rtol=1e-15)


def test_writing_of_rows_and_what_is_stretched(pair):
    a, b = pair
    some = np.arange(8.0).reshape(4, 2)
    with nothing_fetched():
        b[[2, 0]] = on_device(some)
        b[:, 1] = on_device(some[:1, :])
        b[1] = on_device(some[0])
        b[[-2]] += 1
    a[[2, 0]], a[:, 1], a[1] = some, some[:1], some[0]
    a[[-2]] += 1
    np.testing.assert_array_equal(np.asarray(b), a)
    b[[1, 1]] = a[[1, 1]] = np.stack([some, some + 1])  # the last one counts
    np.testing.assert_array_equal(np.asarray(b), a)


def test_a_number_on_the_device_is_one_of_python_when_it_is_asked_for(gpu):
    found = on_device(np.arange(4.0)).sum()
    assert float(found) == 6 and f"{found:.1f}" == "6.0" and bool(found > 5)


def test_counting_gives_an_array_of_ones_own(gpu):
    like = on_device(np.zeros(1))
    np.arange(3, like=like)[...] = 7
    assert np.asarray(np.arange(3, like=like)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("write", [
    lambda a: a.reshape(2, 3).__setitem__(..., 9), lambda a: a[2:].__setitem__(0, 9),
    lambda a: np.add(a.reshape(2, 3), 9, out=a.reshape(2, 3)),
], ids=["all of a view", "one of a part", "a view as out"])  # fmt: skip
def test_what_is_known_of_an_array_ends_when_a_view_is_written_to(gpu, write):
    a, b = np.arange(6), on_device(np.arange(6))
    view = b.reshape(3, 2)
    write(a), write(b)
    assert b.limits is None and view.limits is None
    np.testing.assert_array_equal(np.asarray(b), a)
    np.testing.assert_array_equal(np.asarray(view), a.reshape(3, 2))


def test_ids_are_not_those_of_the_host_array_any_more(gpu):
    host = np.arange(3)
    there = on_device(host)
    host[0] = 99
    assert np.asarray(there).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_what_begins_anywhere(gpu, rng, dtype):
    """States lie one behind the other: the second of three rows of three begins at no multiple of
    16 bytes."""
    room = cuda.Room(gpu, np.dtype(dtype))
    states = rng.normal(size=(2, 3, 3)).astype(dtype)
    there = room.new((2, 3, 3), dtype)
    there.copy_to_device(states)
    second = room.taken(there[1])
    W = rng.normal(size=(4, 4)).astype(dtype)
    found = second.reshape(-1)[:8].reshape(2, 4) @ on_device(W)
    close(found, states[1].ravel()[:8].reshape(2, 4) @ W)


def test_writing_in_place(pair):
    a, b = pair
    for x in (a, b):
        x += x
        x *= 0.5
        x[1] -= 1
        x[:, 1] += 2
        np.clip(x, -1, 1, out=x)
        np.multiply(x, 3, out=x)
        np.add.at(x, ([0, 0], 0, 0), 1.0)
        np.copyto(x, 9, where=x > 2)
    assert isinstance(b, DeviceArray)
    np.testing.assert_array_equal(np.asarray(b), a)
    host = np.ones_like(a)
    host += b
    np.testing.assert_array_equal(host, 1 + a)


def test_a_copy_or_a_pickled_array_lies_on_the_host(pair):
    assert type(copy.deepcopy(pair[1])) is np.ndarray


def test_memory_is_used_again(gpu):
    first = gpu.zeros((100,), np.float32)
    block = first.memory._block
    del first
    assert gpu.zeros((99,), np.float32).memory._block is block


def test_data_on_the_device_is_known_on_the_host(gpu):
    ids = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    staged = gpu.staged(ids)
    assert np.shares_memory(staged.host(), ids) and np.shares_memory(staged[1:].host(), ids)
    np.testing.assert_array_equal(staged[[2, 0]].host(), ids[[2, 0]])
    assert staged[[2, 0]].limits == (1, 6)
    part = staged[0]
    part[...] = 7  # what is written to is asked again
    np.testing.assert_array_equal(part.host(), [7, 7])


@pytest.mark.parametrize("width", [(), (2,)])
def test_sequences_become_rows(gpu, rng, width):
    flat = rng.integers(3, 9, (7, *width)).astype(np.int32)
    starts, lengths = np.array([5, 0, 3]), np.array([2, 3, 0])
    found = gpu.asarray(flat).padded(starts, lengths, 4)
    wanted = np.zeros((3, 4, *width), np.int32)
    wanted[0, :2], wanted[1, :3] = flat[5:], flat[:3]
    np.testing.assert_array_equal(np.asarray(found), wanted)
    assert found.limits == (0, flat.max())  # what would be checked as ids
    for starts, lengths in (([6], [2]), ([-1], [1]), ([0], [5]), ([0], [-1])):
        with pytest.raises(IndexError):
            gpu.asarray(flat).padded(starts, lengths, 4)


# -- methods of the engine --------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_lookup_and_back(gpu, rng, dtype, shape):
    table = rng.normal(size=(6, 3)).astype(dtype)
    ids = rng.integers(0, 6, shape).astype(np.int32)
    close(gpu.lookup(ids, table), table[ids], dtype)
    dy, start = rng.normal(size=(*shape, 3)).astype(dtype), rng.normal(size=(6, 3)).astype(dtype)
    dtable, wanted = gpu.asarray(start), start.astype(np.float64)
    gpu.lookup_backward(ids, dy, dtable)
    reference.lookup_backward(ids, dy, wanted)
    close(dtable, wanted, dtype)


@pytest.mark.compiled
def test_a_sum_of_rows_does_not_depend_on_their_order(gpu, rng):
    ids = np.zeros(50, np.int32)
    dy = (rng.normal(size=(50, 2)) * 10.0 ** rng.integers(-6, 6, (50, 1))).astype(np.float32)
    dy[:, 1] = np.abs(dy).max()  # the largest sum that there can be
    sums = []
    for order in (np.arange(50), np.arange(50)[::-1], rng.permutation(50)):
        dtable = gpu.zeros((1, 2), np.float32)
        gpu.lookup_backward(ids, dy[order], dtable)
        sums.append(np.asarray(dtable))
    np.testing.assert_array_equal(sums[0], sums[1])
    np.testing.assert_array_equal(sums[0], sums[2])
    np.testing.assert_allclose(sums[0][0], dy.sum(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.compiled
@pytest.mark.parametrize("size", [1e-290, 1e-40, 1e300])
def test_a_sum_of_rows_of_any_size(gpu, size):
    dtable = gpu.zeros((3, 1), np.float64)
    gpu.lookup_backward(np.array([1, 1, 2], np.int32), np.array([[1.0], [0.5], [-2.0]]) * size,
                        dtable)
    np.testing.assert_allclose(np.asarray(dtable)[:, 0], np.array([0, 1.5, -2]) * size, rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_shows(gpu, bad):
    dtable = gpu.zeros((3, 1), np.float32)
    gpu.lookup_backward(
        np.array([1, 1, 2], np.int32), np.array([[bad], [1], [1]], np.float32), dtable
    )
    found = np.asarray(dtable)[:, 0]
    assert found[0] == 0 and np.isnan(found[1])


@pytest.mark.parametrize("ids", [[0, 6], [-1, 2]])
def test_ids_outside_the_table_never_reach_a_kernel(gpu, ids):
    ids, table = np.array(ids, np.int32), np.zeros((6, 2))
    bad = [i for i in ids if not 0 <= i < 6][0]
    for call in (
        lambda: gpu.lookup(ids, table), lambda: gpu.lookup_backward(ids, np.ones((2, 2)), table),
        lambda: gpu.recurrent(CELLS["simple_rnn"], Lookup(ids[None], table), np.zeros((2, 2))),
    ):
        with pytest.raises(IndexError, match=f"token id {bad} is outside"):
            call()
    assert gpu.lookup(gpu.asarray(ids)[:0], table).shape == (0, 2)


def test_rows_that_are_added(gpu, rng):
    values, dtable = rng.normal(size=(2, 3)), rng.normal(size=(5, 3))
    wanted = dtable.copy()
    wanted[[1, 4]] += values
    own = gpu.asarray(dtable.copy())
    gpu.add_rows(RowGradient(np.array([1, 4], np.int32), values), own)
    close(own, wanted)
    gpu.add_rows(RowGradient(np.arange(5), dtable), own)
    close(own, wanted + dtable)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (9, 3), (0, 3)])
def test_projection_and_back(gpu, rng, dtype, shape, monkeypatch):
    monkeypatch.setattr(engines.cuda, "ROWS_OF_PART", 4)  # several shares, and some rows left
    monkeypatch.setattr(operations, "FOLD_SHARE", 3)
    x, W, b = (rng.normal(size=s).astype(dtype) for s in (shape, (3, 4), (4,)))
    close(gpu.project(x, W, b), x @ W + b, dtype)
    close(gpu.project(x, W), x @ W, dtype)
    dz = rng.normal(size=(*shape[:-1], 4)).astype(dtype)
    start = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=4).astype(dtype)
    dW, db = map(gpu.asarray, start)
    on_host, wanted = [a.copy() for a in start], [a.copy() for a in start]
    dx = gpu.project_backward(x, W, dz, dW, db)
    assert gpu.project_backward(x, W, dz, *on_host, need_dx=False) is None
    wanted_dx = reference.project_backward(x, W, dz, *wanted)
    close(dx, wanted_dx, dtype)
    for found in ((dW, db), on_host):
        close(found[0], wanted[0], dtype)
        close(found[1], wanted[1], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(cuda.KERNEL_ACTIVATIONS))
def test_activations(gpu, rng, dtype, name):
    z, dy = (rng.normal(size=(3, 7), scale=3).astype(dtype) for _ in range(2))
    z[0, :3] = 0, -50, 50
    y = reference.activate(name, z.astype(np.float64))
    wanted = reference.activate_backward(name, z.astype(np.float64), y, dy.astype(np.float64))
    z, dy = map(on_device, (z, dy))
    z._twin = None
    with nothing_fetched():
        found = gpu.activate(name, z)
        back = gpu.activate_backward(name, z, found, dy)
    close(found, y, dtype)
    close(back, wanted, dtype)


@pytest.mark.parametrize("name", [
    *sorted({*activations._TABLE} - cuda.KERNEL_ACTIVATIONS),
    activations.Activation("sine", np.sin, lambda z, y, dy: dy * np.cos(z)),
])
def test_activations_without_a_kernel(gpu, rng, name):
    z, dy = (rng.normal(size=(3, 7)).astype(np.float32) for _ in range(2))
    y = gpu.activate(name, on_device(z))
    dz = gpu.activate_backward(name, on_device(z), y, on_device(dy))
    assert gpu.holds(y) and gpu.holds(dz)
    close(y, reference.activate(name, z), np.float32)
    close(dz, reference.activate_backward(name, z, np.asarray(y), dy), np.float32)


OF_ROWS = {name for name in activations._TABLE if "max" in name}


@pytest.mark.parametrize("name", sorted({*activations._TABLE} - OF_ROWS))
def test_activations_of_what_is_no_number(gpu, name):
    found = np.asarray(gpu.activate(name, np.array([np.nan, 1.0])))
    assert np.isnan(found[0]) and not np.isnan(found[1])


LOSSES = ["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy",
          "mean_squared_error", "mean_absolute_error"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("from_logits", [False, True])
def test_losses(gpu, rng, dtype, kind, from_logits):
    output = rng.normal(size=(5, 6), scale=4) if from_logits else rng.uniform(0, 1, (5, 6))
    output[0, :2] = 0.0, 1.0  # where probabilities are cut off
    target = rng.uniform(0, 1, (5, 6))
    target[1] = output[1]
    if kind.startswith("sparse"):
        target = rng.integers(0, 6, 5)
    weight = rng.uniform(0.5, 2, 5)
    given = [a.astype(dtype) if a.dtype.kind == "f" else a for a in (target, output, weight)]
    found = gpu.loss(kind, *given, from_logits)
    wanted = reference.loss(kind, *given, from_logits)
    close(found[0], wanted[0], dtype)
    close(found[1], wanted[1], dtype)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_that_is_no_number_shows(gpu, kind):
    output, target = np.full((1, 2), np.nan), np.array([[0.0, 1.0]])
    target = np.array([1]) if kind.startswith("sparse") else target
    with np.errstate(invalid="ignore"):
        for logits in (False, True):
            assert np.isnan(np.asarray(gpu.loss(kind, target, output, np.ones(1), logits)[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 5, 200])
def test_sums(gpu, rng, dtype, size, monkeypatch):
    monkeypatch.setattr(operations, "REDUCING", 7)
    a = rng.normal(size=size).astype(dtype)
    for name in ("sum_squares", "sum_magnitudes"):
        found, wanted = (getattr(engine, name)(a) for engine in (gpu, reference))
        assert float(found) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*invalid value")  # infinity times zero
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("factor", "entry"), [
    (1e-3, 1.0), (1.0, 1.0), (1e3, 1.0), (0.0, 1.0), (1.0, np.inf), (1.0, np.nan),
])  # fmt: skip
@pytest.mark.parametrize("parts", [[slice(None)], [slice(0, 3), slice(5, 7)]], ids=str)
@pytest.mark.parametrize("needs_direction", [False, True])
def test_limited_norms(gpu, rng, dtype, factor, entry, parts, needs_direction):
    gradient = (rng.normal(size=8) * factor).astype(dtype)
    gradient[1] *= entry
    own, on_host = gpu.asarray(gradient.copy()), gradient.copy()
    reference.limit_norm(gradient, parts, 1.0, needs_direction)
    with nothing_fetched():
        gpu.limit_norm(own, parts, 1.0, needs_direction)
    gpu.limit_norm(on_host, parts, 1.0, needs_direction)
    for found in (own, on_host):
        np.testing.assert_allclose(np.asarray(found), gradient, rtol=TOLERANCE[dtype])


FORMULA_LOSSES = {
    name: getattr(fastrnn.losses, name)() for name in (
        "Huber", "LogCosh", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError",
        "Poisson", "KLDivergence", "CosineSimilarity", "Hinge", "SquaredHinge", "CategoricalHinge",
        "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy",
    )
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULA_LOSSES)
@pytest.mark.parametrize("from_logits", [False, True])
def test_losses_that_are_formulas_stay_on_the_device(gpu, rng, dtype, name, from_logits):
    loss = FORMULA_LOSSES[name]
    output = rng.normal(size=(5, 4)) if from_logits else rng.uniform(0, 1, (5, 4))
    output = np.abs(output) if name == "Poisson" else output
    target = rng.integers(0, 2, (5, 4)) if "Hinge" in name else rng.uniform(0.1, 1, (5, 4))
    given = [a.astype(dtype) for a in (target, output, rng.uniform(0.5, 2, 5))]
    with engines.using("reference"):
        wanted = loss.flat(*given, from_logits)
    there = [*map(gpu.asarray, given)]
    with nothing_fetched():
        found = loss.flat(*there, from_logits)
    assert all(isinstance(part, DeviceArray) for part in found)
    close(found[0], wanted[0], dtype)
    close(found[1], wanted[1], dtype)


RULES = [
    ("sgd", [], {"momentum": 0.0, "nesterov": False}),
    ("sgd", ["momentum"], {"momentum": 0.9, "nesterov": False}),
    ("sgd", ["momentum"], {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", ["velocity"], {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False}),
    ("rmsprop", ["velocity", "momentum", "average_gradient"],
     {"rho": 0.9, "momentum": 0.5, "epsilon": 1e-7, "centered": True}),
    ("adam", ["momentum", "velocity"],
     {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7, "amsgrad": False}),
    ("adam", ["momentum", "velocity", "velocity_hat"],
     {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-7, "amsgrad": True}),
]


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "names", "hyper"), RULES)
def test_updates(gpu, rng, dtype, rule, names, hyper):
    hyper = hyper | {"learning_rate": 0.1}
    value = rng.normal(size=9).astype(dtype)
    own = gpu.asarray(value.copy()), {n: gpu.zeros(9, dtype) for n in names}
    wanted = value.astype(np.float64), {n: np.zeros(9) for n in names}
    for _ in range(3):
        grad = rng.normal(size=9).astype(dtype)
        grads = gpu.asarray(grad), grad.astype(np.float64)
        gpu.update(rule, own[0], grads[0], own[1], **hyper)
        reference.update(rule, wanted[0], grads[1], wanted[1], **hyper)
        assert not np.asarray(grads[0]).any()
    close(own[0], wanted[0], dtype)
    for name in names:
        close(own[1][name], wanted[1][name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["Adagrad", "Adadelta", "Adamax", "Nadam", "Lion", "Ftrl"])
def test_updates_that_are_formulas_stay_on_the_device(gpu, rng, dtype, name):
    optimizer = getattr(fastrnn.optimizers, name)(0.1)
    value, starts = rng.normal(size=9).astype(dtype), optimizer.slot_starts()
    slots = {n: np.full(9, starts.get(n, 0), dtype) for n in optimizer.slot_names()}
    own = gpu.asarray(value.copy()), {n: gpu.asarray(a.copy()) for n, a in slots.items()}
    wanted = value.astype(np.float64), {n: a.astype(np.float64) for n, a in slots.items()}
    for _ in range(3):
        grad = rng.normal(size=9).astype(dtype)
        there, hyper = gpu.asarray(grad), optimizer.hyper()
        with nothing_fetched():
            gpu.update(optimizer.rule, own[0], there, own[1], **hyper)
        reference.update(optimizer.rule, wanted[0], grad.astype(np.float64), wanted[1], **hyper)
        optimizer.steps += 1
        assert not np.asarray(there).any()
    close(own[0], wanted[0], dtype)
    for name in slots:
        close(own[1][name], wanted[1][name], dtype)


def on_gpu(problem):
    """The outputs and gradients of a `Problem`, with all its arrays on the device."""
    own = copy.copy(problem)
    engine = engines.current()
    for name in ("x", "W", "U", "b", "bias", "ids", "dy"):
        if (array := getattr(own, name)) is not None:
            setattr(own, name, engine.asarray(array))
    return own.run(engine)


def check(dtype="float64", **kwargs):
    """Hold a `Problem` on the device against the reference."""
    problem = Problem(**kwargs, dtype=np.dtype(dtype).type)
    wanted = problem.run(reference)
    for found in (on_gpu(problem), problem.run(engines.current())):
        assert found.keys() == wanted.keys()
        for name in wanted:
            close(found[name], wanted[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_sweeps(gpu, dtype, cell):
    check(dtype, seed=0, rows=2, steps=3, width=3, units=3, cell=cell, state=True, sequences=True,
          mask="runs")


@pytest.mark.parametrize("cell", CELLS)
def test_sweeps_of_lookups(gpu, cell):
    check(seed=1, rows=2, steps=3, width=3, units=3, cell=cell, lookup=True, padded=True)


@pytest.mark.parametrize("case", [
    {"noise": 1}, {"rows": 1, "units": 33, "cell": "simple_rnn"},
    {"activation": "gelu", "sequences": True}, {"noise": 1, "lookup": True},
], ids=str)  # fmt: skip
def test_sweeps_that_have_no_kernel(gpu, case):
    check(**{"seed": 2, "rows": 2, "steps": 2, "width": 1, "units": 2, "cell": "lstm"} | case)


def test_an_array_that_does_not_fit_never_reaches_a_kernel(gpu):
    x, W = np.ones((2, 3)), np.ones((3, 4))
    cell, xz, U = CELLS["simple_rnn"], np.ones((2, 3, 4)), np.ones((4, 4))
    for call, name in [
        (lambda: gpu.project(np.ones((2, 4)), W), "x"),
        (lambda: gpu.project(x, W, np.ones(3)), "b"),
        (lambda: gpu.project_backward(x, W, np.ones((2, 3)), W), "dz"),
        (lambda: gpu.activate_backward("tanh", x, x, W), "dy"),
        (lambda: gpu.recurrent(cell, xz[..., :3], U), "xz"),
        (lambda: gpu.recurrent(cell, xz, U, [np.ones((2, 3))]), "states"),
        (lambda: gpu.loss("mean_squared_error", x, x, np.ones(3)), "weight"),
        (lambda: gpu.update("sgd", x[0], x[0], {"momentum": W[0]}, learning_rate=1, momentum=1,
                            nesterov=False), "momentum"),
    ]:
        with pytest.raises(ValueError, match=rf"^{name}(\[0\])?: expected (a C-con.* )?shape"):
            call()


# -- models -----------------------------------------------------------------------


def small_model(recurrent=lambda: layers.SimpleRNN(3), head="sigmoid", seed=5, dtype=None):
    fastrnn.utils.set_random_seed(seed)
    return fastrnn.Sequential([
        fastrnn.Input((4,)), layers.Embedding(7, 2, mask_zero=True), recurrent(),
        layers.Dense(1, activation=head),
    ])  # fmt: skip


def data(rows=5, steps=4, seed=3):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, (rows, steps)), rng.integers(0, 2, rows)


def trained(device, make=small_model, x=None, optimizer="rmsprop", epochs=2, y=None, batch_size=4,
            **options):
    """The weights and the history of a model after two epochs on a device."""
    context = engines.using(device) if device else contextlib.nullcontext()
    x = data()[0] if x is None else x
    y = data()[1][: len(x)] if y is None else y
    with context:
        model = make()
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=0, **options)
        return model.get_weights(), history.history, model


def same(found, wanted, tolerance=1e-5):
    for a, b in zip(found[0], wanted[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    for name in wanted[1]:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=0, atol=tolerance)


@pytest.mark.compiled
def test_training_as_on_the_cpu_and_bit_for_bit_repeatable():
    found = trained("cuda")
    same(found, trained("cpu"))
    again = trained("cuda")
    for a, b in zip(found[0], again[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1] == again[1]
    assert all(isinstance(p.value, DeviceArray) for p in found[2].parameters)


def plain_model(recurrent=lambda: layers.SimpleRNN(3)):
    fastrnn.utils.set_random_seed(5)
    return fastrnn.Sequential([
        fastrnn.Input((None,)), layers.Embedding(7, 2), recurrent(),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip


def normalizing():
    """What remembers the batches that it has seen, and a penalty for each."""
    return fastrnn.Sequential([
        layers.SimpleRNN(2, return_sequences=True, activity_regularizer="l2"),
        layers.BatchNormalization(momentum=0.5, gamma_regularizer="l1"),
        layers.LayerNormalization(), layers.GlobalMaxPooling1D(),
    ])  # fmt: skip


@pytest.fixture
def recordings(monkeypatch):
    """How often each of the recordings that are made is done again.

    Each time in another of the orders that are allowed, by the random numbers of ``orders``: as
    good as at once, for two calls that may not change places would be seen to.
    """
    made, orders = [], np.random.default_rng(0)

    class Counted(Recording):
        def __init__(self, function):
            super().__init__(function)
            self.place = len(made)
            made.append(0)

        def _launch(self):
            made[self.place] += 1
            if discovery.simulated():
                again_in_another_order(self, orders)
            else:
                super()._launch()

    monkeypatch.setattr(repeated, "Recording", Counted)
    return made


def again_in_another_order(recording, orders):
    """Do it again, each call after those that it waits for; gives the numbers of the calls."""
    done, left = [], set(range(len(recording.calls)))
    while left:
        ready = [i for i in sorted(left) if left.isdisjoint(recording.waits[i])]
        done.append(int(orders.choice(ready)))
        left.remove(done[-1])
        recording.calls[done[-1]]()
    return done


@pytest.mark.parametrize(("recurrent", "optimizer"), [
    (lambda: layers.SimpleRNN(2), fastrnn.optimizers.Adam),
    (lambda: layers.Bidirectional(layers.SimpleRNN(1)), fastrnn.optimizers.SGD),
    (normalizing, lambda: fastrnn.optimizers.SGD(0.1, global_clipnorm=0.5)),
], ids=["simple_rnn", "both ways", "normalizing"])  # fmt: skip
def test_steps_are_recorded_and_done_again(recordings, recurrent, optimizer):
    """Of 2 rows twice an epoch, of the rest once, each from the third time on."""
    x, y = data(steps=3)[0], np.arange(5) % 2
    results = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            model = plain_model(recurrent)
            model.compile(optimizer(), "binary_crossentropy", metrics=["accuracy"])
            history = model.fit(x, y, epochs=3, batch_size=2, verbose=0).history
            results[device] = model.get_weights(), history
    same(results["cuda"], results["cpu"])
    assert recordings == [4, 1]


@pytest.mark.parametrize(("loss", "optimizer"), [
    ("hinge", "nadam"), ("huber", "adagrad"), ("categorical_hinge", "lion"), ("kld", "ftrl"),
    ("binary_focal_crossentropy", "adamax"), ("cosine_similarity", "adadelta"),
])
def test_steps_whose_losses_are_formulas_are_recorded(recordings, loss, optimizer):
    x, y = data(steps=3)[0], np.arange(5) % 2
    results = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            model = plain_model(lambda: layers.SimpleRNN(2))
            model.compile(optimizer, loss, metrics=["auc", "precision", "mae"])
            history = model.fit(x, y, epochs=3, batch_size=2, verbose=0).history
            results[device] = model.get_weights(), history
    same(results["cuda"], results["cpu"])
    assert recordings == [4, 1]


# Loss, metric, the activation of the output; labels are class numbers for the first, else ones.
ASKED = {
    "class numbers": ("sparse_categorical_crossentropy", "accuracy", "softmax"),
    "one-hot labels": ("categorical_crossentropy", "accuracy", "softmax"),
    "yes or no": ("binary_crossentropy", "binary_accuracy", "sigmoid"),
    "of one's own": ("mse", lambda y, p: np.abs(p).mean(axis=-1), None),
}


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ASKED)
def test_what_metrics_ask_of_many_outputs_is_summed_there(recordings, rng, monkeypatch, kind):
    """Accuracies as on the CPU; but where a metric of one's own looks at the outputs, they come."""
    monkeypatch.setattr(scores, "MOST_WAITING", 8)
    loss, metric, head = ASKED[kind]
    x, y = rng.integers(0, 7, (8, 3)), rng.integers(0, 4, (8, 3))
    if kind != "class numbers":
        y = np.eye(4)[y]

    def run(device):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            model = fastrnn.Sequential([
                layers.Embedding(7, 2), layers.SimpleRNN(3, return_sequences=True),
                layers.Dense(4, activation=head),
            ])  # fmt: skip
            model.compile("sgd", loss, metrics=[metric])
            history = model.fit(x, y, batch_size=2, epochs=3, verbose=0).history
            return history | {"evaluated": model.evaluate(x, y, batch_size=2, verbose=0)}

    looked_at, own = [], scores.Head.update
    monkeypatch.setattr(
        scores.Head, "update", lambda self, *batches: looked_at.append(1) or own(self, *batches)
    )
    found = run("cuda")
    assert sum(recordings) > 4
    assert bool(looked_at) == (kind == "of one's own")
    wanted = run("cpu")
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


@pytest.mark.compiled
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("pooled", [False, True])
def test_steps_whose_mask_reaches_the_loss_are_recorded(recordings, rng, reduction, pooled):
    """Or a layer that looks at each step. One row has none that counts."""
    x, y = rng.integers(1, 7, (8, 3)), rng.integers(0, 4, (8, 3))
    x[:4, 0] = x[3] = 0
    if pooled:
        y = y[:, 0]

    def run(device):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            model = fastrnn.Sequential([
                layers.Embedding(7, 2, mask_zero=True),
                layers.SimpleRNN(3, return_sequences=True), layers.BatchNormalization(),
                *[layers.GlobalAveragePooling1D()] * pooled, layers.Dense(4, activation="softmax"),
            ])  # fmt: skip
            loss = fastrnn.losses.SparseCategoricalCrossentropy(reduction=reduction)
            model.compile("sgd", loss, metrics=["accuracy"])
            return model.fit(x, y, batch_size=2, epochs=3, verbose=0).history, model.get_weights()

    found, weights = run("cuda")
    assert sum(recordings) > 4
    wanted, wanted_weights = run("cpu")
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    for a, b in zip(weights, wanted_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["both ways", "backwards, zeros", "ids that mask, maximum"])
def test_sequences_of_different_lengths(gpu, name):
    """Their filling is left out of maxima, and of what is read backwards, as on the CPU."""
    found = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(1)
            model = test_ragged.chain(name)
            model.compile("sgd", "mse")
            losses = [model.train_on_batch(test_ragged.ROWS, np.arange(6.0)) for _ in range(2)]
            found[device] = [*losses, *model.get_weights()]
    for a, b in zip(found["cuda"], found["cpu"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_nothing_of_a_fit_hangs_in_a_cycle(recordings):
    """The device's memory is free again without the collector, which may come late."""
    x, y = data(steps=3)[0], np.arange(5) % 2
    blocks = []
    with engines.using("cuda"):
        model = plain_model()
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(x, y, batch_size=2, verbose=0)
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                model.fit(x, y, epochs=2, batch_size=2, verbose=0)
                memory.release()
                blocks.append(len(memory._blocks))
        finally:
            gc.enable()
    assert sum(recordings) > 2
    assert len(set(blocks)) == 1


def test_a_recording_uses_the_memory_of_its_sweeps_again(gpu, rng, monkeypatch):
    monkeypatch.setattr("fastrnn.cuda.recording.FRESH", 0)
    cell, U = CELLS["simple_rnn"], on_device(rng.normal(size=(3, 3)))
    x = on_device(rng.normal(size=(2, 4, 3)))

    def chained(count):
        def swept():
            found = x
            for _ in range(count):
                found = gpu.recurrent(cell, found, U, return_sequences=True, keep=False)[0]
            return found

        swept()
        before = len(memory._blocks)
        recording = Recording(swept)
        taken = len(memory._blocks) - before
        recording()
        close(recording.result, swept())
        return taken

    assert chained(8) == chained(4)


def test_a_step_that_finds_no_memory_to_be_recorded_goes_on_without(monkeypatch):
    def recording(function):
        raise MemoryError

    x, y = data(steps=3)[0], np.arange(5.0)
    histories = []
    for broken in (False, True):
        if broken:
            monkeypatch.setattr(repeated, "Recording", recording)
        with engines.using("cuda"):
            model = plain_model()
            model.compile("sgd", "mse")
            histories.append(model.fit(x, y, epochs=4, batch_size=2, verbose=0).history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("shuffle", [True, False])
def test_row_numbers_travel_once_an_epoch(recordings, shuffle):
    x, y = data(steps=3)[0], np.arange(5.0)
    with engines.using("cuda"):
        model = plain_model()
        model.compile("sgd", "mse")
        model.fit(x, y, batch_size=3, verbose=0)
        with stream.watched() as trips:
            model.fit(x, y, epochs=3, batch_size=3, shuffle=shuffle, verbose=0)
    sent = [size for where, size in trips if where == "to the device"]
    # Labels, and the order: of each epoch, or once for all.
    assert sent.count(5) == (4 if shuffle else 2) and not {2, 3} & {*sent}, trips


def test_a_mask_of_more_steps(gpu, rng):
    xz, U = rng.normal(size=(2, 3, 3)), rng.normal(size=(3, 3))
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 3\), .*; got \(2, 5\)"):
        gpu.recurrent(CELLS["simple_rnn"], xz, U, mask=StepMask.from_lengths([4, 5], steps=5))


def test_large_results_of_recordings_do_not_pile_up(gpu, monkeypatch):
    monkeypatch.setattr(repeated.Results, "MOST", 64)
    array = on_device(np.zeros(5, "float32"))  # 20 bytes: three side by side
    results = repeated.Results((array, [array], 3.0))
    assert results._times == 1
    results, found = repeated.Results(array), []
    for i in range(7):
        array[...] = i
        found.append(results.now())
    assert [float(a[0]) for a in found] == [*range(7)]
    assert len({id(a.memory) for a in found}) == 3


@pytest.mark.skipif(not discovery.simulated(), reason="a GPU chooses the order itself")
@pytest.mark.parametrize("make", [
    lambda: layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
    lambda: layers.RNN([layers.SimpleRNNCell(2), layers.GRUCell(3, reset_after=False)]),
    normalizing,
], ids=["both ways", "stacked", "normalizing"])  # fmt: skip
def test_what_need_not_wait_gives_the_same_bits_in_any_order(gpu, rng, make):
    layer = make()
    layer.build((None, 3, 2))
    layer.move()
    x = gpu.asarray(rng.normal(size=(2, 3, 2)).astype(np.float32))
    y, _ = layer.forward(x, training=True)
    dy = gpu.asarray(rng.normal(size=y.shape).astype(np.float32))

    def there_and_back():
        _, tape = layer.forward(x, training=True)
        return layer.backward(tape, dy)

    def found(again):
        for p in layer.parameters:
            p.grad[...] = 0
        order = again()
        return order, [np.array(a) for a in (recording.result, *(p.grad for p in layer.parameters))]

    recording, orders = Recording(there_and_back), np.random.default_rng(1)
    _, wanted = found(recording)
    for _ in range(5):
        order, results = found(lambda: again_in_another_order(recording, orders))
        assert order != sorted(order), "nothing changed places"
        for a, b in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.compiled
def test_two_directions_do_not_wait_for_each_other(gpu, rng):
    layer = layers.Bidirectional(layers.SimpleRNN(2))
    layer.build((None, 3, 2))
    x = gpu.asarray(rng.normal(size=(2, 3, 2)).astype(np.float32))
    layer.forward(x)
    recording = Recording(lambda: layer.forward(x))
    if discovery.simulated():
        kernels = [getattr(call, "__self__", None) for call in recording.calls]
        names = [kernel and kernel.kernel.fn.__name__ for kernel in kernels]
        first, second = (i for i, name in enumerate(names) if name == "forward")
        assert first not in before(recording.waits, second)


def before(waits, number):
    """All that a call comes after."""
    found = set(waits[number])
    return found.union(*(before(waits, other) for other in found))


@pytest.mark.compiled
@pytest.mark.parametrize("recurrent", [
    lambda: layers.LSTM(2, dropout=0.3, recurrent_dropout=0.2, seed=1),
    lambda: layers.Bidirectional(layers.SimpleRNN(2)),
    lambda: layers.SimpleRNN(2, go_backwards=True),
], ids=["dropout", "both ways", "backwards"])  # fmt: skip
def test_steps_with_masks_and_dropout_are_recorded(recordings, recurrent):
    """Bounds of masks are found once, numbers are drawn where they are needed, each time others."""
    x, y = data(steps=3)[0], np.arange(5) % 2
    x[x == 0] = 1
    x[0, 0], x[1, :2], x[2] = 0, 0, 0  # padding before, and a row of nothing else
    results, calls = {}, {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            model = fastrnn.Sequential([
                fastrnn.Input((None,)), layers.Embedding(7, 2, mask_zero=True), recurrent(),
                layers.Dropout(0.5), layers.Dense(1, activation="sigmoid"),
            ])  # fmt: skip
            model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
            history = model.fit(x, y, epochs=3, batch_size=2, verbose=0).history
            results[device] = model.get_weights(), history
            calls[device] = [source.calls for source in random.streams_of(model)]
    same(results["cuda"], results["cpu"])
    assert recordings == [4, 1]
    assert calls["cuda"] == calls["cpu"] and calls["cpu"][-1] == 9


def test_steps_behind_masking_are_recorded(recordings):
    x = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    x[0, 2], x[1, :2], x[2], x[3, 1, 0] = 5, 5, 5, 5
    results = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            model = fastrnn.Sequential([
                fastrnn.Input((3, 2)), layers.Masking(5.0), layers.SimpleRNN(2), layers.Dense(1),
            ])  # fmt: skip
            model.compile("sgd", "mse")
            history = model.fit(x, np.arange(5.0), epochs=3, batch_size=2, verbose=0).history
            results[device] = model.get_weights(), history
    same(results["cuda"], results["cpu"])
    assert recordings == [4, 1]


def test_masks_of_outputs_without_a_loss_are_those_of_their_step(recordings):
    """They wait for the metrics, while the next steps are done."""
    x, y = data(steps=3)[0], np.arange(5.0)
    x[x == 0] = 1
    x[0, :1], x[1, :2], x[3, :1] = 0, 0, 0
    results = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            ids = fastrnn.Input((3,))
            h = layers.Embedding(7, 2, mask_zero=True)(ids)
            h = layers.SimpleRNN(2, return_sequences=True)(h)
            a, b = layers.Dense(1, name="a")(h), layers.Dense(1, name="b")(layers.SimpleRNN(2)(h))
            model = fastrnn.Model(ids, [a, b])
            model.compile("sgd", loss=[None, "mse"], metrics=[["mae"], None])
            targets = [np.stack([y] * 3, axis=1)[..., None], y]
            history = model.fit(x, targets, epochs=3, batch_size=1, verbose=0).history
            results[device] = model.get_weights(), history
    same(results["cuda"], results["cpu"])
    assert recordings == [13]


def test_a_recording_keeps_off_the_number_of_calls(gpu, monkeypatch):
    """That lies in memory of its own, however often the recording uses its memory again."""
    monkeypatch.setattr("fastrnn.cuda.recording.FRESH", 0)
    ours, theirs = random.Stream(3), random.Stream(3)
    a = gpu.asarray(np.arange(9, dtype=np.float32))
    draws = [engine.dropout_mask(source, (9,), 0.5, "float32")
             for engine, source in ((gpu, ours), (reference, theirs))]
    np.testing.assert_array_equal(np.array(draws[0]), draws[1])

    def work():
        for _ in range(3):
            a + a
        return gpu.dropout_mask(ours, (9,), 0.5, "float32") + a * 0

    recording = Recording(work)
    for _ in range(3):
        recording()
        wanted = reference.dropout_mask(theirs, (9,), 0.5, "float32")
        np.testing.assert_array_equal(np.array(recording.result), wanted)


def test_an_interrupted_repetition_is_not_counted(gpu, monkeypatch):
    ours, theirs = random.Stream(3), random.Stream(3)
    for engine, source in ((gpu, ours), (reference, theirs)):
        engine.dropout_mask(source, (9,), 0.5, "float32")
    recording = Recording(lambda: gpu.dropout_mask(ours, (9,), 0.5, "float32"))
    recording()  # from here on the device counts by itself
    reference.dropout_mask(theirs, (9,), 0.5, "float32")
    launch = recording._launch

    def interrupted():
        launch()
        raise KeyboardInterrupt

    monkeypatch.setattr(recording, "_launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recording()
    monkeypatch.setattr(recording, "_launch", launch)
    recording()
    wanted = reference.dropout_mask(theirs, (9,), 0.5, "float32")
    np.testing.assert_array_equal(np.array(recording.result), wanted)
    assert ours.calls == theirs.calls


def test_memory_runs_out_while_a_step_is_recorded(gpu, monkeypatch):
    """What the recording has used is used again, and given back to nobody."""
    def allocated(shape, dtype):
        if len(taken) == 2:
            raise MemoryError
        taken.append(shape)
        return own(shape, dtype)

    own, taken = memory.allocated, []
    a = gpu.asarray(np.arange(4.0))
    monkeypatch.setattr(memory, "allocated", allocated)
    recording = Recording(lambda: (a + 1) + 2 + 3 + 4)
    memory.release()
    recording()
    np.testing.assert_array_equal(np.array(recording.result), [10, 11, 12, 13])
    with pytest.raises(MemoryError):
        Recording(lambda: [a + 1, a + 2])


def test_a_value_for_each_feature_is_looked_for_on_the_host(gpu):
    x = np.array([[[5, 6], [1, 6]], [[5, 6], [5, 7]]], np.float32)
    numbers = on_device(np.array([1, 0], np.int32))
    found = gpu.padding_mask(gpu.staged(x)[numbers], np.array([5, 6]))
    np.testing.assert_array_equal(np.asarray(found), [[False, True], [False, True]])


def test_what_was_drawn_in_between_counts(gpu):
    """A recording goes on with the calls that come next, whoever drew before."""
    ours, theirs = random.Stream(3), random.Stream(3)

    def draw(engine, source):
        return engine.dropout_mask(source, (9,), 0.5, "float32")

    with pytest.raises(stream.NotRecordable, match="nobody has drawn"):
        Recording(lambda: draw(gpu, ours))
    np.testing.assert_array_equal(np.array(draw(gpu, ours)), draw(reference, theirs))
    recording = Recording(lambda: [draw(gpu, ours) for _ in range(2)])
    assert ours.calls == 1
    for between in range(2):
        recording()
        for found in recording.result:
            np.testing.assert_array_equal(np.array(found), draw(reference, theirs))
        if between:
            draw(gpu, ours), draw(reference, theirs)
    recording()
    for found in recording.result:
        np.testing.assert_array_equal(np.array(found), draw(reference, theirs))
    assert ours.calls == theirs.calls == 8
    with pytest.raises(stream.NotRecordable):
        Recording(lambda: float(gpu.dropout_mask(ours, (1,), 0.5, "float32").sum()))
    assert ours.calls == 8


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2, 2)])
def test_masking_of_what_has_no_features_or_too_many_axes(gpu, shape):
    x = gpu.asarray(np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=r"mask: expected one flag for each row and step"):
        layers.Masking().compute_mask(x, None)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (9,), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("seed", [0, 7, 2**64 + 5])
def test_the_same_is_dropped_as_on_the_cpu(gpu, dtype, shape, seed):
    ours, theirs = random.Stream(seed), random.Stream(seed)
    for rate in (0.25, 0.1, 0.9):
        found = gpu.dropout_mask(ours, shape, rate, dtype)
        wanted = reference.dropout_mask(theirs, shape, rate, dtype)
        assert found.dtype == dtype and found.shape == wanted.shape
        np.testing.assert_array_equal(np.asarray(found), wanted)


def test_steps_with_numbers_from_the_host_are_not_recorded(recordings):
    """Masks with holes say on the host which steps go where; words are dropped there."""
    x = data()[0][:4]
    x[0] = [1, 0, 2, 0]
    trained("cuda", small_model, x=x, epochs=1, batch_size=1)
    assert not recordings


def test_bounds_of_rows_that_were_written_to(gpu):
    """What was known of data holds for their rows as long as nobody changes these."""
    ids = np.array([[0, 1, 2], [3, 4, 0], [0, 0, 5]], np.int32)
    staged = gpu.staged(ids)
    numbers = on_device(np.array([2, 0], np.int32))
    rows = staged[numbers]
    found = gpu.padding_mask(rows)
    assert isinstance(found.start, DeviceArray) and found.shape == (2, 3)
    np.testing.assert_array_equal(np.asarray(found), ids[[2, 0]] != 0)
    np.testing.assert_array_equal(np.asarray(found.flip()), ids[[2, 0], ::-1] != 0)
    np.testing.assert_array_equal(np.asarray(found.any), [True, True])
    part = rows[1:]
    part[...] = np.array([[7, 0, 0]])
    np.testing.assert_array_equal(np.asarray(gpu.padding_mask(rows)), [[0, 0, 1], [1, 0, 0]])


def test_what_is_done_again_gives_results_of_its_own_each_time(gpu, recordings):
    a = gpu.asarray(np.arange(4.0))
    repeated = gpu.repeated(lambda index: (a[index] * 2, [a.shape], None), rows=4)
    order = np.array([0, 1, 3, 3, 2, 0, 2, 3, 1, 0])  # of parts of one array, and of others
    parts = [*(order[i : i + 2] for i in range(0, 10, 2)), np.array([1]), np.array([3, 1])]
    found = [repeated(part)[0] for part in parts]
    assert recordings == [5]
    wanted = [[0, 2], [6, 6], [4, 0], [4, 6], [2, 0], [2], [6, 2]]
    for one, numbers in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, numbers)
    with pytest.raises(IndexError, match="row numbers from 1 to 4 for 4 rows"):
        repeated(np.array([1, 4]))


def test_what_cannot_be_recorded(gpu):
    a = gpu.asarray(np.arange(4.0))
    for work in (lambda: a.cumsum(), lambda: gpu.asarray(np.ones(3)), lambda: float(a[0])):
        with pytest.raises(stream.NotRecordable, match="go to the"):
            Recording(work)
    with pytest.raises(stream.NotRecordable, match="inside another"):
        Recording(lambda: Recording(lambda: None))
    np.testing.assert_array_equal(a + a, [0, 2, 4, 6])  # nothing is being recorded any more


@pytest.mark.parametrize("recurrent", [
    lambda: layers.LSTM(2), lambda: layers.Bidirectional(layers.GRU(2)),
    lambda: layers.RNN([layers.SimpleRNNCell(2), layers.SimpleRNNCell(2)]),
    lambda: layers.SimpleRNN(2, dropout=0.5, recurrent_dropout=0.5, seed=1),
    lambda: layers.SimpleRNN(2, recompute=2, go_backwards=True, activity_regularizer="l2"),
], ids=["lstm", "both ways", "stacked", "dropout", "in pieces"])  # fmt: skip
def test_other_layers_train_as_on_the_cpu(recurrent):
    def make():
        return small_model(recurrent)

    x = data()[0][:3]
    x[0, 2:], x[1] = 0, [0, 3, 0, 2]  # padding, and a hole
    options = {"make": make, "x": x, "epochs": 1, "optimizer": "adam"}
    same(trained("cuda", **options), trained("cpu", **options))


def test_sequences_of_different_lengths_train_as_on_the_cpu():
    x = [[1, 2, 3], [4], [5, 6]]
    options = {"x": x, "epochs": 1}
    same(trained("cuda", **options), trained("cpu", **options))


def test_layers_and_options_of_optimizers(monkeypatch):
    monkeypatch.setattr(fastrnn.config, "_floatx", "float64")

    def make():
        fastrnn.utils.set_random_seed(1)
        return fastrnn.Sequential([
            fastrnn.Input((4, 2)), layers.Masking(), layers.Dense(3, kernel_regularizer="l2"),
            layers.LayerNormalization(), layers.GlobalMaxPooling1D(), layers.BatchNormalization(),
            layers.Dropout(0.5, seed=1), layers.Dense(1, activation="sigmoid"),
        ])  # fmt: skip

    x = np.random.default_rng(0).normal(size=(5, 4, 2))
    for optimizer in (
        lambda: fastrnn.optimizers.SGD(0.1, momentum=0.5, clipvalue=0.1, use_ema=True),
        lambda: fastrnn.optimizers.AdamW(0.1, global_clipnorm=0.1, gradient_accumulation_steps=2),
    ):
        options = {"make": make, "x": x, "epochs": 1}
        same(trained("cuda", optimizer=optimizer(), **options),
             trained("cpu", optimizer=optimizer(), **options), 1e-9)


def functional():
    """Two inputs, one of them looked up in two places; two outputs."""
    words, given = fastrnn.Input((3,)), fastrnn.Input((3, 2))
    features = layers.Multiply()([layers.Embedding(7, 2)(words), given])
    read = layers.GRU(2)(features)
    both = layers.Concatenate()([read, layers.GlobalAveragePooling1D()(features)])
    return fastrnn.Model([words, given], [
        layers.Dense(1, activation="sigmoid", name="yes")(both),
        layers.Dense(3, activation="softmax", name="which")(both),
    ])  # fmt: skip


def token_dropout():
    return fastrnn.Sequential([
        layers.TokenDropout(0.5, replacement=[0, 1, 1, 0, 2, 3, 4], seed=1),
        layers.Embedding(7, 2, dropout=0.5, seed=2), layers.Flatten(), layers.Dense(1),
    ])  # fmt: skip


def by_step():
    return fastrnn.Sequential([
        layers.SimpleRNN(2, return_sequences=True), layers.TimeDistributed(layers.Dense(1)),
    ])  # fmt: skip


@pytest.mark.parametrize(("make", "inputs", "loss", "options"), [
    (functional, ["ids", "floats"], ["mse", "sparse_categorical_crossentropy"], {}),
    (token_dropout, ["ids"], "mse", {"sample_weight": np.arange(4.0), "validation_split": 0.25}),
    (by_step, ["floats"], "mae", {"truncate": 2}),
], ids=["functional", "token dropout", "by step"])  # fmt: skip
def test_models_of_other_forms(make, inputs, loss, options, rng, monkeypatch):
    monkeypatch.setattr(fastrnn.config, "_floatx", "float64")
    arrays = {"ids": rng.integers(0, 7, (4, 3)), "floats": rng.normal(size=(4, 3, 2))}
    x, y = [arrays[name] for name in inputs], rng.integers(0, 2, 4)
    x, y = (x, [y, y]) if len(x) > 1 else (x[0], arrays["floats"][..., :1] if "truncate" in options
                                           else y)
    found = []
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(1)
            model = make()
            model.compile("rmsprop", loss)
            history = model.fit(x, y, epochs=1, batch_size=2, verbose=0, **options)
            found.append((model.get_weights(), history.history))
    same(*found, 1e-12)


def test_a_model_moves_with_the_device_and_its_optimizer_with_it():
    wanted = trained("cpu", optimizer="adam", epochs=2, shuffle=False)
    x, y = data()
    for first, second in (("cpu", "cuda"), ("cuda", "cpu")):
        model = trained(first, optimizer="adam", epochs=1, shuffle=False)[2]
        with engines.using(second) as engine:
            model.fit(x, y, epochs=1, batch_size=4, verbose=0, shuffle=False)
            assert all(engine.holds(p.value) for p in model.parameters)
            assert all(engine.holds(slot) for slot in model.optimizer.slots.values())
            predicted = model.predict(x, verbose=0)
        same((model.get_weights(), {}), (wanted[0], {}))
        assert type(predicted) is np.ndarray
        close(model.predict(x, verbose=0), predicted)  # and back to the CPU
        close(model.layers[0](x[:1]), model.get_weights()[0][x[:1]])


def test_a_stateful_layer_brings_its_states_along():
    def make():
        fastrnn.utils.set_random_seed(2)
        return fastrnn.Sequential([
            fastrnn.Input((3, 2), batch_size=2), layers.SimpleRNN(2, stateful=True),
        ])  # fmt: skip

    x = np.random.default_rng(1).normal(size=(2, 3, 2))
    wanted = make()
    outputs = [wanted.predict(x, verbose=0) for _ in range(3)]
    model = make()
    for device, output in zip(("cpu", "cuda", "cpu"), outputs, strict=True):
        with engines.using(device):
            close(model.predict(x, verbose=0), output)


def test_evaluating_and_single_batches():
    x, y = data()
    results = []
    for device in ("cpu", "cuda"):
        with engines.using(device):
            model = small_model()
            model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
            results.append([
                *model.evaluate(x, y, batch_size=4, verbose=0), *model.train_on_batch(x, y),
                *model.predict_on_batch(x[:2])[:, 0], *np.asarray(model(x[:2]))[:, 0],
            ])  # fmt: skip
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-6)


def test_a_model_trained_there_is_saved_and_loaded(tmp_path):
    x, y = data()
    _, _, model = trained("cuda", epochs=1)
    for name in ("model.fastrnn", "model.keras"):
        with engines.using("cuda"):
            model.save(tmp_path / name)
            loaded = fastrnn.saving.load_model(tmp_path / name)
            assert all(isinstance(p.value, DeviceArray) for p in loaded.parameters)
        on_cpu = fastrnn.saving.load_model(tmp_path / name)
        for a, b, c in zip(*(m.get_weights() for m in (model, loaded, on_cpu)), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)
    copied = copy.deepcopy(model)
    close(copied.predict(x, verbose=0), model.predict(x, verbose=0))


class Steps:
    """A model after some steps on a device, each on two rows.

    ``sent`` and ``fetched`` are the sizes of the arrays that travelled meanwhile, beside which what
    is fetched to tell the loss.
    """

    def __init__(self, device, make, x, y, optimizer=lambda: fastrnn.optimizers.SGD(1.0), steps=1):
        fastrnn.utils.set_random_seed(1)
        model = make()
        with engines.using(device):
            model.compile(optimizer(), "mse", metrics=["mae"])
            model._rows(x)  # builds it
            model._prepare()
            batches = model._data(x, y)
            with stream.watched() as trips, Shield() as shield:
                for first in range(steps):
                    model._train_step(batches.batch(np.array([first + 2, first])), shield)
            self.sent, self.fetched = (
                [size for there, size in trips if there == where]
                for where in ("to the device", "to the host")
            )
            self.results = model._scores.results()
            self.weights = model.get_weights()


def test_per_batch_only_row_numbers_and_factors_travel():
    """Nothing comes back before somebody asks, and what goes there does not grow with T."""
    x, y = data(rows=4, steps=9)
    steps = Steps("cuda", lambda: fastrnn.Sequential([
        fastrnn.Input((9,)), layers.Embedding(7, 2), layers.SimpleRNN(2), layers.Dense(1),
    ]), x, y, steps=2)  # fmt: skip
    assert not steps.fetched and max(steps.sent) <= 2


L = layers


def over_floats(*parts):
    """A model that starts from floats (B, 3, 2)."""
    return fastrnn.Sequential([fastrnn.Input((3, 2)), *parts, L.Flatten(), L.Dense(1)])


def over_ids(*parts, **embedding):
    """A model that starts from ids (B, 3), masked with holes."""
    embedding = {"mask_zero": True} | embedding
    return fastrnn.Sequential([
        fastrnn.Input((3,)), L.Embedding(7, 2, **embedding), *parts, L.Flatten(), L.Dense(1),
    ])  # fmt: skip


def merged(*merges, **embedding):
    """A model that merges a looked up sequence with itself, shifted, and with its last state."""
    ids = fastrnn.Input((3,))
    words = L.Embedding(7, 2, **embedding)(ids)
    read = L.SimpleRNN(2, return_sequences=True)(words)
    found = [merge([words, read]) for merge in merges]
    last = L.SimpleRNN(2)(words)
    ended = L.Add()([found[0], last]) if found[0].shape[1:] == (3, 2) else found[0]
    flat = [L.Flatten()(part) for part in (*found, ended)]
    return fastrnn.Model(ids, L.Dense(1)(L.Concatenate()(flat)))


def dense(**options):
    return over_floats(L.Dense(3, **options))


class Leaky(L.RecurrentCell):
    """A cell of one's own, step by step."""

    def __init__(self, units=2, **kwargs):
        super().__init__(**kwargs)
        self.state_size = units

    def create(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], self.state_size), name="kernel")

    def forward(self, x, states, training=False):
        engine = engines.current()
        x = engine.asarray(x)
        z = 0.5 * states[0] + engine.project(x, self.kernel.value)
        y = np.tanh(z)
        return y, [y], (x, y)

    def backward(self, tape, dy, dstates):
        x, y = tape
        dz = (dy + dstates[0]) * (1 - np.square(y))
        dx = engines.current().project_backward(x, self.kernel.value, dz, self.kernel.grad)
        return dx, [0.5 * dz]


# What runs on the device alone: by name a function that makes a model, and an optimizer.
WHOLLY = {
    **{f"activation {name}": (lambda name=name: dense(activation=name))
       for name in ("gelu", "softmax")},
    "dropout": lambda: over_floats(L.Dropout(0.5)),
    "dropout, shared": lambda: over_floats(L.Dropout(0.5, noise_shape=(None, None, 1))),
    "spatial dropout": lambda: over_floats(L.SpatialDropout1D(0.5)),
    "embedding dropout": lambda: over_ids(L.SimpleRNN(2), dropout=0.5),
    "token dropout": lambda: fastrnn.Sequential([
        fastrnn.Input((3,)), L.TokenDropout(0.5, 1), L.Embedding(7, 2), L.Flatten(), L.Dense(1)]),
    "masking": lambda: over_floats(L.Masking(), L.SimpleRNN(2, return_sequences=True)),
    "layer normalization": lambda: over_floats(L.LayerNormalization()),
    "layer normalization, two axes": lambda: over_floats(
        L.LayerNormalization(axis=[1, 2], scale=False)),
    "batch normalization": lambda: over_floats(L.BatchNormalization()),
    "batch normalization, steps": lambda: over_floats(L.BatchNormalization(axis=1)),
    "batch normalization, masked": lambda: over_ids(L.BatchNormalization()),
    "average": lambda: over_floats(L.GlobalAveragePooling1D()),
    "average, masked": lambda: over_ids(L.GlobalAveragePooling1D()),
    "average, channels first": lambda: over_floats(
        L.GlobalAveragePooling1D("channels_first", keepdims=True)),
    "maximum": lambda: over_floats(L.GlobalMaxPooling1D()),
    "maximum, channels first": lambda: over_floats(L.GlobalMaxPooling1D("channels_first")),
    "repeat": lambda: over_floats(L.SimpleRNN(2), L.RepeatVector(3)),
    "permute, reshape": lambda: over_floats(L.Permute((2, 1)), L.Reshape((3, 2))),
    "flatten, channels first": lambda: over_floats(L.Flatten("channels_first")),
    "merges": lambda: merged(L.Add(), L.Subtract(), L.Average(), L.Multiply()),
    "choices": lambda: merged(L.Maximum(), L.Minimum()),
    "merges, masked": lambda: merged(L.Multiply(), L.Maximum(), L.Average(), mask_zero=True),
    "dot": lambda: merged(L.Dot(axes=2), L.Dot(axes=(1, 1), normalize=True)),
    "side by side": lambda: merged(L.Concatenate(), L.Concatenate(axis=1), mask_zero=True),
    "holes": lambda: over_ids(L.SimpleRNN(2, return_sequences=True)),
    "holes, last": lambda: over_ids(L.LSTM(2)),
    "holes, both ways": lambda: over_ids(L.Bidirectional(L.SimpleRNN(2, return_sequences=True))),
    "holes of values": lambda: over_ids(
        L.Dropout(0.5), L.SimpleRNN(2, return_sequences=True, zero_output_for_mask=True)),
    "both ways, product": lambda: over_floats(
        L.Bidirectional(L.SimpleRNN(2, return_sequences=True), merge_mode="mul")),
    "noise": lambda: over_floats(L.LSTM(2, dropout=0.5, recurrent_dropout=0.5)),
    "by step": lambda: over_floats(L.TimeDistributed(L.Dense(2))),
    "cells": lambda: over_floats(L.RNN([L.GRUCell(2), L.LSTMCell(2)])),
    "a cell of one's own": lambda: over_ids(L.RNN(Leaky(), return_sequences=True)),
    "in pieces": lambda: over_floats(L.SimpleRNN(2, recompute=2, return_sequences=True)),
    "in pieces, masked": lambda: over_ids(L.LSTM(2, recompute=2, return_sequences=True)),
    "penalties": lambda: dense(kernel_regularizer="l1_l2", bias_regularizer="l2",
                               activity_regularizer="l1"),
    "orthogonal": lambda: dense(kernel_regularizer="orthogonal_regularizer"),
    "constraints": lambda: dense(kernel_constraint="max_norm", bias_constraint="non_neg"),
    "other constraints": lambda: over_floats(
        L.Dense(2, kernel_constraint="unit_norm"), L.Dense(2, kernel_constraint="min_max_norm")),
}  # fmt: skip


def check_steps(make, rng, monkeypatch, **options):
    """Steps bring nothing back, and do on the GPU what they do on the CPU."""
    monkeypatch.setattr(fastrnn.config, "_floatx", "float64")
    x = rng.normal(size=(4, 3, 2))
    x[0, 1] = x[2, 2] = 0
    if len(make().input_shape) == 2:
        x = np.array([[1, 0, 2], [0, 3, 4], [5, 0, 6], [4, 1, 0]])
    found, wanted = (
        Steps(device, make, x, np.arange(4.0), **options) for device in ("cuda", "cpu")
    )
    assert not found.fetched
    for a, b in zip(found.weights, wanted.weights, strict=True):
        close(a, b, "float64")
    assert found.results == pytest.approx(wanted.results, rel=1e-10)


@pytest.mark.parametrize("name", WHOLLY)
def test_nothing_comes_back_from_layers(name, rng, monkeypatch):
    check_steps(WHOLLY[name], rng, monkeypatch)


@pytest.mark.parametrize("options", [
    {"clipnorm": 0.1}, {"global_clipnorm": 0.1}, {"clipvalue": 0.01}, {"weight_decay": 0.1},
    {"use_ema": True, "ema_overwrite_frequency": 1}, {"gradient_accumulation_steps": 2},
], ids=str)  # fmt: skip
def test_nothing_comes_back_from_optimizers(options, rng, monkeypatch):
    check_steps(dense, rng, monkeypatch, steps=2,
                optimizer=lambda: fastrnn.optimizers.SGD(0.1, **options))


# -- choosing the device ------------------------------------------------------------


def test_the_device_is_chosen_by_name():
    assert fastrnn.get_device() == "cpu"
    fastrnn.set_device("cuda")
    try:
        assert fastrnn.get_device() == engines.current().name == "cuda"
        with pytest.raises(RuntimeError, match="stream: .*set_device"):
            streaming.Stream(small_model())
    finally:
        fastrnn.set_device("cpu")
    assert engines.current().name == "cpu"
    with pytest.raises(ValueError, match="expected one of .*'cpu', 'cuda'.*; got 'gpu'"):
        fastrnn.set_device("gpu")


# -- layers and models that are written as a call --------------------------------------------------


class Attention(layers.Layer):
    """Two weights, and functions of each kind: products, along axes, other shapes, comparisons."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 1), "glorot_uniform", name="kernel")
        self.bias = self.add_weight((input_shape[-1],), "random_normal", name="bias")

    def call(self, x):
        scores = ops.squeeze(ops.tanh(ops.matmul(x + self.bias, self.kernel)), axis=-1)
        weights = ops.softmax(ops.where(ops.greater(scores, -0.9), scores, -1e9), axis=1)
        return ops.concatenate([ops.sum(ops.expand_dims(weights, -1) * x, axis=1), x[:, -1]], -1)


class Masked(Attention):
    def call(self, x, mask=None):
        weights = ops.softmax(ops.where(mask, ops.dot(x, self.kernel[:, 0]), -1e9), axis=1)
        return ops.sum(ops.expand_dims(weights, -1) * (x + self.bias), axis=1)


class Reader(fastrnn.Model):
    def __init__(self, attention, mask_zero):
        super().__init__()
        self.words = layers.Embedding(7, 2, mask_zero=mask_zero)
        self.rnn = layers.GRU(3, return_sequences=True)
        self.attention, self.out = attention, layers.Dense(1)
        self.drop = layers.Dropout(0.5)

    def call(self, ids, training=False):
        x = self.attention(self.rnn(self.words(ids)))
        return self.out(self.drop(x, training=training))


@pytest.mark.compiled
@pytest.mark.parametrize("attention", [Attention, Masked])
def test_a_model_that_is_written_as_a_call(recordings, rng, attention):
    """Trained as on the CPU, with the same dropout; in recorded steps where nothing travels."""
    x, y = rng.integers(0, 7, (8, 3)), rng.normal(size=(8, 1))

    def run(device):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            model = Reader(attention(), attention is Masked)
            model.compile("adam", "mse")
            losses = model.fit(x, y, batch_size=2, epochs=3, verbose=0).history["loss"]
            return losses, model.predict(x, verbose=0), model.get_weights()

    found, wanted = run("cuda"), run("cpu")
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-4, atol=1e-6)
    for own, other in zip(found[2], wanted[2], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)
    assert (sum(recordings) > 4) == (attention is Attention)


class Mixed(layers.Layer):
    """Functions that rearrange, look up, and sum products, with a state that begins as zeros."""

    def build(self, input_shape):
        self.table = self.add_weight((3, input_shape[-1]), "random_normal", name="table")
        self.kernel = self.add_weight((input_shape[-1], 2), "glorot_uniform", name="kernel")

    def call(self, x):
        longer = ops.pad(x, ((0, 0), (0, 1), (0, 0)), constant_values=2.0)
        first, second = ops.split(longer, 2, axis=1)
        places = ops.take(self.table, ops.argmax(x, axis=-1), axis=0)
        products = ops.einsum("btd,bsd,dk->btk", first, places * x, self.kernel)
        products = ops.repeat(products, 2, axis=1) + ops.zeros((ops.shape(x)[0], 1, 2))
        return products + ops.take(ops.cumsum(second, axis=1), [1, 0, 1, 0], axis=1)


@pytest.mark.compiled
def test_functions_of_calls(rng):
    """Values and gradients are those of the reference engine."""
    x, dy = rng.normal(size=(3, 3, 2)), rng.normal(size=(3, 4, 2))
    layer = Mixed(dtype="float64")
    layer.build((None, 3, 2))
    found = []
    for name in ("reference", "cuda"):
        with engines.using(name):
            layer.move()
            for p in layer.parameters:
                p.grad[...] = 0
            asarray, host = engines.current().asarray, engines.current().to_host
            y, _, tape = layer.run(asarray(x))
            dx = layer.backward(tape, asarray(dy))
            found.append([np.array(host(a)) for a in (y, dx, *(p.grad for p in layer.parameters))])
    for wanted, own in zip(*found, strict=True):
        np.testing.assert_allclose(own, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.compiled
def test_noise_that_the_host_draws(recordings, rng):
    """It is drawn anew for each step, so that no step may be recorded with the last one's."""
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))

    def run(device):
        with engines.using(device):
            fastrnn.utils.set_random_seed(5)
            parts = layers.GaussianNoise(0.5), layers.Dense(2), layers.GaussianDropout(0.5)
            model = fastrnn.Sequential([fastrnn.Input((3,)), *parts, layers.Dense(1)])
            model.compile("sgd", "mse")
            return model.fit(x, y, batch_size=2, epochs=3, verbose=0).history["loss"]

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=1e-5)
    assert sum(recordings) == 0
