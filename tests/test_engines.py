"""The engines: finite differences first, then engine against engine, ISA against ISA, any number of
threads against one."""

import inspect
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_cases import ACTIVATIONS, BOUNDED, CELLS, KINKED, Problem, assert_gradient
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastrnn import _core, engines
from fastrnn.engines.base import Engine
from fastrnn.engines.cpu import Projection
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

ENGINES = ("reference", "cpu")
MASKS = ("none", "pre", "post", "runs")


@pytest.fixture
def threads():
    """Call with a number to use that many threads; undone afterwards."""
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


def close(found, expected, dtype):
    """Equal up to rounding, each array measured by its largest entry."""
    tolerance = {np.float64: 1e-11, np.float32: 2e-5}[dtype]
    assert found.keys() == expected.keys()
    for name in expected:
        scale = max(1.0, np.abs(expected[name]).max(initial=0))
        np.testing.assert_allclose(
            found[name] / scale, expected[name] / scale, rtol=0, atol=tolerance, err_msg=name
        )


def check_threads(problem, dtype, threads, *numbers):
    """One thread agrees with the reference, and other numbers of them with it, bit for bit."""
    with engines.using("reference") as reference:
        expected = problem.run(reference)
    with engines.using("cpu") as cpu:
        threads(1)
        alone = problem.run(cpu)
        close(alone, expected, dtype)
        for n in numbers:
            threads(n)
            for name, found in problem.run(cpu).items():
                np.testing.assert_array_equal(found, alone[name], err_msg=f"{name}, {n} threads")


# -- gate one: finite differences -----------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("lookup", [False, True])
def test_gradients_by_differences(engine, activation, mask, sequences, lookup):
    problem = Problem(3, 4, 5, 3, 4, activation, lookup=lookup, padded=lookup, state=mask != "none",
                      mask=mask, sequences=sequences, zero_output=mask == "runs")
    with engines.using(engine) as chosen:
        check_problem(problem, chosen)


def check_problem(problem, engine):
    gradients = problem.run(engine)
    for name, variable in problem.variables().items():
        assert_gradient(gradients["d" + name], lambda: problem.loss(engine), variable)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "simple_rnn"])
@pytest.mark.parametrize("activations", [
    ("tanh", "sigmoid"), ("relu", "hard_sigmoid"), ("sigmoid", "tanh"), ("linear", "sigmoid"),
], ids="-".join)  # fmt: skip
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("noise", [0, 1, 4])
def test_gradients_of_gates_by_differences(engine, cell, activations, mask, noise):
    activation, recurrent_activation = activations
    options = {"lookup": mask == "none", "sequences": mask != "pre", "state": mask != "none"}
    problem = Problem(3, 3, 4, 2, 3, activation, padded=True, mask=mask, cell=cell, noise=noise,
                      recurrent_activation=recurrent_activation, zero_output=mask == "runs",
                      **options)
    with engines.using(engine) as chosen:
        check_problem(problem, chosen)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_of_a_simple_state_by_differences(engine):
    with engines.using(engine) as chosen:
        check_problem(Problem(4, 3, 5, 2, 4, noise=1, state=True, sequences=True), chosen)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["binary_crossentropy", "categorical_crossentropy",
                                  "mean_squared_error", "mean_absolute_error",
                                  "sparse_categorical_crossentropy"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_loss_gradients_by_differences(engine, kind, from_logits):
    rng = np.random.default_rng(5)
    output = rng.normal(size=(4, 3)) if from_logits else rng.uniform(0.1, 0.9, (4, 3))
    target = rng.uniform(0.1, 0.9, (4, 3))
    if kind.startswith("sparse"):
        target = rng.integers(0, 3, 4)
    weight = rng.uniform(0.5, 2, 4)
    with engines.using(engine) as chosen:
        _, gradient = chosen.loss(kind, target, output, weight, from_logits)
        assert_gradient(
            gradient,
            lambda: float(weight @ chosen.loss(kind, target, output, weight, from_logits)[0]),
            output,
        )


# -- side by side ---------------------------------------------------------------

problems = st.builds(
    dict,
    seed=st.integers(0, 2**31), rows=st.integers(1, 40), steps=st.integers(1, 50),
    width=st.integers(1, 20), units=st.integers(1, 40), activation=st.sampled_from(ACTIVATIONS),
    lookup=st.booleans(), padded=st.booleans(), state=st.booleans(), mask=st.sampled_from(MASKS),
    sequences=st.booleans(), zero_output=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]), cell=st.sampled_from(sorted(CELLS)),
    recurrent_activation=st.sampled_from(["sigmoid", "hard_sigmoid"]),
    noise=st.sampled_from([0, 0, 1, 4]),
)


