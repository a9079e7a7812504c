"""The sweeps of recurrent layers for GPUs, in Numba's simulator or there, against the reference."""

import numpy as np
import pytest
from engine_cases import CELLS, Problem, dense_gradient

from fastrnn.activations import KERNELS_BY_OUTPUT
from fastrnn.engines.reference import ReferenceEngine
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from cuda_cases import DTYPES, choose_small_tiles, make_simulator_safe  # noqa: E402
from numba import cuda  # noqa: E402

from fastrnn.cuda import arrays, discovery, matmul, sweep_tiles, sweeps, tiles  # noqa: E402
from fastrnn.cuda.kernels import sweep  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
# How a sweep is carried out: by a block a row, by a block for a group of rows, or step by step.
WAYS = ("rows", "groups", "steps")


@pytest.fixture(autouse=True)
def safe(monkeypatch):
    make_simulator_safe(monkeypatch)
    choose_small_tiles(monkeypatch)


@pytest.fixture
def go(monkeypatch):
    """Call with one of `WAYS` to have all sweeps of that kind."""

    def choose(way, group=2):
        sweeps._tiles.cache_clear()
        monkeypatch.setattr(sweeps, "GROUPS", (group,) if way == "groups" else (1,))
        if way == "steps":
            monkeypatch.setattr(sweeps, "shared_limit", lambda: 0)

    yield choose
    sweeps._tiles.cache_clear()


@pytest.fixture
def small_warps(monkeypatch):
    """Warps of 4 threads; call to leave a thread so many numbers of 32 bits for weights."""
    caches = sweep.sweep_forward, sweep.sweep_backward, sweeps._tiles
    monkeypatch.setattr(sweep_tiles, "WARP", 4)
    for cached in caches:
        cached.cache_clear()
    yield lambda left: monkeypatch.setattr(sweep_tiles, "WEIGHTS", left)
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def only(monkeypatch):
    """Call with the one `Tile` that is to be chosen."""
    caches = sweep.sweep_forward, sweep.sweep_backward, sweeps._tiles

    def choose(*tile):
        for cached in caches:
            cached.cache_clear()
        monkeypatch.setattr(sweeps, "tiles_of", lambda *_: [sweep_tiles.Tile(*tile)])

    yield choose
    for cached in caches:
        cached.cache_clear()


class Unwritten:
    """Makes arrays on the device full of NaN, which shows what is not written."""

    def __init__(self):
        self.shapes = []

    def __call__(self, shape, dtype):
        self.shapes.append(tuple(shape))
        return cuda.to_device(np.full(shape, np.nan, dtype))


def on_device(array):
    return None if array is None else cuda.to_device(np.ascontiguousarray(array))


def listed(arrays):
    return None if arrays is None else [on_device(a) for a in arrays]


def inputs(problem, xz):
    """The arguments of `sweep_forward` for the sweep of a `Problem`."""
    looked_up = None
    if isinstance(xz, Lookup):
        looked_up, xz = sweeps.look_up(xz.ids, len(xz.table)), xz.table
    mask, dtype = problem.mask, problem.U.dtype
    bounds = (None, None) if mask is None else (mask.start, mask.stop)
    return {
        "cell": problem.cell, "xz": on_device(xz.astype(dtype)), "U": on_device(problem.U),
        "states": listed(problem.states), "start": on_device(bounds[0]),
        "stop": on_device(bounds[1]), "bias": on_device(problem.bias),
        "noise": on_device(problem.noise), "looked_up": looked_up, "returns": problem.sequences,
        "zeroes": problem.zero_output, "new": Unwritten(),
    }


def found_by_kernels(problem, xz, weights=True):
    """What `reference` finds, by the same names; dU and dbias are added to ones."""
    sequence, last, tape = sweeps.sweep_forward(**inputs(problem, xz))
    dU = on_device(np.ones_like(problem.U)) if weights else None
    dbias = None if problem.bias is None else on_device(np.ones_like(problem.bias))
    dxz, dstates, magnitudes = sweeps.sweep_backward(
        tape, on_device(problem.U), on_device(problem.dy), listed(problem.dlast), dU, dbias,
        measures=not isinstance(xz, Lookup), new=Unwritten(),
    )
    if magnitudes is not None:
        wanted = np.abs(dxz.copy_to_host()).sum(dtype=np.float64)
        np.testing.assert_allclose(magnitudes.copy_to_host().sum(), wanted, rtol=1e-5)
    if isinstance(dxz, RowGradient):
        assert dxz.rows.dtype == np.int32 and (np.diff(dxz.rows) > 0).all()
        values = dxz.values.copy_to_host()
        dxz = dense_gradient(RowGradient(dxz.rows, values), xz.table.shape)
    found = {"dxz": dxz, "dU": dU, "sequence": sequence, "dbias": dbias}
    found |= {f"last{s}": a for s, a in enumerate(last)}
    found |= {f"dstate{s}": a for s, a in enumerate(dstates)}
    found = {
        name: a if isinstance(a, np.ndarray) else a.copy_to_host()
        for name, a in found.items() if a is not None
    }
    return found | {name: found[name] - 1 for name in ("dU", "dbias") if name in found}


