"""The comparison with other libraries: its arithmetic and tables, and a process that is held."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

COMPARE = Path(__file__).resolve().parents[1] / "benchmarks" / "compare"
MODULES = ["cells", "chart", "compare", "footprint", "grid", "peers", "protocol", "speed", "tables"]


@pytest.fixture(scope="module")
def modules():
    """The comparison's modules, which import each other by their bare names."""
    sys.path.insert(0, str(COMPARE))
    try:
        yield {name: __import__(name) for name in MODULES}
    finally:
        sys.path.remove(str(COMPARE))
        for name in MODULES:
            del sys.modules[name]


def figures(ms, ratio=1.0):
    spread = {"median": ms, "min": 0.5 * ms, "max": 2 * ms}
    ratios = {"median": ratio, "min": 0.5 * ratio, "max": 2 * ratio}
    return {"ms": spread, "ratio": ratios, "rounds": [ms]}


def row(layer="LSTM", units=128, batch=32, task="forward", left_out=None, **ratios):
    peers = {"fastrnn": figures(2.0)} | {n: figures(2.0 * r, r) for n, r in ratios.items()}
    return {
        "layer": layer, "units": units, "batch": batch, "steps": 100, "task": task,
        "peers": peers, "ways": {}, "left_out": left_out or {},
    }


# -- the grid -----------------------------------------------------------------------------------


def test_flops_are_those_of_the_products(modules):
    flops = modules["grid"].flops
    # One row, one step: x (1, 3) by W (3, 2) takes 6 multiplications and 6 additions, h (1, 2) by
    # U (2, 2) takes 4 and 4.
    assert flops("forward", "SimpleRNN", 1, 1, 3, 2) == 20
    assert flops("forward", "SimpleRNN", 5, 7, 3, 2) == 5 * 7 * 20
    assert flops("forward", "LSTM", 1, 1, 3, 2) == 4 * 20
    assert flops("backward", "GRU", 1, 1, 3, 2) == 3 * 3 * 20


def test_grid_has_108_rows(modules):
    grid, cells = modules["grid"], modules["cells"].CELLS
    cases = grid.cases(cells, grid.UNITS, grid.BATCHES)
    assert len(set(cases)) * len(grid.TASKS) == 108
    assert {case.steps for case in cases if case.units == 512} == {30}
    assert {case.steps for case in cases if case.units < 512} == {100}


def test_gflops(modules):
    work = 2 * 32 * 100 * 256 * 4 * 128
    assert modules["grid"].gflops(row()) == pytest.approx(work / 2e-3 / 1e9)


def test_summary_of_the_grid(modules):
    summed = modules["grid"].summarise(
        [
            row(units=128, batch=1, JAX=4.0, PyTorch=9.0),
            row(units=256, batch=32, JAX=5.0, PyTorch=1.0),
            row(units=512, batch=128, task="backward", JAX=0.25),
            row(units=16, batch=32),  # nobody to compare with
        ]
    )
    assert (summed["rows"], summed["first"]) == (3, 1)
    assert summed["mean"] == pytest.approx(1.0)
    assert (summed["least"], summed["least_peer"]) == (0.25, "JAX")
    assert summed["least_row"] == {
        "layer": "LSTM", "units": 512, "batch": 128, "task": "backward",
    }
    assert set(summed["gflops"]) == {"forward", "backward"}


def test_workload_is_the_same_every_time(modules, tmp_path):
    grid = modules["grid"]
    case = grid.Case("GRU", 16, 32)
    contents = []
    for name in ("a.npz", "b.npz"):
        grid.write_workload(case, tmp_path / name)
        with np.load(tmp_path / name) as file:
            contents.append(dict(file))
    a, b = contents
    assert a["x"].shape == a["dy"].shape == (32, 100, 16)
    assert (a["W"].shape, a["U"].shape, a["b"].shape) == ((16, 48), (16, 48), (2, 48))
    assert all((a[name] == b[name]).all() for name in a)
    np.testing.assert_allclose(a["U"] @ a["U"].T, np.eye(16), atol=1e-5)


# -- agreement, and figures ---------------------------------------------------------------------