@settings(max_examples=150, deadline=None)
@given(problems)
def test_cpu_engine_agrees_with_reference(case):
    # A state without bound may grow over many steps, and so would any error.
    if case["activation"] not in BOUNDED:
        case["steps"] = min(case["steps"], 10)
    problem = Problem(**case)
    if case["dtype"] == np.float32 and {case["activation"], case["recurrent_activation"]} & KINKED:
        assume(not problem.is_decided_by_rounding())
    with engines.using("reference") as reference:  # exact: over many steps its own rounding shows
        expected = problem.nudged(0.0).run(reference)
    with engines.using("cpu") as cpu:
        close(problem.run(cpu), expected, case["dtype"])


def test_cases_that_rounding_decides():
    """A sum 3e-8 from a kink of selu, where the slope jumps; and its neighbour, which has none."""
    case = {
        "seed": 8, "rows": 26, "steps": 10, "width": 8, "units": 8, "activation": "selu",
        "dtype": np.float32, "cell": "gru", "recurrent_activation": "hard_sigmoid",
    }  # fmt: skip
    assert Problem(**case).is_decided_by_rounding()
    assert not Problem(**case | {"seed": 9}).is_decided_by_rounding()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("activation", ["tanh", "silu"])  # the CPU engine has no kernel for one
@pytest.mark.parametrize("cell", CELLS)
def test_what_stands_at_masked_steps_reaches_nothing(engine, activation, cell):
    """`project` may leave them undefined."""
    problem = Problem(4, 5, 7, 3, 6, activation, mask="pre", sequences=True, cell=cell)
    with engines.using(engine) as chosen:
        xz = chosen.project(problem.x, problem.W, problem.b)
        xz[~np.asarray(problem.mask)] = np.nan
        sequence, last, tape = chosen.recurrent(
            problem.cell, xz, problem.U, None, problem.mask, True, bias=problem.bias
        )
        dU, dbias = np.zeros_like(problem.U), np.zeros(6) if problem.bias is not None else None
        _, dfirst = chosen.recurrent_backward(
            tape, problem.U, problem.dy, problem.dlast, dU, dbias=dbias
        )
    for array in (sequence, *last, dU, *dfirst, 0 if dbias is None else dbias):
        assert np.isfinite(array).all()


SIZES = [(1, 1), (1, 33), (13, 16), (12, 32), (29, 31), (50, 64), (7, 100), (130, 40), (60, 200)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("rows", "units"), SIZES)
def test_every_isa_agrees_with_reference(isa, rows, units, dtype):
    cases = ("none", False, True), ("none", True, False), ("runs", True, True)
    for mask, sequences, lookup in cases:
        problem = Problem(rows, rows, 35, 17, units, lookup=lookup, padded=True, mask=mask,
                          sequences=sequences, dtype=dtype)
        with engines.using("reference") as reference:
            expected = problem.run(reference)
        with engines.using("cpu") as cpu:
            close(problem.run(cpu), expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "simple_rnn"])
@pytest.mark.parametrize(("rows", "units", "noise"), [
    (1, 1, 0), (13, 16, 4), (30, 33, 1), (29, 31, 0), (50, 64, 0), (60, 100, 4),
])  # fmt: skip
def test_gates_of_every_isa_agree_with_reference(isa, cell, noise, rows, units, dtype):
    for mask, sequences, lookup in (("none", True, True), ("runs", True, False)):
        problem = Problem(rows, rows, 12, 7, units, lookup=lookup, padded=True, mask=mask,
                          sequences=sequences, dtype=dtype, cell=cell, noise=noise,
                          state=not lookup)
        with engines.using("reference") as reference:
            expected = problem.run(reference)
        with engines.using("cpu") as cpu:
            close(problem.run(cpu), expected, dtype)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "simple_rnn"])