def reference(problem):
    """The same by the reference engine in double precision, and its projected input."""
    engine = ReferenceEngine()
    x = problem.x if problem.ids is None else Lookup(problem.ids, problem.x)
    xz = engine.project(x, problem.W, problem.b)
    U, (bias, dU) = problem.U, (problem.bias, np.zeros_like(problem.U))
    dbias = None if bias is None else np.zeros_like(bias)
    sequence, last, tape = engine.recurrent(
        problem.cell, xz, U, problem.states, problem.mask, problem.sequences, problem.zero_output,
        bias=bias, noise=problem.noise,
    )
    dxz, dstates = engine.recurrent_backward(tape, U, problem.dy, problem.dlast, dU, dbias=dbias)
    if problem.ids is not None:
        dxz = dense_gradient(dxz, xz.table.shape)
    wanted = {"dxz": dxz, "dU": dU, "sequence": sequence, "dbias": dbias}
    wanted |= {f"last{s}": a for s, a in enumerate(last)}
    wanted |= {f"dstate{s}": a for s, a in enumerate(dstates)}
    return xz, {name: a for name, a in wanted.items() if a is not None}


def in_type(xz, dtype):
    return xz._replace(table=xz.table.astype(dtype)) if isinstance(xz, Lookup) else xz.astype(dtype)


def check(dtype="float64", runs=None, weights=True, **kwargs):
    """Hold the kernels in ``dtype`` against the reference in double precision.

    Without ``weights`` but for dU, which takes the simulator long.
    """
    wide, narrow = Problem(**kwargs), Problem(**kwargs, dtype=np.dtype(dtype).type)
    if runs is not None:
        wide.mask = narrow.mask = runs
    xz, wanted = reference(wide)
    found = found_by_kernels(narrow, in_type(xz, dtype), weights)
    if not weights:
        del wanted["dU"]
    assert found.keys() == wanted.keys()
    for name in wanted:
        scale = max(1.0, np.abs(wanted[name]).max(initial=0))
        assert found[name].dtype == dtype
        np.testing.assert_allclose(
            found[name] / scale, wanted[name] / scale, rtol=0, atol=TOLERANCE[dtype], err_msg=name
        )
    return found


# A row with padding before, one with padding behind, one with both, one that has nothing else.
RAGGED = StepMask(np.array([2, 0, 1, 3]), np.array([4, 2, 3, 3]), 4)
NOTHING = StepMask(np.array([0, 2]), np.array([0, 2]), 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("way", "units"),
    [("rows", 3), ("rows", 32), ("rows", 33), ("rows", 48), ("groups", 48), ("steps", 3),
     ("steps", 9)],
)
def test_against_the_reference(go, cell, units, dtype, way):
    go(way)
    rows = 2 if way == "groups" else 1
    check(dtype, seed=0, rows=rows, steps=2, width=3, units=units, cell=cell, state=True,
          sequences=True, weights=units == 3 or not discovery.simulated())


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_dU_of_more_than_a_tile(monkeypatch, cell):
    monkeypatch.setattr(matmul, "choose_tile", lambda dtype, *_: tiles.TILES[dtype][0])
    check(seed=0, rows=2, steps=3, width=2, units=18, cell=cell)


@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("output", ["last", "sequence", "sequence with zeros"])
def test_masks(go, cell, output, way):
    go(way)
    check(runs=RAGGED, seed=1, rows=4, steps=4, width=2, units=3, cell=cell,
          sequences=output != "last", zero_output=output == "sequence with zeros", state=True)


@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize("cell", CELLS)
def test_where_nothing_counts(go, cell, way):
    go(way)
    found = check(runs=NOTHING, seed=2, rows=2, steps=4, width=2, units=3, cell=cell, state=True,
                  sequences=True)
    assert not found["dxz"].any() and not found["dU"].any() and not found["sequence"].any()