def test_a_result_that_differs_is_refused(modules):
    check, difference = modules["peers"].check, modules["grid"].difference
    expected = np.array([1.0, -100.0])
    check("peer", "dx|way", expected + 0.09, expected, difference)
    with pytest.raises(ValueError, match="dx.way differs .* by 2 times"):
        check("peer", "dx|way", expected + 0.2, expected, difference)
    with pytest.raises(ValueError, match="differs"):
        check("peer", "dx|way", expected * np.nan, expected, difference)
    with pytest.raises(ValueError, match="shape"):
        check("peer", "dx|way", expected[:1], expected, difference)


def test_a_known_difference_is_excused(modules):
    difference = modules["speed"].difference
    ones, zeros = np.ones(3), np.zeros(3)
    assert difference("Keras (TensorFlow)", "w0", ones, zeros) == 0
    assert difference("Keras (TensorFlow)", "w1", ones, zeros) > 1
    assert difference("PyTorch", "w0", ones, zeros) > 1


def test_ratios_are_those_of_a_round(modules):
    summed = modules["peers"].summary({"fastrnn": [1.0, 2.0, 4.0], "peer": [4.0, 4.0, 4.0]})
    assert summed["peer"]["ratio"] == {"median": 2.0, "min": 1.0, "max": 4.0}
    assert summed["fastrnn"]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert modules["peers"].fastest(summed) == "peer"
    assert modules["peers"].fastest({"fastrnn": summed["fastrnn"]}) is None


# -- tables and chart ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.0123"), (4.5, "4.5"), (103.6, "104"), (1234.0, "1230")]
)
def test_numbers_have_three_digits_that_count(modules, value, text):
    assert modules["tables"].number(value) == text


def test_table_of_the_grid(modules):
    rows = [row(batch=1, JAX=4.0, PyTorch=9.0), row(JAX=3.0, left_out={"PyTorch": "wrong\nvery"})]
    text = modules["tables"].grid_section({"rows": rows, "versions": {"JAX": {"jax": "1.0"}}})
    assert "first in 2 of 2 rows" in text and "JAX: jax 1.0." in text
    assert "PyTorch in LSTM, H 128, B 32 (wrong)" in text
    assert "| H | B | fastrnn, ms | GFLOP/s | × JAX | × PyTorch |" in text
    assert "| 128 | 1 | 2 (1–4) |" in text and "| **4 (2–8)** | 9 (4.5–18) |" in text
    assert "| **3 (1.5–6)** | ✗ |" in text


@pytest.fixture
def measured():
    """Figures of every kind, as `compare.py` keeps them."""
    tasks = {"train": {"fastrnn": figures(2.0), "PyTorch": figures(8.0, 4.0)}}
    tasks["row"] = {"fastrnn": figures(0.1), "PyTorch": figures(0.8, 8.0)}
    peers = {name: {"versions": {"x": "1"}, "ways": {}} for name in ("fastrnn", "PyTorch")}
    peers["PyTorch"]["ways"] = {"train": {"2 threads": 8.0, "1 thread": 9.25}, "row": {"only": 1.0}}
    result = {"reviews": "IMDB", "peers": peers, "left_out": {}, "tasks": tasks}
    spread = {"median": 0.001, "min": 0.001, "max": 0.002}
    return {
        "machine": {"cores": 2},
        "speed": {"rounds": 9, "batches": 32, "layers": {"SimpleRNN": result}},
        "grid": {"rows": [row("SimpleRNN", PyTorch=4.0)], "versions": {}},
        "accuracy": {
            "runs": [{"seed": 0, "best_val_acc": 0.8, "test_acc": 0.7, "seconds": 5.0}]
        },
        "memory": {
            "numpy": 30e6,
            "peers": {
                "fastrnn": {"script": 230e6, "training": 130e6, "way": "fit"},
                "ONNX Runtime": {},
            },
        },
        "import": {"fastrnn": {"package": spread, "script": spread}},
        "size": {"fastrnn": {"total": 9.2e6, "parts": {}}},
    }


def test_all_figures_as_markdown(modules, measured):
    text = modules["tables"].markdown(json.loads(json.dumps(measured)))
    assert "| PyTorch | 8 (4–16) | 4 (2–8) | 0.8 (0.4–1.6) | 8 (4–16) |" in text
    assert "\n- PyTorch, training step: 2 threads 8; 1 thread 9.25\n" in text
    assert "only" not in text  # it had no choice
    assert "| fastrnn | 230 | 200 | 130 | 100 | fit |" in text
    assert "| ONNX Runtime | – | – | – | – | – |" in text
    assert "| fastrnn | 1 (1–2) | 1 (1–2) |" in text and "| fastrnn | 9.2 |" in text


