"""The benchmarks: what the guard makes of numbers, every suite once, and results that tell nothing
of the machine's owner."""

import importlib
import importlib.util
import inspect
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn
from fastrnn import _core, layers
from fastrnn.cuda import discovery

ROOT = Path(__file__).resolve().parents[1]


def load(name):
    """A module of the folder benchmarks/, which no installed package has."""
    if "benchmarks" not in sys.modules:
        folder = ROOT / "benchmarks"
        spec = importlib.util.spec_from_file_location(
            "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"benchmarks.{name}")


# -- the guard -------------------------------------------------------------------------------------

instructions = load("instructions")

DUMP = """\
desc: Trigger: Client Request: LSTM H=32 forward
positions: line
events: Ir
summary: 3500

ob=/lib/libc.so.6
fn=memset
0 400

ob=/somewhere/fastrnn/_core.abi3.so
fn=sweep_forward
0 1000
cob=/lib/libc.so.6
cfn=memset
calls=1 0
0 400
0 23
fn=__pyx_f_7fastrnn_5_core_take
0 77
fn=__Pyx_GetBuffer
0 9

ob=/usr/bin/python3
fn=_PyEval_EvalFrameDefault
0 2000
"""


def test_only_the_core_s_own_instructions_count():
    assert instructions.read_dump(DUMP) == ("LSTM H=32 forward", 1023)


@pytest.mark.parametrize(
    "now, failed, verdict",
    [(1000, False, ""), (1030, False, ""), (970, False, ""), (1031, True, "slower"),
     (969, True, "faster")],
)  # fmt: skip
def test_a_change_beyond_the_bound_fails_either_way(now, failed, verdict):
    lines, found = instructions.compare({"a": 1000, "b": 5}, {"a": now, "b": 5})
    assert found is failed
    assert lines[1].split()[:3] == ["a", "1,000", f"{now:,}"]
    assert f"{now / 10 - 100:+.2f}%" in lines[1]
    assert lines[1].endswith(verdict or "%") and lines[2].endswith("+0.00%")


def test_a_kernel_that_comes_or_goes_fails():
    lines, failed = instructions.compare({"a": 1000, "old": 7}, {"a": 1000, "new": 8})
    assert failed
    assert lines[2].split() == ["new", "-", "8", "new"]
    assert lines[3].split() == ["old", "7", "-", "gone"]


@pytest.fixture
def record(tmp_path, monkeypatch):
    """A file of numbers by the compiler "1.0"."""
    file = tmp_path / "instructions.json"
    file.write_text(json.dumps({"compiler": "1.0", "instructions": {"a": 1000}}))
    monkeypatch.setattr(instructions, "ROOT", tmp_path)
    monkeypatch.setattr(instructions, "RECORD", file)
    return file


def test_check_says_what_changed_and_how_to_record_it(record, monkeypatch, capsys):
    monkeypatch.setattr(instructions, "compiler_of", lambda package: "1.0")
    monkeypatch.setattr(instructions, "count", lambda package: {"a": 1100})
    assert instructions.check() == 1
    printed = capsys.readouterr().out
    assert "+10.00%  slower" in printed and "make guard-record" in printed
    assert instructions.record() == 0
    assert instructions.check() == 0
    assert json.loads(record.read_text())["instructions"] == {"a": 1100}


def test_another_compiler_s_numbers_are_never_trusted(record):
    with pytest.raises(instructions.CannotCount, match="another compiler's"):
        instructions.recorded("2.0")  # the folder has no history to build from


def test_without_valgrind_the_guard_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(instructions.CannotCount, match="apt-get install valgrind"):
        instructions.count()


def test_without_a_compiler_the_guard_says_so(monkeypatch):
    monkeypatch.setattr(instructions, "check_machine", lambda: None)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(instructions.CannotCount, match="no C compiler 'no-such-compiler'"):
        instructions.count()


def test_numbers_are_there_for_all_that_is_counted():
    names = [name for name, _ in load("kernels").counted()]
    assert sorted(names) == sorted(instructions.recorded_names())


# -- the suites ------------------------------------------------------------------------------------


def suites():
    """The classes that asv runs, as (module, class)."""
    for file in sorted((ROOT / "benchmarks").glob("*.py")):
        module = load(file.stem) if file.stem != "__init__" else sys.modules["benchmarks"]
        for suite in vars(module).values():
            if isinstance(suite, type) and issubclass(suite, load("common").Suite):
                if not inspect.isabstract(suite):
                    yield module.__name__, suite


CACHES = {
    "Peak": (100.0,),
    "Instructions": (dict.fromkeys(instructions.recorded_names(), 7),),
}


@pytest.mark.parametrize("module, suite", list(suites()))
def test_suite_runs_here_without_skipping_anything(module, suite):
    assert suite.__module__ == module, "asv would run it twice, under two names"
    instance = suite()
    instance.SECONDS = 0
    arguments = *CACHES.get(suite.__name__, ()), *(p[0] for p in getattr(instance, "params", []))
    if module == "benchmarks.bench_cuda" and (discovery.simulated() or discovery.missing()):
        with pytest.raises(NotImplementedError, match="there is no GPU"):
            instance.setup(*arguments)
        return
    instance.setup(*arguments)
    for name in dir(instance):
        if name.startswith(("time_", "peakmem_", "track_")):
            value = getattr(instance, name)(*arguments)
            assert (value is not None) is name.startswith("track_"), name


def test_a_suite_is_prepared_once():
    class Counting(load("common").LayerSuite):
        prepared = 0

        def prepare(self, *arguments):
            self.prepared += 1

    suite = Counting()
    for arguments in (("GRU", 1), ("GRU", 1), ("GRU", 2), ("LSTM", 2), ("LSTM", 2)):
        suite.setup(*arguments)
    assert suite.prepared == 3
    assert suite.needs == ("layers.LSTM",)


def test_suite_is_skipped_where_the_commit_lacks_something(monkeypatch):
    suite = load("bench_kernels").Sweeps()
    monkeypatch.delattr(layers, "GRU")
    with pytest.raises(NotImplementedError, match="fastrnn.layers.GRU is not there yet"):
        suite.setup("GRU", 32, 1)


def test_accuracy_of_every_layer_is_that_of_float32():
    for name in ("SimpleRNN", "LSTM", "GRU"):
        suite = load("bench_tracked").Accuracy()
        suite.setup(name)
        assert suite.track_outputs(name) < 1e-5
        assert suite.track_gradients(name) < 1e-4


def test_share_of_the_peak_is_that_of_all_cores_and_the_widest_instructions():
    peak = load("peak")
    peaks = [
        peak.Peak("fma", "baseline", 1, 50.0, "GFLOP/s"),
        peak.Peak("fma", "avx2", 1, 100.0, "GFLOP/s"),
        peak.Peak("fma", "avx2", 2, 200.0, "GFLOP/s"),
        peak.Peak("read", "L1", 2, 400.0, "GB/s"),
    ]
    assert peak.fma_peak(peaks) == 200.0


# -- the account -----------------------------------------------------------------------------------


def test_the_account_counts_measures_and_draws(tmp_path, monkeypatch, capsys):
    account, peak = load("account"), load("peak")
    layer = load("kernels").Layer("LSTM", 8, 16, 3, D=4)
    work = account.work("LSTM", layer)
    assert work["recur"].flops == 2 * (16 * 3) * 8 * 32
    assert work["backward"].flops == 2 * work["forward"].flops == 4 * (16 * 3) * (4 + 8) * 32
    assert work["project"].bytes == 4 * (16 * 3 * 4 + 4 * 32 + 16 * 3 * 32)

    monkeypatch.setattr(account, "SECONDS", 0.001)
    monkeypatch.setattr(account, "SIZES", [(8, 16, 3)])
    sizes = {"T": {"H": 4, "B": 2}, "B": {"H": 4, "T": 2}, "H": {"B": 2, "T": 2}}
    monkeypatch.setattr(account, "GROWTH", {what: ([2, 4, 8], own) for what, own in sizes.items()})
    peaks = [
        peak.Peak("fma", "avx2", 2, 1e6, "GFLOP/s"),
        peak.Peak("read", "DRAM", 2, 1e6, "GB/s"),
    ]
    monkeypatch.setattr(account.peak, "measure", lambda: peaks)
    folder = tmp_path / "new"
    monkeypatch.setattr(sys, "argv", ["account", "--out", str(folder)])
    account.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("0% |") for line in lines) == 3 * 6  # of a peak that nobody reaches
    assert sum(line.startswith(("| SimpleRNN |", "| LSTM |", "| GRU |")) for line in lines) == 21
    for picture in ("roofline.png", "scaling.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_exponents_leave_out_the_smallest_size():
    growth = load("account").Growth("GRU", "T", [1, 2, 4, 8], [9.0, 1.0, 4.0, 16.0])
    assert growth.exponent == pytest.approx(2)


# -- two builds in turn ----------------------------------------------------------------------------


def test_two_builds_in_one_process_are_told_apart():
    here = Path(fastrnn.__file__).parents[1]
    command = [sys.executable, "-m", "benchmarks.pair", here, f"{here}@scalar", "LSTM:32:8:4"]
    done = subprocess.run(
        [*command, "--what", "recur", "--seconds", "0.1", "--threads", "1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    work, what, first, second, _, ratio, *_ = done.stdout.split()
    assert (work, what) == ("LSTM:32:8:4", "recur")
    slower = 0.9 if _core.isa() == "scalar" else 1.5
    assert float(ratio) > slower and float(second) > slower * float(first)


@pytest.mark.parametrize(
    ("build", "work", "said"),
    [
        ("nowhere", "LSTM", "a folder with a built fastrnn"),
        (None, "LSTN:8:2", "expected NAME[:H:B"),
    ],
)
def test_a_pair_that_cannot_be_measured_is_one_clear_line(build, work, said):
    here = str(Path(fastrnn.__file__).parents[1])
    command = [sys.executable, "-m", "benchmarks.pair", build or here, here, work]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


# -- the history -----------------------------------------------------------------------------------


def test_results_name_no_host_and_no_path_of_a_machine():
    for file in (ROOT / "benchmarks" / "history").glob("*/*.json"):
        text = file.read_text()
        assert '"/' not in text, f"{file.name} has a path"
        assert f'"{platform.node()}"' not in text, f"{file.name} has the name of this host"


def test_machine_is_described_by_its_name_and_hardware_only():
    machine = load("machine")
    found = machine.facts("some-8core")
    assert found["machine"] == "some-8core"
    assert set(found) == {"machine", "os", "arch", "cpu", "num_cpu", "ram"}
    assert platform.node() not in found.values()
