"""The C kernels by themselves: vector functions, memory, threads, forks, and what they refuse."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

from fastrnn import _core, activations, engines
from fastrnn.cells import CellSpec

CELL = CellSpec("simple_rnn")
# The largest error allowed. Just below 1 the unit is half as large as the roundings of a quotient
# of two polynomials in single precision; all else stays within three.
ULP = {("tanh", np.float32): 6.0}
EXACT = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def applied(name, x):
    y = np.empty_like(x)
    _core.activate(name, x, y)
    return y


def every_magnitude(dtype, n=400_000):
    """Numbers of both signs from the smallest to the largest, evenly by exponent; and around 0."""
    info = np.finfo(dtype)
    exponents = np.linspace(np.log2(float(info.tiny)), np.log2(float(info.max)) - 0.01, n // 4)
    spread = np.exp2(exponents)
    near = np.linspace(0, 100 if dtype == np.float32 else 720, n // 4)
    x = np.concatenate([spread, near]).astype(dtype)
    return np.concatenate([-x, x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_vector_functions_are_within_a_few_ulp(isa, name, dtype):
    x = every_magnitude(dtype)
    with np.errstate(over="ignore", under="ignore"):
        exact = EXACT[name](x.astype(np.longdouble))
    # Denormal results are flushed to zero: errors are measured in no smaller unit than a normal's.
    ulp = np.spacing(np.maximum(np.abs(exact), np.finfo(dtype).tiny).astype(dtype))
    below = np.abs(exact) < np.finfo(dtype).tiny
    error = np.abs(applied(name, x) - exact) / ulp
    assert float(error[~below].max()) <= ULP.get((name, dtype), 3.0)
    assert (np.abs(applied(name, x)[below]) <= np.finfo(dtype).tiny).all()
    assert (np.abs(applied(name, x)) <= 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_and_nan(isa, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0] * 7, dtype)
    tanh, sigmoid, relu = (applied(name, x)[:5] for name in ("tanh", "sigmoid", "relu"))
    np.testing.assert_array_equal(tanh, [np.nan, 1, -1, 0, 0])
    np.testing.assert_array_equal(sigmoid, [np.nan, 1, 0, 0.5, 0.5])
    np.testing.assert_array_equal(relu, [np.nan, np.inf, 0, 0, 0])


def test_nan_passes_through_a_sweep(isa):
    xz = np.zeros((2 * 3, 5), np.float32)
    xz[1, 2] = np.nan
    last = np.empty((2, 5), np.float32)
    U = np.full((5, 5), 0.1, np.float32)
    _core.sweep_forward(*CELL, 2, 3, xz, None, U, None, None, None, False, None, [last], True)
    assert np.isnan(last[0]).all()
    assert not np.isnan(last[1]).any()


def sweep(x, U, **kwargs):
    B, T, H = x.shape
    last = np.empty((B, H), x.dtype)
    tape = _core.sweep_forward(
        *CELL._replace(activation="linear"), B, T, x.reshape(-1, H), None, U, None, None, None,
        False, None, [last], True,
    )
    return last, tape


def test_denormals_are_flushed_inside_kernels_and_not_outside(isa):
    tiny = np.float32(2.0**-130)
    # h_t halves at each step, from the smallest normal number: a denormal, were it kept.
    x = np.zeros((1, 3, 16), np.float32)
    x[0, 0] = 2.0**-126
    last, _ = sweep(x, np.eye(16, dtype=np.float32) / 4)
    assert (last == 0).all()
    assert tiny * np.float32(0.5) > 0  # the caller's own arithmetic keeps them


def test_memory_is_used_again():
    _core.free_spare_memory()
    block = np.frombuffer(_core.Block(100_000), np.uint8)
    address = block.ctypes.data
    assert address % 64 == 0
    del block
    assert np.frombuffer(_core.Block(100_000), np.uint8).ctypes.data == address
    kept = np.frombuffer(_core.Block(64), np.uint8)
    kept[...] = 7
    for _ in range(10):  # a block in use is nobody else's
        np.frombuffer(_core.Block(64), np.uint8)[...] = 0
    assert (kept == 7).all()
    _core.free_spare_memory()


def test_sizes_that_nobody_asks_for_any_more_make_way():
    _core.free_spare_memory()
    large = 100 << 20  # two of them fit in the store
    for size in (large, large + (20 << 20)):
        _core.Block(size)
    block = np.frombuffer(_core.Block(64 << 20), np.uint8)
    address = block.ctypes.data
    del block
    assert np.frombuffer(_core.Block(64 << 20), np.uint8).ctypes.data == address
    _core.free_spare_memory()


def some_sweep(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(64, 50, 32)).astype(np.float32)
    U = np.linalg.qr(rng.normal(size=(32, 32)))[0].astype(np.float32)
    return sweep(x, U)[0]


def _in_child(connection):
    connection.send((some_sweep().tobytes(), own_threads()))


def own_threads():
    """How many threads the system knows of this process; 2 where it does not tell."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else 2