def test_chart(modules, measured, tmp_path):
    panels = modules["chart"].panels(measured)
    assert {row for row, _ in panels} == {"The model", "Layer alone:\nforward"}
    assert panels["The model", "SimpleRNN"][0][0] == "training step"
    modules["chart"].draw(measured, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_report_of_kept_figures(modules, measured, tmp_path, monkeypatch, capsys):
    kept, again = tmp_path / "kept.json", tmp_path / "again.md"
    kept.write_text(json.dumps(measured))
    monkeypatch.setattr(sys, "argv", ["compare.py", "--from", str(kept), "--markdown", str(again)])
    modules["compare"].main()
    assert "## The layer grid" in again.read_text()
    assert capsys.readouterr().out.strip() == again.read_text().strip()


def test_what_was_measured_is_kept_when_the_rest_is_cut_off(
    modules, measured, tmp_path, monkeypatch
):
    compare, out = modules["compare"], tmp_path / "out.json"
    layer = measured["speed"]["layers"]["SimpleRNN"]

    def measure_speed(options, name, *_):
        if name == "LSTM":
            raise KeyboardInterrupt
        return layer

    monkeypatch.setattr(compare, "measure_speed", measure_speed)
    arguments = ["--layers", "SimpleRNN", "LSTM", "--out", str(out), "--env-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments])
    with pytest.raises(KeyboardInterrupt):
        compare.main()
    assert json.loads(out.read_text())["speed"]["layers"] == {"SimpleRNN": layer}


# -- processes ----------------------------------------------------------------------------------


@pytest.fixture
def worker(modules, tmp_path):
    """fastrnn's own process for layers."""
    arguments = [sys.executable, str(COMPARE / "peer_fastrnn.py"), ["layer"], tmp_path / "log"]
    worker = modules["protocol"].Worker(*arguments)
    yield worker
    worker.stop()


def state(worker):
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux's /proc")
def test_a_worker_is_held_but_while_it_answers(worker):
    for _ in range(2):
        assert "fastrnn" in worker.ask("versions")
        deadline = time.monotonic() + 10
        while state(worker) != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state(worker) == "T"


def test_a_worker_measures_a_layer(modules, worker, tmp_path):
    grid, peers = modules["grid"], modules["peers"]
    file = tmp_path / "workload.npz"
    grid.write_workload(grid.Case("GRU", 16, 1), file)
    workers, reasons = peers.agreeing({"fastrnn": worker}, file, grid.difference)
    ways = {"fastrnn": worker.ask("choose", tasks=list(grid.TASKS), seconds=0, turns=1)}
    times = peers.in_turns(workers, ways, grid.TASKS, 2, reasons, seconds=0, calls=2)
    assert set(ways["fastrnn"]) == set(grid.TASKS) and not reasons
    assert all(ms > 0 for own in ways["fastrnn"].values() for ms in own.values())
    assert all(len(times[task]["fastrnn"]) == 2 for task in grid.TASKS)


class Failing:
    """A peer that answers so many turns, and then stops."""

    def __init__(self, turns):
        self.turns = turns

    def ask(self, _request, **_):
        self.turns -= 1
        if self.turns < 0:
            raise RuntimeError("out of memory")
        return [2.0, 4.0, 3.0]


def test_who_fails_in_its_turn_is_left_out_and_the_others_go_on(modules):
    peers, reasons = modules["peers"], {}
    workers = {"fastrnn": Failing(99), "first": Failing(1), "later": Failing(3)}
    ways = dict.fromkeys(workers, {"forward": "", "backward": ""})
    times = peers.in_turns(workers, ways, ["forward", "backward"], 4, reasons)
    assert times == {"forward": {"fastrnn": [3.0] * 4}, "backward": {"fastrnn": [3.0] * 4}}
    assert reasons == dict.fromkeys(["first", "later"], "out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        peers.in_turns({"fastrnn": Failing(1)}, {"fastrnn": ways["fastrnn"]}, ["forward"], 2, {})


def test_a_worker_that_dies_says_why(modules, worker):
    with pytest.raises(RuntimeError, match="stopped:\n(.*\n)*.*no_such_file"):
        worker.ask("open", file="no_such_file")