def test_a_tape_of_many_megabytes_agrees_with_reference(isa, cell):
    """Beyond 16 MB what a step keeps is written past the caches."""
    problem = Problem(2, 66, 260, 3, 64, cell=cell, dtype=np.float32)
    with engines.using("reference") as reference:
        expected = problem.run(reference)
    with engines.using("cpu") as cpu:
        close(problem.run(cpu), expected, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("cell", CELLS)
def test_results_do_not_depend_on_threads(threads, mask, cell, dtype):
    problem = Problem(1, 130, 60, 20, 33, lookup=mask != "pre", padded=True, mask=mask,
                      sequences=True, dtype=dtype, cell=cell)
    results = []
    with engines.using("cpu") as cpu:
        for n in (1, 2, 3, 7):
            threads(n)
            results.append(problem.run(cpu))
    for other in results[1:]:
        for name, expected in results[0].items():
            np.testing.assert_array_equal(other[name], expected, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("width", [20, 600])  # 600: longer sums than are made at a time
@pytest.mark.parametrize("cell", CELLS)
def test_inputs_projected_on_the_way_are_the_same_on_any_number_of_threads(
    threads, cell, width, state, dtype
):
    problem = Problem(11, 64, 13, width, 32, state=state, sequences=True, dtype=dtype, cell=cell,
                      noise=4 * state)
    with engines.using("cpu") as cpu:
        kinds, results = [], []
        for n in (1, 2, 4, 5, 9):  # four walks: more threads project before the sweep begins
            threads(n)
            kinds.append(type(cpu.project(problem.x, problem.W, problem.b, for_sweep=True)))
            results.append(problem.run(cpu))
    assert [kind is np.ndarray for kind in kinds] == [False] * 3 + [True] * 2
    for other in results[1:]:
        for name, expected in results[0].items():
            np.testing.assert_array_equal(other[name], expected, err_msg=name)


# Rows, steps, width of the inputs and units: walks of several blocks and of less than one, rows
# that fill no tile, deep sums, units that fill no vector, inputs of no width or of one, a step that
# is shared, a last walk of one row with blocks longer than the others'.
ON_THE_WAY = [
    (33, 40, 5, 13), (3, 7, 300, 9), (70, 30, 1, 16), (9, 5, 0, 4), (2, 9, 3, 300),
    (9, 100, 3, 172),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", ON_THE_WAY)
@pytest.mark.parametrize("mask", ["none", "runs"])
@pytest.mark.parametrize("cell", CELLS)
def test_inputs_projected_on_the_way(cell, mask, sizes, dtype):
    problem = Problem(12, *sizes, mask=mask, sequences=True, dtype=dtype, cell=cell)
    arguments = (problem.U, None, problem.mask, True)
    with engines.using("cpu") as cpu:
        for b in (problem.b, None):
            before = cpu.project(problem.x, problem.W, b)
            on_the_way = Projection(problem.x, problem.W, b)
            for keep in (True, False):
                expected, found = (
                    cpu.recurrent(problem.cell, xz, *arguments, keep=keep, bias=problem.bias)
                    for xz in (before, on_the_way)
                )
                close({"y": found[0]}, {"y": expected[0]}, dtype)
                close(dict(enumerate(found[1])), dict(enumerate(expected[1])), dtype)


def test_an_input_to_be_projected_is_checked():
    x, W, U = np.ones((2, 3, 4), "f4"), np.ones((5, 8), "f4"), np.ones((8, 8), "f4")
    with engines.using("cpu") as cpu, pytest.raises(ValueError, match="W: expected 4 rows, 8 wide"):
        cpu.recurrent(CELLS["simple_rnn"], Projection(x, W, None), U)


def takes_projection(monkeypatch):
    """Whether each way back so far took the gradients of the projection, a list."""
    found, sweep_backward = [], _core.sweep_backward

    def observed(*arguments):
        found.append(len(arguments) == 9)
        return sweep_backward(*arguments)

    monkeypatch.setattr(_core, "sweep_backward", observed)
    return found


# Rows, steps, width of the inputs and units: walks of 8 and of 16 rows, of several blocks of steps
# and of less than one, rows that fill no tile, wide inputs, units that fill no vector.
WAY_BACK = [(26, 40, 5, 13), (33, 7, 70, 9), (70, 30, 1, 16), (57, 9, 20, 33), (65, 3, 130, 72)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", WAY_BACK)
@pytest.mark.parametrize("mask", ["none", "runs"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_inputs_on_the_way_back(monkeypatch, threads, cell, mask, sizes, dtype):
    problem = Problem(13, *sizes, mask=mask, sequences=True, state=True, dtype=dtype, cell=cell)
    took = takes_projection(monkeypatch)
    check_threads(problem, dtype, threads, 3, 8)
    assert took == [True] * 3


@pytest.mark.parametrize("noise", [0, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_inputs_on_the_way_back_by_differences(monkeypatch, cell, noise):
    problem = Problem(14, 25, 3, 2, 2, mask="pre", sequences=True, cell=cell, noise=noise)
    took = takes_projection(monkeypatch)
    with engines.using("cpu") as cpu:
        check_problem(problem, cpu)
    assert took == [True]


@pytest.mark.parametrize(
    "sizes", [(24, 5, 4, 4), (25, 5, 0, 4), (25, 2, 260, 256), (25, 2, 3, 260)]
)
def test_few_walks_and_large_or_no_weights_leave_the_inputs_for_later(monkeypatch, sizes):
    problem = Problem(15, *sizes)
    took = takes_projection(monkeypatch)
    with engines.using("reference") as reference:
        expected = problem.run(reference)
    with engines.using("cpu") as cpu:
        close(problem.run(cpu), expected, np.float64)
    assert took == [False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("B", [0, 1, 8, 9])
def test_a_projection_on_the_way_back_of_few_rows(B, dtype):
    """The engine has no use for it, but sums of a walk alone must begin from nothing too."""
    T, D, H = 3, 2, 32
    rng = np.random.default_rng(B)
    x, dy = (rng.normal(size=(B, T, n)).astype(dtype) for n in (D, H))
    W, U = (rng.normal(size=(n, H)).astype(dtype) / 6 for n in (D, H))
    h, dU, found = np.empty((B, H), dtype), np.zeros_like(U), [x.copy(), W * 0, np.zeros(H, dtype)]
    sweep = _core.sweep_forward(*CELLS["simple_rnn"], B, T, (x @ W).reshape(B * T, H), None, U,
                                None, None, None, False, None, [h], True)
    _core.Block(1 << 20)
    _core.sweep_backward(sweep, U, dy, None, None, [h], dU, None, (x, W, *found))
    with engines.using("reference") as reference:
        tape = reference.recurrent(CELLS["simple_rnn"], x @ W, U, return_sequences=True)[2]
        dz = reference.recurrent_backward(tape, U, dy, None, np.zeros_like(U))[0]
        expected = [None, W * 0, np.zeros(H, dtype)]
        expected[0] = reference.project_backward(x, W, dz, *expected[1:])
    close(dict(enumerate(found)), dict(enumerate(expected)), dtype)


@pytest.mark.parametrize("name, wrong", [
    ("x", (25, 4, 3)), ("W", (2, 5)), ("dx", (25, 5, 2)), ("dW", (3, 3)), ("db", (5,)),
])  # fmt: skip
def test_a_projection_on_the_way_back_is_checked(name, wrong):
    B, T, D, H = 25, 5, 3, 4
    x, W = np.ones((B, T, D)), np.ones((D, H))
    arrays = {"x": x, "W": W, "dx": x.copy(), "dW": W.copy(), "db": np.ones(H)}
    U, h = np.eye(H), np.ones((B, H))
    sweep = _core.sweep_forward(*CELLS["simple_rnn"], B, T, np.ones((B * T, H)), None, U, None,
                                None, None, False, None, [h], True)

    def back(arrays, dxz=None):
        projection = tuple(arrays.values())
        _core.sweep_backward(sweep, U, None, None, dxz, [h.copy()], U.copy(), None, projection)

    back(arrays)
    with pytest.raises(ValueError, match=f"{name}: expected"):
        back(arrays | {name: np.ones(wrong)})
    with pytest.raises(ValueError, match="without a dxz"):
        back(arrays, np.ones((B * T, H)))


# Layers so wide that threads without rows of their own share each step's products.
SHARED = {
    "dense": {"units": 300, "mask": "none"},
    "whole vectors": {"units": 256, "mask": "none"},
    "mask, noise": {"units": 272, "mask": "runs", "state": True, "noise": 4},
    "lookup, prefix": {"units": 269, "mask": "none", "lookup": True},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", SHARED.values(), ids=SHARED)
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_that_share_the_steps_of_wide_layers(threads, cell, rows, options, dtype):
    problem = Problem(rows, rows, 37, 5, padded=True, sequences=True, dtype=dtype, cell=cell,
                      **options)
    check_threads(problem, dtype, threads, 2, 3, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cell", "units"), [("lstm", 384), ("simple_rnn", 736)])
def test_large_weights_whose_gradient_follows_the_walks(threads, cell, units, dtype):
    """19 rows in three shards, and more steps in all than are summed at a time."""
    problem = Problem(1, 19, 15, 3, units, sequences=True, dtype=dtype, cell=cell, state=True)
    check_threads(problem, dtype, threads, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 2, 3, 16, 33, 100, 145, 300])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_of_one_row_on_every_isa(isa, cell, units, dtype):
    """Up to four read U as it stands, of wide layers up to 128; and one so reads W, too."""
    for steps, noise in ((1, 0), (2, 4), (4, 0), (5, 0), (8, 4 * (units > 100))):
        problem = Problem(2, 1, steps, 9, units, sequences=True, dtype=dtype, cell=cell, state=True,
                          noise=noise)
        with engines.using("reference") as reference:
            expected = problem.run(reference)
        with engines.using("cpu") as cpu:
            close(problem.run(cpu), expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("units", "steps", "noise"),
    [(769, 4, 0), (769, 4, 4), (200, 40, 1), (384, 6, 4), (256, 128, 0), (256, 129, 0)],
)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_of_one_wide_row_are_shared(isa, threads, cell, units, steps, noise, dtype):
    """769 units: the last part of U is one row, behind whole strips. 129 steps: U is packed."""
    problem = Problem(3, 1, steps, 5, units, sequences=True, dtype=dtype, cell=cell, state=True,
                      noise=noise)
    check_threads(problem, dtype, threads, 2, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("units", "steps"), [(20, 4), (20, 9), (200, 9), (70, 140)])
@pytest.mark.parametrize("cell", CELLS)
def test_one_row_behind_padding(isa, threads, cell, units, steps, dtype):
    problem = Problem(5, 1, steps, 3, units, lookup=True, sequences=True, dtype=dtype, cell=cell)
    problem.ids[0, : steps // 2] = 0
    check_threads(problem, dtype, threads, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [32, 256])  # alone on one thread a simple RNN is a chain
def test_a_step_from_zeros_does_not_meet_the_weights(threads, units, cell, value):
    problem = Problem(4, 1, 40, 5, units, sequences=True, dtype=np.float32, cell=cell)
    problem.U[3, 5] = value
    results = []
    with engines.using("cpu") as cpu:
        for n in (1, 2):
            threads(n)
            results.append(problem.forward(cpu)[1][0])
    np.testing.assert_array_equal(*results)
    assert np.isfinite(results[0][:, 0]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_wide_layer_that_keeps_nothing_shares_its_steps(threads, cell):
    problem = Problem(3, 4, 30, 5, 260, sequences=True, cell=cell, mask="post")
    results = []
    with engines.using("cpu") as cpu:
        for n in (1, 4):
            threads(n)
            xz = cpu.project(problem.x, problem.W, problem.b, problem.mask)
            sequence, last, _ = cpu.recurrent(
                problem.cell, xz, problem.U, None, problem.mask, True, keep=False,
                bias=problem.bias,
            )
            results.append([sequence, *last])
    for alone, shared in zip(*results, strict=True):
        np.testing.assert_array_equal(shared, alone)


@pytest.mark.parametrize("first", [0, 1, 15, 16, 17, 33, 39, 40])
def test_a_shared_beginning_ends_where_the_first_id_differs(first):
    """Beginnings are compared many ids at a time."""
    ids = np.full((5, 40), 3, np.int32)
    ids[1, first:], ids[2, first + 1 :] = 1, 2
    numbers = np.random.default_rng(first)
    P, U = (numbers.uniform(-1, 1, shape) for shape in ((4, 8), (8, 8)))
    with engines.using("cpu") as engine:
        looked_up, alone = (
            engine.recurrent(CELLS["simple_rnn"], xz, U, return_sequences=True, keep=False)[0]
            for xz in (Lookup(ids, P), P[ids])
        )
    np.testing.assert_allclose(looked_up, alone, rtol=0, atol=1e-14)


class Padded:
    """Rows that begin with so many steps of one id, over a cell's weights, with no way back."""

    def __init__(self, cell, units, dtype=np.float64):
        self.cell = CELLS[cell]
        self.numbers = np.random.default_rng(units)
        gates = self.cell.gates
        self.P, self.U, self.b = (
            self.numbers.uniform(-1, 1, shape).astype(dtype) / units**0.5
            for shape in ((9, gates * units), (units, gates * units), units)
        )

    def ids(self, *padding, steps=60):
        ids = self.numbers.integers(1, 9, (len(padding), steps)).astype(np.int32)
        for row, n in zip(ids, padding, strict=True):
            row[:n] = 0
        return ids

    def run(self, ids, sequences=False, dense=False):
        """The sequence, if asked for, and the last states; ``dense``: without ids."""
        xz = self.P[ids] if dense else Lookup(ids, self.P)
        inner = self.b if self.cell.kind == "gru" and self.cell.reset_after else None
        with engines.using("cpu") as cpu:
            sequence, last, _ = cpu.recurrent(
                self.cell, xz, self.U, return_sequences=sequences, keep=False, bias=inner
            )
        return [sequence, *last] if sequences else last


@pytest.fixture
def nothing_known():
    """Begin without prefixes from before."""
    _core.free_spare_memory()
    assert _core.known_prefixes()[2] == 0


def known(run):
    """What ``run()`` returns, how many prefixes it knew, and how many it did not."""
    hits, misses, _ = _core.known_prefixes()
    found = run()
    now = _core.known_prefixes()
    return found, now[0] - hits, now[1] - misses


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("units", [7, 32, 270])
@pytest.mark.parametrize("cell", CELLS)
def test_a_prefix_is_walked_once(nothing_known, threads, cell, units, sequences):
    padded = Padded(cell, units)
    threads(3)
    batches = [padded.ids(40), padded.ids(50), padded.ids(45), padded.ids(59, 60, 57),
               padded.ids(*range(17, 57, 2))]
    first_of_all = []
    for ids in batches:
        first_of_all.append(padded.run(ids, sequences))
        _core.free_spare_memory()
    expected_hits = (0, 0, 1, 0, 1)  # the second and the fourth have longer prefixes
    for ids, first, expected in zip(batches, first_of_all, expected_hits, strict=True):
        found, hits, misses = known(lambda ids=ids: padded.run(ids, sequences))
        assert (hits, misses) == (expected, 1 - expected)
        dense = padded.run(ids, sequences, dense=True)
        for one, other, third in zip(found, first, dense, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(one, third, rtol=0, atol=1e-13)
    assert _core.known_prefixes()[2] == 1


@pytest.mark.parametrize("cell", CELLS)
def test_what_one_row_led_to_is_what_a_batch_would_find(nothing_known, cell):
    """Of a wide layer, whose U a single row would read as it stands, had it no prefix."""
    padded = Padded(cell, 270)
    row, batch = padded.ids(50), padded.ids(*range(17, 50, 2))
    fresh = padded.run(batch)
    _core.free_spare_memory()
    padded.run(row)
    found, hits, _ = known(lambda: padded.run(batch))
    assert hits == 1
    for one, other in zip(found, fresh, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("changed", ["P", "U", "b", "activation", "isa"])
def test_a_prefix_of_other_weights_is_not_known(nothing_known, changed):
    padded = Padded("gru", 12)
    ids = padded.ids(50)
    before, isa = padded.run(ids), _core.isa()
    if changed == "activation":
        padded.cell = padded.cell._replace(activation="relu")
    elif changed == "isa":
        _core.use_isa(_core.available_isas()[0])
    else:
        getattr(padded, changed)[0] += 0.5
    try:
        (found,), hits, misses = known(lambda: padded.run(ids))
        np.testing.assert_allclose(found, *padded.run(ids, dense=True), rtol=0, atol=1e-13)
    finally:
        _core.use_isa(isa)
    assert (hits, misses) == (0, 1)
    assert changed == "isa" or np.abs(found - before).max() > 1e-3


@pytest.mark.parametrize("biased_first", [False, True])
def test_a_prefix_with_a_bias_is_none_without(nothing_known, biased_first):
    """Where bias and U are all of one number, a comparison that ran on would find them equal."""
    padded = Padded("gru", 12)
    padded.U[...] = padded.b[...] = 0.1
    ids, biases = padded.ids(50), [None, padded.b]
    with engines.using("cpu") as cpu:
        for bias in biases[::-1] if biased_first else biases:
            arguments = {"keep": False, "bias": bias}
            (found,) = cpu.recurrent(padded.cell, Lookup(ids, padded.P), padded.U, **arguments)[1]
            (dense,) = cpu.recurrent(padded.cell, padded.P[ids], padded.U, **arguments)[1]
            np.testing.assert_allclose(found, dense, rtol=0, atol=1e-13)
    assert _core.known_prefixes()[2] == 2


def test_a_few_prefixes_are_known(nothing_known):
    models = [Padded("lstm", units) for units in (3, 4, 5, 6, 7)]
    for padded in models:
        padded.run(padded.ids(30))
    assert _core.known_prefixes()[2] == 4
    for padded, expected in zip(models[::-1], (1, 1, 1, 1, 0), strict=True):
        assert known(lambda padded=padded: padded.run(padded.ids(30)))[1] == expected


def test_short_and_huge_prefixes_are_not_kept(nothing_known):
    for units, steps, padding in ((4, 60, 15), (2048, 17, 16)):
        padded = Padded("simple_rnn", units)
        padded.run(padded.ids(padding, steps=steps))
    assert _core.known_prefixes()[2] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_ids_are_not_counted_where_nothing_goes_back(dtype):
    numbers = np.random.default_rng(0)
    # The last row does not occur. The 12 before it fill whole tiles of products, whose sums it then
    # leaves alone.
    table, W, U = (numbers.uniform(-1, 1, n).astype(dtype) for n in ((13, 4), (4, 8), (8, 8)))
    ids = numbers.integers(0, 12, (6, 30)).astype(np.int32)
    with engines.using("cpu") as engine:
        kept, free = (engine.project(Lookup(ids, table), W, keep=keep) for keep in (True, False))
        assert len(kept.table) == 12 and len(free.table) == 13
        few = engine.project(Lookup(ids[:1, :3], table), W, keep=False)
        assert len(few.table) == len(np.unique(ids[:1, :3]))
        found = [engine.recurrent(CELLS["simple_rnn"], xz, U, keep=False) for xz in (kept, free)]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_rows_that_leave_a_shared_beginning_at_once_wait_for_its_first_states(threads):
    """Many tries: now and then a thread reaches those rows before another begins the prefix."""
    rng = np.random.default_rng(0)
    others = Problem(0, 32, 12, 4, 5, dtype=np.float32)
    ids = rng.integers(1, 30, (32, 12)).astype(np.int32)
    ids[8:, :6] = 0
    table = rng.normal(size=(30, 4)).astype(np.float32)
    spoiled = [np.full((32, 5), np.nan, np.float32)]

    def last(cpu):
        xz = cpu.project(Lookup(ids, table), others.W, others.b)
        return cpu.recurrent(others.cell, xz, others.U, keep=False)[1][0]

    with engines.using("cpu") as cpu:
        threads(1)
        alone = last(cpu)
        threads(2)
        xz = cpu.project(others.x, others.W, others.b)
        for _ in range(6000):
            cpu.recurrent(others.cell, xz, others.U, spoiled)  # what spare memory holds
            np.testing.assert_array_equal(last(cpu), alone)


def test_users_who_share_steps_at_the_same_time_with_too_many_threads(threads):
    """More threads than processors: whoever waits makes way for whoever works."""
    problems = [Problem(seed, 2, 60, 5, 256, sequences=True, cell="lstm") for seed in range(2)]
    with engines.using("cpu") as cpu:
        threads(1)
        alone = [problem.run(cpu) for problem in problems]
        threads(4 * (os.cpu_count() or 1))
        begin = time.perf_counter()
        with ThreadPoolExecutor(2) as users:
            found = [*users.map(lambda problem: [problem.run(cpu) for _ in range(5)], problems)]
        assert time.perf_counter() - begin < 30
    for expected, runs in zip(alone, found, strict=True):
        for run in runs:
            for name in expected:
                np.testing.assert_array_equal(run[name], expected[name], err_msg=name)


@pytest.mark.parametrize("trial", range(4))
def test_wide_products(isa, trial):
    """More columns and depth than one panel or block holds."""
    rng = np.random.default_rng(trial)
    S, D, M = [(300, 500, 130), (1, 1000, 3), (777, 67, 77), (2100, 200, 700)][trial]
    x, W, b = rng.normal(size=(S, D)), rng.normal(size=(D, M)), rng.normal(size=M)
    dz = rng.normal(size=(S, M))
    results = {}
    for name in ENGINES:
        with engines.using(name) as engine:
            dW, db = np.ones((D, M)), np.ones(M)
            z = engine.project(x, W, b)
            dx = engine.project_backward(x, W, dz, dW, db)
            results[name] = {"z": z, "dx": dx, "dW": dW, "db": db}
    close(results["cpu"], results["reference"], np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 7, 16, 17, 47, 130, 300, 1030])
def test_one_row_times_a_matrix(isa, threads, columns, dtype):
    """A row, the only one looked up, the only step that a mask leaves; on any number of threads."""
    rng = np.random.default_rng(columns)
    table = rng.normal(size=(5, 601)).astype(dtype)
    W, b = (rng.normal(size=shape).astype(dtype) for shape in ((601, columns), (columns,)))
    ids, mask = np.full((1, 2), 3, np.int32), StepMask(np.array([3]), np.array([4]), 5)
    close_to = dict(rtol=0, atol=np.finfo(dtype).eps * 1e3)
    with engines.using("cpu") as cpu:
        for bias in (None, b):
            exact = table[3].astype(float) @ W + (0 if bias is None else bias)
            found = []
            for n in (1, 3):
                threads(n)
                found += [
                    cpu.project(table[3:4], W, bias)[0],
                    cpu.project(Lookup(ids, table), W, bias).table[0],
                    cpu.project(table[None], W, bias, mask)[0, 3],
                ]
            np.testing.assert_allclose(found[0], exact, **close_to)
            for other in found[1:]:
                np.testing.assert_array_equal(other, found[0])
        dz, dW = rng.normal(size=(1, 1)).astype(dtype), np.zeros((columns, 1), dtype)
        dx = cpu.project_backward(b[None], b[:, None], dz, dW)  # a matrix of one column, transposed
    np.testing.assert_allclose(dx, dz * b, **close_to)


def update_rule(rule, options):
    """The numbers of a rule with one of four sets of options, and the names of its slots."""
    flag, momentum = bool(options % 2), 0.9 if options > 1 else 0.0
    hyper = {
        "sgd": dict(learning_rate=0.1, momentum=momentum, nesterov=flag),
        "rmsprop": dict(learning_rate=0.1, rho=0.9, momentum=momentum, epsilon=1e-7, centered=flag),
        "adam": dict(learning_rate=0.1, beta_1=0.9, beta_2=0.99, epsilon=1e-7, amsgrad=flag),
    }[rule]
    names = {
        "sgd": ["momentum"] * (momentum > 0),
        "rmsprop": ["velocity"] + ["momentum"] * (momentum > 0) + ["average_gradient"] * flag,
        "adam": ["momentum", "velocity"] + ["velocity_hat"] * flag,
    }[rule]
    return hyper, names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("options", range(4))
def test_updates_agree(isa, rule, options, dtype):
    rng = np.random.default_rng(7)
    n = 20011
    hyper, names = update_rule(rule, options)
    start = rng.normal(size=n).astype(dtype)
    gradients = rng.normal(size=(3, n)).astype(dtype)
    gradients[1, n // 3 : n // 2] = 0  # as of rows that did not occur
    results = {}
    for name in ENGINES:
        with engines.using(name) as engine:
            value, slots = start.copy(), {slot: np.zeros(n, dtype) for slot in names}
            for gradient in gradients:
                used = gradient.copy()
                engine.update(rule, value, used, slots, **hyper)
                assert not used.any()
            results[name] = {"value": value, **slots}
    close(results["cpu"], results["reference"], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", ["sgd", "rmsprop", "adam"])
@pytest.mark.parametrize("options", [0, 3])
@pytest.mark.parametrize("width, before, rows", [
    (32, 0, 600), (32, 48, 600), (5, 7, 3000), (9000, 3, 2), (1, 0, 20011), (16, 11, 0),
])
def test_rows_of_a_table_update_it_like_a_gradient_of_all_of_it(
    isa, rule, options, dtype, width, before, rows
):
    """With rows side by side, alone, first, last, or not at all; whole vectors exactly."""
    rng = np.random.default_rng(5)
    n = 20011
    hyper, names = update_rule(rule, options)
    start = rng.normal(size=n).astype(dtype)
    where = slice(before, before + rows * width)
    with engines.using("cpu") as cpu:
        results = {False: (start.copy(), {s: np.zeros(n, dtype) for s in names})}
        results[True] = start.copy(), {s: np.zeros(n, dtype) for s in names}
        for share in (0.3, 1.0, 0.0, 0.9):
            occur = np.flatnonzero(rng.uniform(size=rows) < share).astype(np.int32)
            gradient = RowGradient(occur, rng.normal(size=(len(occur), width)).astype(dtype))
            rest = rng.normal(size=n).astype(dtype)
            rest[where] = 0
            for by_rows, (value, slots) in results.items():
                used = rest.copy()
                if not by_rows:
                    cpu.add_rows(gradient, used[where].reshape(rows, width))
                table = (where, gradient) if by_rows else None
                cpu.update(rule, value, used, slots, table, **hyper)
                assert not used.any()
    # At ends of rows that fill no vector a compiler may fuse other operations.
    tolerance = 0 if width == 32 else 16 * np.finfo(dtype).eps
    (value, slots), (by_rows, slots_by_rows) = results.values()
    for name, a in {"value": value, **slots}.items():
        b = {"value": by_rows, **slots_by_rows}[name]
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance, err_msg=name)


def test_sum_of_squares(isa):
    a = np.random.default_rng(0).normal(size=50001).astype(np.float32)
    with engines.using("cpu") as cpu:
        assert cpu.sum_squares(a) == pytest.approx(float((a.astype(float) ** 2).sum()), rel=1e-12)


# -- the interface --------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_engines_have_the_interface_and_its_signatures(name):
    methods = {n: f for n, f in vars(Engine).items() if inspect.isfunction(f)}
    assert len(methods) > 10
    with engines.using(name) as engine:
        for method, declared in methods.items():
            ours = inspect.signature(getattr(type(engine), method))
            assert ours == inspect.signature(declared), method


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("bad", [-1, 5, 2**31 - 1, -(2**31)])
def test_ids_outside_the_table_are_refused(name, bad):
    ids = np.array([[0, 1, bad, 2]], np.int32)
    table, W = np.ones((5, 3), np.float32), np.ones((3, 2), np.float32)
    with engines.using(name) as engine:
        for call in (lambda: engine.lookup(ids, table),
                     lambda: engine.project(Lookup(ids, table), W)):
            with pytest.raises(IndexError, match="ids from 0 to 4"):
                call()


def test_unknown_engine():
    with pytest.raises(ValueError, match="cpu"), engines.using("gpu"):
        pass