def test_safe_after_fork():
    """A child made while workers wait has none of them, and makes its own."""
    before = _core.get_num_threads()
    _core.set_num_threads(2)
    try:
        expected = some_sweep().tobytes()
        context = multiprocessing.get_context("fork")
        for _ in range(3):
            ours, theirs = context.Pipe()
            child = context.Process(target=_in_child, args=(theirs,))
            child.start()
            assert ours.poll(20), "the child hangs"
            result, threads = ours.recv()
            assert result == expected
            assert threads >= 2, "the child works alone"
            child.join(20)
            assert child.exitcode == 0
    finally:
        _core.set_num_threads(before)


def test_several_threads_may_call_at_once():
    expected = [some_sweep(seed).tobytes() for seed in range(4)]
    wrong = []

    def work(seed):
        for _ in range(30):
            if some_sweep(seed).tobytes() != expected[seed]:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -- the door -------------------------------------------------------------------


def floats(*shape):
    return np.zeros(shape, np.float32)


def good_backward():
    last, tape = sweep(floats(2, 3, 4), floats(4, 4))
    return [tape, floats(4, 4), None, [last], floats(6, 4), [floats(2, 4)], floats(4, 4)]


@pytest.mark.parametrize("change", [
    (1, floats(4, 5)), (1, np.zeros((4, 4))), (3, [floats(3, 4)]), (4, floats(5, 4)),
    (4, floats(6, 4).T), (5, [floats(2, 4)[::-1]]), (6, floats(3, 4)), (2, floats(2, 3, 5)),
    (6, floats(4, 4).astype(">f4")), (4, np.zeros((6, 4), np.int32)), (5, [None]), (5, None),
    (5, []), (3, [None, floats(2, 4)]),
])  # fmt: skip
def test_wrong_arrays_do_not_pass_the_door(change):
    arguments = good_backward()
    _core.sweep_backward(*arguments)
    arguments[change[0]] = change[1]
    with pytest.raises((TypeError, ValueError, BufferError)):
        _core.sweep_backward(*arguments)


def test_another_type_is_named():
    z, y = floats(3), np.zeros(3)
    with pytest.raises(TypeError, match="y: .* float32, as those before it; got one of float64"):
        _core.activate("tanh", z, y)
    with pytest.raises(TypeError, match="z: .* float32 or float64; got one of int32"):
        _core.activate("tanh", z.astype(np.int32), y)


def test_steps_outside_the_batch_do_not_pass_the_door():
    def run(start, stop):
        _core.sweep_forward(*CELL, 1, 3, floats(3, 4), None, floats(4, 4), None,
                            np.array([start]), np.array([stop]), False, None, [floats(1, 4)], True)

    run(0, 3)
    for start, stop in ((-1, 3), (0, 4), (2, 1), (2**62, 2**62)):
        with pytest.raises(IndexError):
            run(start, stop)


def test_runs_outside_the_rows_do_not_pass_the_door():
    for run in ((0, 7), (-1, 2), (6, 1), (2**62, 2**62)):
        with pytest.raises(IndexError, match="runs"):
            _core.project(floats(6, 4), floats(4, 3), None, floats(6, 3), np.array([run]))


