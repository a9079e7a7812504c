"""The sweeps of recurrent layers for GPUs, in Numba's simulator or there, against the reference."""

import numpy as np
import pytest
from engine_cases import CELLS, Problem

from fastrnn.cuda import batched_matmul
from fastrnn.engines.reference import ReferenceEngine

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from cuda_cases import DTYPES, make_shared_arrays_safe  # noqa: E402
from numba import cuda  # noqa: E402

from fastrnn.cuda.kernels.cells import steps_of  # noqa: E402
from fastrnn.cuda.kernels.sweep import WARP, sweep_backward, sweep_forward  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
KINDS = ("simple_rnn", "lstm", "gru")


@pytest.fixture(autouse=True)
def safe(monkeypatch):
    make_shared_arrays_safe(monkeypatch)


class Sweep:
    """The two kernels on the arrays of a `Problem`, all results on the host."""

    def __init__(self, problem, xz):
        self.problem, self.cell = problem, problem.cell
        self.rows, self.steps, _ = xz.shape
        self.units, self.dtype = len(problem.U), problem.U.dtype
        mask = problem.mask
        whole = np.zeros(self.rows), np.full(self.rows, self.steps)
        bounds = whole if mask is None else (mask.start, mask.stop)
        self.bounds = [cuda.to_device(np.asarray(bound, np.int64)) for bound in bounds]
        self.xz, self.U = map(cuda.to_device, (xz, problem.U))
        self.bias = self.array(problem.bias if problem.bias is not None else np.empty(0))
        self.sizes = steps_of(self.cell, self.dtype.name)

    def array(self, values):
        return cuda.to_device(np.ascontiguousarray(values, self.dtype))

    def unwritten(self, *shape):
        """On the device, full of NaN, which shows what is not written."""
        return self.array(np.full(shape, np.nan))

    def run(self):
        """What `Problem.run` finds, by the same names, so far as the kernels compute it."""
        sizes, problem, B, T, H = self.sizes, self.problem, self.rows, self.steps, self.units
        first = np.concatenate(problem.states or [np.zeros((B, sizes.states * H))], axis=1)
        tape = np.full((B, T + 1, sizes.states * H), np.nan)
        tape[:, 0] = first
        tape, kept = self.array(tape), self.unwritten(B, T, max(sizes.kept, 1) * H)
        sequence = self.unwritten(B, T, H)
        forward = sweep_forward(self.cell, H, self.dtype.name)
        forward[B, WARP](
            self.xz, self.U, self.bias, *self.bounds, tape, kept, sequence, True,
            problem.sequences, problem.zero_output,
        )
        dstates = self.array(np.concatenate(problem.dlast, axis=1))
        dy = self.array(problem.dy if problem.sequences else np.zeros((1, 1, 1)))
        dxz, dsums = (self.unwritten(B, T, sizes.gates * H) for _ in range(2))
        backward = sweep_backward(self.cell, H, self.dtype.name)
        backward[B, WARP](
            self.U, *self.bounds, tape, kept, dy, problem.sequences, problem.zero_output, dstates,
            dxz, dsums,
        )
        tape, dxz, dsums, sequence = (a.copy_to_host() for a in (tape, dxz, dsums, sequence))
        if self.cell.kind != "gru":
            assert np.isnan(dsums).all()
            dsums = dxz
        found = {"dxz": dxz, "dU": np.einsum("bth,btg->hg", tape[:, :-1, :H], dsums)}
        if problem.bias is not None:
            found["dbias"] = dsums[..., 2 * H :].sum(axis=(0, 1))
        if problem.sequences:
            found["sequence"] = sequence
        else:
            assert np.isnan(sequence).all()
        for s, states in enumerate(np.split(tape[:, -1], sizes.states, axis=1)):
            found[f"last{s}"] = states
        for s, states in enumerate(np.split(dstates.copy_to_host(), sizes.states, axis=1)):
            found[f"dstate{s}"] = states
        self.tape, self.dsums = tape, dsums
        return found