@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("noise", [1, 4], ids=["one for all gates", "one each"])
def test_noise(go, cell, noise, way):
    go(way)
    check(runs=RAGGED, seed=3, rows=4, steps=4, width=2, units=3, cell=cell, noise=noise,
          state=True, sequences=True)


@pytest.mark.parametrize("left", [0, 16, 128])
def test_noise_for_more_than_a_warp(small_warps, left):
    small_warps(left)
    check(seed=3, rows=2, steps=3, width=2, units=5, cell="lstm", noise=4, sequences=True)


@pytest.mark.compiled
@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_a_table(go, cell, way):
    go(way)
    check(runs=RAGGED, seed=4, rows=4, steps=4, width=2, units=3, cell=cell, lookup=True,
          sequences=True)


ACTIVATIONS = sorted(KERNELS_BY_OUTPUT)


@pytest.mark.parametrize("s", range(len(ACTIVATIONS)))
@pytest.mark.parametrize("cell", CELLS)
def test_activations(cell, s):
    """Each of them for either use, and never the same for both."""
    f, s = ACTIVATIONS[s - 1], ACTIVATIONS[s]
    check(seed=5, rows=1, steps=2, width=2, units=2, cell=cell, activation=f,
          recurrent_activation=s)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("steps", "lookup"), [(1, True), (5, False), (11, False), (11, True)])
def test_fewer_steps_than_are_fetched_ahead_and_more(cell, steps, lookup):
    check(seed=6, rows=1, steps=steps, width=2, units=3, cell=cell, sequences=True, lookup=lookup)


@pytest.mark.parametrize("steps", [15, 16])
@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_whole_passes_with_masks(cell, lookup, steps):
    """Passes that ask for steps two passes later, and what counts begins and ends within some."""
    mask = StepMask(np.array([6, 0, 3]), np.array([steps - 1, 7, 3]), steps)
    check(runs=mask, seed=19, rows=3, steps=steps, width=2, units=2, cell=cell, lookup=lookup,
          sequences=True, state=True, noise=1)


@pytest.mark.parametrize(
    ("group", "output"),
    [(2, "last"), (4, "last"), (4, "sequence"), (4, "sequence with zeros")],
)
@pytest.mark.parametrize("cell", CELLS)
def test_groups_that_are_not_full(go, small_warps, cell, group, output):
    """Rows of different lengths, which all take part in each other's steps; some lookups. Weights
    in registers, in shared memory, and in both."""
    go("groups", group)
    if output.startswith("sequence"):
        small_warps(0 if output == "sequence" else 16)
    mask = StepMask(np.array([1, 0, 0, 0, 2]), np.array([3, 3, 0, 1, 3]), 3)
    check(runs=mask, seed=7, rows=5, steps=3, width=2, units=7, cell=cell, state=True,
          sequences=output != "last", zero_output=output == "sequence with zeros",
          lookup=output == "sequence")


@pytest.mark.parametrize(
    ("tile", "left"),
    [((2, 1, 2), 128), ((1, 1, 4), 128), ((2, 1, 8), 0), ((4, 1, 4), 8), ((8, 1, 16), 128),
     ((2, 2, 4), 128), ((2, 4, 16), 16), ((1, 4, 4), 0)],
)
@pytest.mark.parametrize("cell", CELLS)
def test_threads_that_share_units_and_rows(monkeypatch, only, cell, tile, left):
    """With units that there are not, rows that there are not, and lanes that end alike."""
    monkeypatch.setattr(sweep_tiles, "WEIGHTS", left)
    only(*tile)
    check(seed=18, rows=5, steps=2, width=2, units=5, cell=cell, state=True, sequences=True,
          weights=False)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru"])
def test_long_sums_are_put_together_of_parts(monkeypatch, cell):
    """dU of several whole parts and a rest, dbias and the rows of a table of several rounds."""
    monkeypatch.setattr(sweeps, "RUN", 2)
    monkeypatch.setattr(sweeps, "GRADIENT_STEPS", 4)
    monkeypatch.setattr(sweeps, "GRADIENT_BLOCKS", 4)
    check(seed=8, rows=3, steps=6, width=2, units=3, cell=cell, lookup=True, sequences=True)


@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize(("rows", "steps"), [(0, 3), (2, 0)])
@pytest.mark.parametrize("cell", CELLS)
def test_no_rows_and_no_steps(go, cell, rows, steps, way):
    go(way)
    check(seed=9, rows=rows, steps=steps, width=2, units=3, cell=cell, state=True, sequences=True)


