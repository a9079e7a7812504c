"""Two builds called in turn in one process: what a change brings, known to a per cent or less.

    python -m benchmarks.pair BUILD BUILD WORK [WORK ...] [--what NAME ...]

A BUILD is a folder with a built package ``fastrnn``, as a checkout after ``make build``; with
``@ISA`` behind it the kernels for that instruction set, so that ``. .@avx2`` compares two of them.
A WORK is

    NAME            the README's model with that layer, a batch of 128 texts: train, predict, row
    NAME:H:B[:T]    the layer by itself, H units and B rows: forward, both, and each kernel
    NAME:H:B:T:ids  the same over rows of a table, its texts padded in front

Two processes, or one after the other, would differ by their places in memory and by what else ran
on the machine; here both are the same for both builds.
"""

import argparse
import contextlib
import importlib
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IDLE = 0.001  # until the threads of the other build, who look out for work for a while, are asleep
BLOCK = 0.01  # seconds of calls of one build, before it is the other's turn
LAYER_METHODS = ["forward", "both", "project", "recur", "recur_backward", "project_backward"]
TEXT_METHODS = ["train", "predict", "row"]


class Build:
    """A copy of a built package, whose modules are there only `inside` it.

    Parameters
    ----------
    name : str
        The folder that holds it, and perhaps ``@`` and an instruction set.
    copies : path
        Where the copy goes: no file of a compiled module can be imported twice.
    threads : int or None
    """

    def __init__(self, name, copies, threads):
        folder, _, isa = name.partition("@")
        self.home = tempfile.mkdtemp(dir=copies)
        self.modules = {}
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(folder, "fastrnn"), Path(self.home, "fastrnn"), ignore=ignore)
        with self.inside():
            core = importlib.import_module("fastrnn._core")
            if isa:
                core.use_isa(isa)
            if threads:
                core.set_num_threads(threads)

    @contextlib.contextmanager
    def inside(self):
        """What is imported of fastrnn and of the benchmarks is this build's."""
        sys.path.insert(0, self.home)
        sys.modules.update(self.modules)
        try:
            yield
        finally:
            sys.path.remove(self.home)
            self.modules = {name: sys.modules.pop(name) for name in list(sys.modules) if own(name)}

    def prepare(self, work):
        """The functions of a work, by their names."""
        with self.inside():
            name, *numbers = work.split(":")
            return layer_calls(name, *numbers) if numbers else text_calls(name)

    def seconds(self, function, calls):
        """A call's time, the mean of some after one to warm up."""
        with self.inside():
            time.sleep(IDLE)
            function()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            return (time.perf_counter() - start) / calls


def own(module):
    """Whether a module belongs to a build, or holds on to one."""
    return module.partition(".")[0] == "fastrnn" or module in (
        f"{__package__}.kernels", f"{__package__}.common", f"{__package__}.bench_text",
    )  # fmt: skip


def layer_calls(name, H, B, T=None, ids=None):
    """The methods of a layer that `kernels` makes; T as in the comparison unless given."""
    kernels = importlib.import_module(f"{__package__}.kernels")
    H, B, T = int(H), int(B), int(T or (30 if int(H) == 512 else 100))
    make = kernels.LookupLayer if ids else kernels.Layer
    layer = make(name, H, B, T)
    whole = make(name, H, B, T)  # may leave projected inputs that no kernel by itself takes
    for kernel in ("project", "recur", "recur_backward", "project_backward"):
        getattr(layer, kernel)()  # each finds what it begins from
    kernel_calls = {method: getattr(layer, method) for method in LAYER_METHODS[2:]}
    return {"forward": whole.forward, "both": whole.forward_and_backward, **kernel_calls}


def text_calls(name):
    """A training step, a prediction of the same batch, and one of a row."""
    step = importlib.import_module(f"{__package__}.bench_text").Step()
    step.setup(name, "padded")
    return {
        "train": lambda: step.time_train(name, "padded"),
        "predict": lambda: step.time_predict(name, "padded"),
        "row": lambda: step.time_predict_row(name, "padded"),
    }


def in_turn(builds, functions, seconds):
    """Times of a call in every block, an array (blocks, 2)."""
    calls = [1, 1]
    for _ in range(2):  # the second time warm
        calls = [
            max(1, round(BLOCK / build.seconds(function, n)))
            for build, function, n in zip(builds, functions, calls, strict=True)
        ]
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        order = (0, 1) if len(times) % 2 else (1, 0)
        block = {k: builds[k].seconds(functions[k], calls[k]) for k in order}
        times.append([block[0], block[1]])
    return np.array(times)


def line(work, what, times):
    """Medians in ms, and the second's part of the first with the quartiles of that."""
    ratios = times[:, 1] / times[:, 0]
    first, second = 1e3 * np.median(times, axis=0)
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return (
        f"{work:24} {what:17} {first:9.4f} {second:9.4f} ms   "
        f"{middle:.3f} ({low:.3f}-{high:.3f}, {len(times)} rounds)"
    )


def check(parser, options):
    """End with a line that says what is wrong with the builds or the works, if anything is."""
    for name in options.builds:
        folder = name.partition("@")[0]
        if not list(Path(folder, "fastrnn").glob("_core*.so")):
            parser.error(f"{folder}: expected a folder with a built fastrnn (make build).")
    for work in options.works:
        if not re.fullmatch(r"(SimpleRNN|LSTM|GRU)(:\d+:\d+(:\d+(:ids)?)?)?", work):
            parser.error(f"{work}: expected NAME[:H:B[:T[:ids]]], NAME a SimpleRNN, LSTM or GRU.")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pair", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("builds", nargs=2, metavar="BUILD")
    parser.add_argument("works", nargs="+", metavar="WORK")
    parser.add_argument(
        "--what", nargs="+", metavar="NAME", choices=TEXT_METHODS + LAYER_METHODS,
        help=f"of {', '.join(TEXT_METHODS + LAYER_METHODS)} (default: those of the works)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3, help="for each (default: 3)")
    parser.add_argument("--threads", type=int, help="of each build (default: its own)")
    options = parser.parse_args()
    check(parser, options)
    with tempfile.TemporaryDirectory() as copies:
        builds = [Build(name, copies, options.threads) for name in options.builds]
        for work in options.works:
            first, second = (build.prepare(work) for build in builds)
            for what in options.what or [m for m in TEXT_METHODS + LAYER_METHODS if m in first]:
                if what in first:
                    times = in_turn(builds, (first[what], second[what]), options.seconds)
                    print(line(work, what, times), flush=True)


if __name__ == "__main__":
    main()