def test_runs_that_follow_on_one_another_are_one(isa):
    rng = np.random.default_rng(0)
    x, W, dz = (rng.normal(size=shape).astype(np.float32) for shape in ((700, 5), (5, 9), (700, 9)))
    runs = np.array([(3, 97), (100, 100), (200, 1), (300, 0), (300, 257), (600, 100), (0, 2)])
    taken = np.concatenate([np.arange(first, first + count) for first, count in runs])
    z, dW, db = np.full((700, 9), np.nan, "f"), np.zeros_like(W), np.zeros(9, "f")
    _core.project(x, W, None, z, runs)
    _core.project_dW(x, dz, dW, db, runs)
    np.testing.assert_allclose(z[taken], x[taken] @ W, rtol=1e-5, atol=1e-5)
    assert np.isnan(np.delete(z, taken, axis=0)).all()
    np.testing.assert_allclose(dW, x[taken].T @ dz[taken], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(db, dz[taken].sum(0), rtol=1e-5, atol=1e-4)


def test_inputs_without_columns_have_no_weights_but_a_bias(isa):
    dz, z, db = floats(4, 3), floats(4, 3), np.zeros(3, np.float32)
    dz[...] = 1
    _core.project(floats(4, 0), floats(0, 3), None, z)
    _core.project_dW(floats(4, 0), dz, floats(0, 3), db)
    assert not z.any()
    np.testing.assert_array_equal(db, 4)


@pytest.mark.parametrize("rows, table, V", [
    ([0, 4], 0, 4), ([-1, 1], 0, 4), ([1, 0], 0, 4), ([1, 1], 0, 4),  # row numbers
    ([0, 1], 1, 10), ([0, 1], -1, 4), ([0, 1], 0, 2**62), ([0, 1], 31, 4),  # the table's place
    ([0, 1, 2], 0, 4),  # more numbers than rows of values
])
def test_rows_outside_the_table_do_not_pass_the_door(rows, table, V):
    def arrays():
        return [np.zeros(30) for _ in range(3)]

    value, grad, velocity = arrays()
    numbers = (0.1, 0.9, 0.0, 1e-7)
    rows, values = np.array(rows, np.int32), np.ones((2, 3))
    with pytest.raises((IndexError, ValueError)):
        _core.update(
            "rmsprop", value, grad, velocity, None, None, numbers, False, rows, values, table, V
        )
    assert not value.any()


@pytest.mark.parametrize("change", [
    {"U": floats(4, 15)}, {"xz": floats(6, 12)}, {"first": [floats(2, 4)]},
    {"last": [floats(2, 4)]}, {"last": [floats(2, 4), None]}, {"bias": floats(4)},
    {"noise": floats(2, 2, 4)}, {"noise": floats(4, 2, 5)}, {"noise": floats(2, 4)},
])  # fmt: skip
def test_gates_that_do_not_fit_do_not_pass_the_door(change):
    given = {"xz": floats(6, 16), "U": floats(4, 16), "first": None, "bias": None, "noise": None,
             "last": [floats(2, 4), floats(2, 4)]}

    def run(xz, U, first, last, bias, noise):
        return _core.sweep_forward(*CellSpec("lstm"), 2, 3, xz, None, U, first, None, None, False,
                                   None, last, True, True, bias, noise)

    run(**given)
    with pytest.raises((TypeError, ValueError)):
        run(**given | change)


def test_read_only_results_are_refused():
    out = floats(6, 3)
    out.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        _core.project(floats(6, 4), floats(4, 3), None, out)


@pytest.mark.parametrize("n", [0, -1, 1000, 1.5, "2", True, None])
def test_number_of_threads_is_checked(n):
    with pytest.raises(ValueError, match="number of threads"):
        _core.set_num_threads(n)


def test_unknown_isa():
    with pytest.raises(ValueError, match="baseline"):
        _core.use_isa("avx9")


def test_ids_know_which_occur_and_where():
    ids = np.array([[7, 3], [3, 9]], np.int32)
    counted = _core.Ids(ids, 10)
    rows, places = np.asarray(counted.rows), np.asarray(counted.places)
    assert rows.tolist() == [3, 7, 9] and counted.n == 3
    assert (rows[places].reshape(2, 2) == ids).all()
    assert not rows.flags.writeable and not places.flags.writeable  # the kernels trust them
    none = _core.Ids(np.zeros((0, 4), np.int32), 10)
    assert none.n == 0 and not len(none.rows) and not len(none.places)


@pytest.mark.parametrize("V", [1, 7, 8, 9, 1003])
@pytest.mark.parametrize("n", [1, 5, 200, 40_000])
def test_ids_are_numbered_whether_few_or_many(n, V):
    ids = np.random.default_rng(n).integers(0, V, n).astype(np.int32)
    ids[-1] = V - 1
    counted = _core.Ids(ids, V)
    rows, places = np.unique(ids, return_inverse=True)
    assert np.array_equal(counted.rows, rows) and np.array_equal(counted.places, places)


@pytest.mark.parametrize("n", [0, 5, 40_000])
def test_ids_that_nobody_counts_are_checked_all_the_same(n):
    ids = np.random.default_rng(n).integers(0, 7, n).astype(np.int32)
    counted = _core.Ids(ids, 7, every=True)
    assert counted.n == 7 and np.array_equal(counted.rows, range(7))
    assert np.array_equal(counted.places, ids)
    if n:
        for bad in (7, -1):
            ids[-1] = bad
            with pytest.raises(IndexError) as error:
                _core.Ids(ids, 7, every=True)
            assert error.value.args[1] == n - 1


def test_only_rows_that_occur_are_projected():
    table, W = floats(10, 4), floats(4, 3)
    counted, z = _core.Ids(np.array([7, 3, 3], np.int32), 10), floats(2, 3)
    _core.project(table, W, None, z, None, counted)
    assert np.allclose(z, table[[3, 7]] @ W, atol=1e-5)
    with pytest.raises(IndexError, match="expected ids below 9"):
        _core.project(table[:9], W, None, z, None, counted)
    with pytest.raises(ValueError, match="z: expected 2 rows"):
        _core.project(table, W, None, floats(3, 3), None, counted)


# -- over classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "C"), [(1, 1), (6, 3), (5, 16), (700, 19), (3, 9000)])
def test_softmax_and_its_losses(n, C, dtype, isa):
    """Against the reference in double precision: whole vectors, rests, one task and several."""
    reference = engines._engine("reference")
    rng = np.random.default_rng(0)
    z = (20 * rng.normal(size=(n, C))).astype(dtype)
    labels, target = rng.integers(0, C, n), rng.random((n, C)).astype(dtype)
    weight, dy = rng.random(n).astype(dtype), rng.normal(size=(n, C)).astype(dtype)
    wide = z.astype(np.float64)
    rounding = 40 * np.finfo(dtype).eps
    before = _core.isa()
    _core.use_isa(isa)
    try:
        found = {}
        for kind, y in (("sparse_categorical_crossentropy", labels),
                        ("categorical_crossentropy", target)):  # fmt: skip
            losses, dz = np.empty(n, dtype), np.empty((n, C), dtype)
            _core.loss(kind, y, z, weight, losses, dz, True, 1e-7)
            found[kind] = losses, dz
        y, dz = np.empty_like(z), np.empty_like(z)
        _core.softmax(z, y)
        _core.softmax_backward(y, dy, dz)
        in_place = z.copy()
        _core.softmax(in_place, in_place)
    finally:
        _core.use_isa(before)
    for kind, t in (("sparse_categorical_crossentropy", labels),
                    ("categorical_crossentropy", target.astype(np.float64))):  # fmt: skip
        wanted = reference.loss(kind, t, wide, weight.astype(np.float64), True)
        for own, other in zip(found[kind], wanted, strict=True):
            np.testing.assert_allclose(own, other, rtol=rounding, atol=rounding * abs(other).max())
    wanted = activations.softmax(wide)
    np.testing.assert_allclose(y, wanted, rtol=20 * rounding, atol=rounding)
    np.testing.assert_array_equal(in_place, y)
    slope = activations.named("softmax").backward(wide, wanted, dy.astype(np.float64))
    np.testing.assert_allclose(dz, slope, rtol=20 * rounding, atol=rounding)


@pytest.mark.parametrize("place", [0, 17, 36])
def test_what_is_no_number_shows_in_its_row(place):
    z = np.zeros((2, 37), np.float32)
    z[1, place] = np.nan
    y, losses, dz = np.empty_like(z), np.empty(2, np.float32), np.empty_like(z)
    _core.softmax(z, y)
    _core.loss("sparse_categorical_crossentropy", np.zeros(2, np.int64), z, np.ones(2, np.float32),
               losses, dz, True, 1e-7)  # fmt: skip
    for found in (y, dz, losses[:, None]):
        assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


@pytest.mark.parametrize(("kind", "target", "columns", "error", "message"), [
    ("sparse_categorical_crossentropy", [0, 3], 3, IndexError, r"classes in \[0, 3\); got 3"),
    ("sparse_categorical_crossentropy", [0, -1], 3, IndexError, r"classes in \[0, 3\); got -1"),
    ("sparse_categorical_crossentropy", [0], 3, ValueError, "target: expected 2 elements; got 1"),
    ("sparse_categorical_crossentropy", [0, 0], 0, IndexError, r"classes in \[0, 0\); got 0"),
    ("categorical_crossentropy", [[], []], 0, ValueError, "at least one column"),
])  # fmt: skip
def test_classes_are_checked_at_the_door(kind, target, columns, error, message):
    z, weight = np.zeros((2, columns), np.float32), np.ones(2, np.float32)
    target = np.array(target, np.int64 if kind.startswith("sparse") else np.float32)
    with pytest.raises(error, match=message):
        _core.loss(kind, target, z, weight, np.empty_like(weight), np.empty_like(z), True, 1e-7)
    with pytest.raises(ValueError, match="none called 'categorical_crossentropy' of probabilities"):
        _core.loss("categorical_crossentropy", z, z, weight, weight, z, False, 1e-7)