def reference(problem):
    """The same by the reference engine in double precision, and its projected input."""
    engine = ReferenceEngine()
    xz = engine.project(problem.x, problem.W, problem.b)
    U, (bias, dU) = problem.U, (problem.bias, np.zeros_like(problem.U))
    dbias = None if bias is None else np.zeros_like(bias)
    sequence, last, tape = engine.recurrent(
        problem.cell, xz, U, problem.states, problem.mask, problem.sequences, problem.zero_output,
        bias=bias,
    )
    dxz, dstates = engine.recurrent_backward(tape, U, problem.dy, problem.dlast, dU, dbias=dbias)
    wanted = {"dxz": dxz, "dU": dU, "sequence": sequence, "dbias": dbias}
    wanted |= {f"last{s}": a for s, a in enumerate(last)}
    wanted |= {f"dstate{s}": a for s, a in enumerate(dstates)}
    return xz, {name: a for name, a in wanted.items() if a is not None}


def check(dtype, **kwargs):
    """Hold the kernels in ``dtype`` against the reference in double precision."""
    problem = Problem(**kwargs)
    xz, wanted = reference(problem)
    single = Problem(**kwargs, dtype=np.dtype(dtype).type)
    sweep = Sweep(single, xz.astype(dtype))
    found = sweep.run()
    assert found.keys() == wanted.keys()
    for name in wanted:
        scale = max(1.0, np.abs(wanted[name]).max(initial=0))
        np.testing.assert_allclose(
            found[name] / scale, wanted[name] / scale, rtol=0, atol=TOLERANCE[dtype], err_msg=name
        )
    return sweep, found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("units", [5, 32])
def test_against_the_reference(cell, dtype, units):
    check(dtype, seed=0, rows=2, steps=6, width=3, units=units, cell=cell, state=True,
          sequences=True)


@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("output", ["last", "sequence", "sequence with zeros"])
def test_masks(cell, output):
    """A row with padding before, one with padding behind, and one that has nothing else."""
    problem = check(
        "float64", seed=26, rows=3, steps=5, width=2, units=3, cell=cell, mask="runs",
        sequences=output != "last", zero_output=output == "sequence with zeros", state=True,
    )[0].problem
    counts = np.asarray(problem.mask)
    empty = ~counts.any(axis=1)
    assert empty.any() and (~empty & ~counts[:, 0]).any() and (~empty & ~counts[:, -1]).any()


@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "linear", "hard_sigmoid"])
def test_activations(cell, activation):
    gate = "hard_sigmoid" if activation == "sigmoid" else "sigmoid"
    check("float64", seed=2, rows=2, steps=4, width=2, units=4, cell=cell, activation=activation,
          recurrent_activation=gate, sequences=True)


@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("steps", [1, 3, 11])
def test_fewer_steps_than_are_fetched_ahead_and_more(cell, steps):
    check("float64", seed=3, rows=1, steps=steps, width=2, units=3, cell=cell, sequences=True)


@pytest.mark.parametrize("cell", KINDS)
def test_gradient_of_U_by_the_batched_product(cell):
    sweep, found = check("float64", seed=4, rows=3, steps=5, width=2, units=4, cell=cell)
    h = np.ascontiguousarray(sweep.tape[:, :-1, :4])
    by_row = batched_matmul(h, sweep.dsums, trans_a=True)
    np.testing.assert_allclose(by_row.sum(axis=0), found["dU"], rtol=0, atol=1e-12)


def test_nothing_kept_where_there_is_no_way_back():
    problem = Problem(5, 1, 3, 2, 4, cell="lstm", sequences=True)
    xz, wanted = reference(problem)
    sweep = Sweep(problem, xz)
    kept, tape, sequence = sweep.unwritten(1, 3, 16), np.zeros((1, 4, 8)), sweep.unwritten(1, 3, 4)
    sweep_forward(problem.cell, 4, "float64")[1, WARP](
        sweep.xz, sweep.U, sweep.bias, *sweep.bounds, sweep.array(tape), kept, sequence, False,
        True, False,
    )
    assert np.isnan(kept.copy_to_host()).all()
    np.testing.assert_allclose(sequence.copy_to_host(), wanted["sequence"], rtol=0, atol=1e-12)


def test_a_reset_before_the_product_is_refused():
    with pytest.raises(NotImplementedError, match="reset_after=False"):
        sweep_forward(CELLS["gru_reset_before"], 4, "float32")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", KINDS)
def test_long_sequences(cell, dtype):
    _, first = check(dtype, seed=6, rows=200, steps=300, width=8, units=32, cell=cell, mask="pre",
                     sequences=True)
    _, second = check(dtype, seed=6, rows=200, steps=300, width=8, units=32, cell=cell, mask="pre",
                      sequences=True)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