@pytest.mark.parametrize("way", ["rows", "steps"])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_kept_where_there_is_no_way_back(go, cell, way):
    go(way)
    problem = Problem(10, 2, 5, 2, 3, cell=cell)
    xz, wanted = reference(problem)
    arguments = inputs(problem, xz)
    sequence, states, tape = sweeps.sweep_forward(**arguments, keeps=False)
    assert sequence is None and tape is None
    np.testing.assert_allclose(states[0].copy_to_host(), wanted["last0"], rtol=0, atol=1e-12)
    assert not any(5 in shape for shape in arguments["new"].shapes), "room for each step"


def test_gradients_that_are_not_asked_for():
    problem = Problem(11, 2, 3, 2, 3, cell="gru")
    xz, wanted = reference(problem)
    _, _, tape = sweeps.sweep_forward(**inputs(problem, xz))
    dxz, dstates, _ = sweeps.sweep_backward(
        tape, on_device(problem.U), None, listed(problem.dlast), need_dxz=False
    )
    assert dxz is None
    np.testing.assert_allclose(dstates[0].copy_to_host(), wanted["dstate0"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_is_no_gradient(cell):
    """Neither of the outputs nor of the last states, or of some of them."""
    problem = Problem(12, 2, 3, 2, 3, cell=cell)
    xz, _ = reference(problem)
    _, _, tape = sweeps.sweep_forward(**inputs(problem, xz))
    dxz, _, magnitudes = sweeps.sweep_backward(tape, on_device(problem.U), new=Unwritten())
    assert magnitudes is None
    assert not dxz.copy_to_host().any()
    problem.dlast[1:] = [np.zeros((2, 3))] * (problem.cell.states - 1)
    _, wanted = reference(problem)
    some = [on_device(problem.dlast[0]), None][: problem.cell.states]
    dxz, _, _ = sweeps.sweep_backward(tape, on_device(problem.U), None, some, new=Unwritten())
    np.testing.assert_allclose(dxz.copy_to_host(), wanted["dxz"], rtol=0, atol=1e-12)


def test_a_gru_without_its_inner_bias():
    problem = Problem(13, 2, 3, 2, 3, cell="gru")
    problem.bias = None
    xz, wanted = reference(problem)
    found = found_by_kernels(problem, xz)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-10, err_msg=name)


# -- how it is done ---------------------------------------------------------------


def chosen(units, cell="simple_rnn", dtype="float32", rows=128, noise=None):
    U = np.empty((units, CELLS[cell].gates * units), dtype)
    xz = np.empty((rows, 1, U.shape[1]), dtype)
    noise = None if noise is None else on_device(np.ones((noise, rows, units), dtype))
    problem = sweeps._Problem(CELLS[cell], on_device(U), on_device(xz), None, None, None, noise,
                              None)
    return problem.on_chip()


def threads(units, cell, tile):
    products = sweep_tiles.products_there(units, CELLS[cell].gates, CELLS[cell].gates)
    return sweep_tiles.plan(units, "float32", tile, products).threads


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rows", [1, 128, 10000])
def test_a_warp_and_a_row_for_32_units(cell, rows):
    for tile in chosen(32, cell, rows=rows):
        assert tile.rows == 1 and threads(32, cell, tile) == 32


def test_neighbours_share_units_where_reading_would_bind(monkeypatch):
    monkeypatch.setattr(arrays, "multiprocessors", lambda: 132)
    assert chosen(32) == ((1, 1, 1), (1, 1, 1))
    assert chosen(64, "lstm") == ((1, 1, 2), (4, 1, 8))
    assert chosen(128) == ((4, 1, 4), (4, 1, 4))


def test_rows_share_weights_once_there_are_more_rows_than_places(monkeypatch):
    monkeypatch.setattr(arrays, "multiprocessors", lambda: 132)
    assert chosen(128, "gru")[0].rows == 1
    assert chosen(128, "gru", rows=528)[0].rows > 1
    assert chosen(128, "gru", rows=528, noise=1)[0].rows == 1


def test_step_by_step_where_the_weights_do_not_fit(monkeypatch):
    monkeypatch.setattr(sweeps, "shared_limit", lambda: 227 * 1024)
    assert chosen(280) is not None and chosen(300) is None
    assert chosen(140, "lstm") is not None and chosen(150, "lstm") is None
    assert chosen(110, "lstm", "float64") is None
    monkeypatch.setattr(sweeps, "shared_limit", lambda: 48 * 1024)
    assert chosen(110, "lstm") is None


def test_the_same_bits_each_time(go):
    first, second = (
        check("float32", seed=14, rows=3, steps=4, width=2, units=5, cell="lstm", lookup=True)
        for _ in range(2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


# -- lookups ----------------------------------------------------------------------


def test_look_up(monkeypatch):
    monkeypatch.setattr(sweeps, "RUN", 2)
    ids = np.array([[7, 2, 7], [7, 0, 7]], np.int32)
    found = sweeps.look_up(ids, rows=8)
    assert found.rows.tolist() == [0, 2, 7]
    arrays = [a.copy_to_host() for a in (found.ids, found.order, found.ends, found.row_ends)]
    assert [a.tolist() for a in arrays] == [
        ids.tolist(), [4, 1, 0, 2, 3, 5], [0, 1, 2, 4, 6], [0, 1, 2, 4]
    ]
    assert {a.dtype for a in arrays} == {np.dtype(np.int32)}


@pytest.mark.parametrize("bad", [-1, 5])
def test_ids_outside_the_table(bad):
    with pytest.raises(IndexError, match=f"token id {bad} is outside .* ids from 0 to 4"):
        sweeps.look_up(np.array([[0, bad]]), rows=5)


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("U", np.zeros((3, 11)), r"U: expected a C-contiguous float64 array of shape \(3, 12\); "
                                 r"got float64 of shape \(3, 11\)"),
        ("xz", np.zeros((2, 4, 9)), r"xz: expected .* of shape \(2, 4, 12\); got .*\(2, 4, 9\)"),
        ("xz", np.zeros((2, 4)), r"xz: expected shape \(batch, steps, gates \* units\)"),
        ("xz", np.zeros((2, 4, 12), np.float32), "xz: expected .*float64.*; got float32"),
        ("states", [np.zeros((2, 3))], "states: expected 2 arrays; got 1"),
        ("states", [np.zeros((2, 3)), np.zeros((2, 4))], r"states\[1\]: expected .*\(2, 3\)"),
        ("start", np.zeros(3, np.int64), r"start: expected .* of shape \(2,\)"),
        ("stop", np.zeros(2, np.int32), r"stop: expected .*int64.*; got int32"),
        ("noise", np.zeros((2, 2, 3)), r"noise: expected .* of shape \(4, 2, 3\)"),
        ("bias", np.zeros(4), r"bias: expected .* of shape \(3,\)"),
    ],
)
def test_refused_on_the_way_there(name, wrong, message):
    arguments = inputs(Problem(15, 2, 4, 2, 3, cell="lstm", mask="pre", state=True, noise=1),
                       np.zeros((2, 4, 12)))
    arguments[name] = listed(wrong) if isinstance(wrong, list) else on_device(wrong)
    with pytest.raises(ValueError, match=message):
        sweeps.sweep_forward(**arguments)


@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
def test_activations_that_there_are_not(name):
    arguments = inputs(Problem(15, 2, 4, 2, 3, cell="lstm"), np.zeros((2, 4, 12)))
    arguments["cell"] = CELLS["lstm"]._replace(**{name: "gelu"})
    with pytest.raises(ValueError, match=f"^{name}: expected one of elu, .*; got 'gelu'"):
        sweeps.sweep_forward(**arguments)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("dsequence", np.zeros((2, 3, 3)), r"dsequence: expected .*\(2, 4, 3\); got .*\(2, 3, 3\)"),
        ("dstates", [None], "dstates: expected 2 arrays; got 1"),
        ("dstates", [None, np.zeros((3, 3))], r"dstates\[1\]: expected .*\(2, 3\)"),
        ("dU", np.zeros((12, 3)), r"dU: expected .*\(3, 12\)"),
        ("dU", np.zeros((12, 3)).T, r"dU: expected .*; got .*, not C-contiguous"),
        ("dbias", np.zeros(2), r"dbias: expected .*\(3,\)"),
    ],
)
def test_refused_on_the_way_back(name, wrong, message):
    problem = Problem(16, 2, 4, 2, 3, cell="lstm")
    arguments = inputs(problem, np.zeros((2, 4, 12)))
    _, _, tape = sweeps.sweep_forward(**arguments)
    one = lambda a: None if a is None else cuda.to_device(a)  # noqa: E731
    wrong = [one(a) for a in wrong] if isinstance(wrong, list) else one(wrong)
    with pytest.raises(ValueError, match=message):
        sweeps.sweep_backward(tape, arguments["U"], **{name: wrong})


@pytest.mark.gpu
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [32, 64, 100])
def test_long_sequences(go, cell, units, dtype, way):
    go(way, group=4)
    first, second = (
        check(dtype, seed=17, rows=200, steps=300, width=8, units=units, cell=cell, mask="pre",
              sequences=True, lookup=True)
        for _ in range(2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
