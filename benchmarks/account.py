"""The account of the kernels: work counted, floor, what is achieved; and how time grows.

    python -m benchmarks.account [--out FOLDER]

prints tables in Markdown, and draws ``roofline.png`` and ``scaling.png`` into the folder. Times are
the least of many: others on the machine only ever add to them.

Letters: B rows, T steps, D input width, H units, G gates.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastrnn

from . import peak
from .kernels import KINDS, Layer

SECONDS = 0.4  # how long each is measured at least

# (H, B, T) of the roofline: the IMDB model's layer, a middle and a wide one.
SIZES = [(32, 128, 500), (128, 128, 100), (512, 32, 30)]
# What the cells keep for each unit and step (states and gates; fastrnn/csrc/cells.h), and how many
# activations they take.
KEPT = {"SimpleRNN": 1, "LSTM": 6, "GRU": 5}
ACTIVATIONS = {"SimpleRNN": 1, "LSTM": 5, "GRU": 3}


class Work(NamedTuple):
    """What a kernel must do: operations of its products, and bytes that it reads or writes once."""

    flops: float
    bytes: float


def work(name, layer):
    """The `Work` of each kernel of a layer, by its method, and of both ways as the layer goes them.

    Products: B T rows of (D or H) times G H, two operations each; the way back has two such
    products for one. Bytes: four for each number of x, z, the tape, the gradients and the weights;
    a whole way need not write z or its gradient.
    """
    H, steps = layer.H, layer.B * layer.T
    columns = layer.cell.gates * H
    x, z, tape = steps * layer.D, steps * columns, steps * KEPT[name] * H
    W, U = layer.D * columns, H * columns
    projection, recurrence = 2 * steps * W, 2 * steps * U
    return {
        "project": Work(projection, 4 * (x + W + z)),
        "recur": Work(recurrence, 4 * (z + U + tape)),
        "recur_backward": Work(2 * recurrence, 4 * (tape + 2 * U + z)),
        "project_backward": Work(2 * projection, 4 * (2 * z + 2 * x + 2 * W)),
        "forward": Work(projection + recurrence, 4 * (x + W + U + tape)),
        "backward": Work(2 * (projection + recurrence), 4 * (tape + 2 * (x + W + U))),
    }


def least_seconds(function):
    """The least time of a call, after one to warm up."""
    function()
    best, end = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


# -- the roofline ----------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """A kernel of a layer, measured."""

    layer: str
    H: int
    B: int
    T: int
    kernel: str
    work: Work
    seconds: float

    @property
    def rate(self):
        """GFLOP/s."""
        return self.work.flops / self.seconds / 1e9

    @property
    def intensity(self):
        """Operations for each byte."""
        return self.work.flops / self.work.bytes


def measure_kernels():
    """Every kernel of every layer and size, a list of `Kernel`."""
    measured = []
    for name in KINDS:
        for H, B, T in SIZES:
            layer = Layer(name, H, B, T)
            for kernel, own in work(name, layer).items():
                seconds = least_seconds(getattr(layer, kernel))
                measured.append(Kernel(name, H, B, T, kernel, own, seconds))
    return measured


def floor_seconds(work, peaks):
    """What the processor's arithmetic, and what its memory, take at least for this work."""
    return work.flops / peak.fma_peak(peaks) / 1e9, work.bytes / memory_rate(peaks) / 1e9


def memory_rate(peaks):
    """GB/s that all threads together read from memory."""
    return max(p.rate for p in peaks if p.what == "read" and p.where == "DRAM")


def kernel_table(kernels, peaks):
    """The kernels in Markdown."""
    lines = [
        "| layer | H, B, T | kernel | MFLOP | MB | floor: FMA, DRAM, ms | ms | GFLOP/s | peak |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for k in kernels:
        arithmetic, memory = (1e3 * seconds for seconds in floor_seconds(k.work, peaks))
        lines.append(
            f"| {k.layer} | {k.H}, {k.B}, {k.T} | {k.kernel} | {k.work.flops / 1e6:.0f} | "
            f"{k.work.bytes / 1e6:.1f} | {arithmetic:.2f}, {memory:.2f} | {1e3 * k.seconds:.2f} | "
            f"{k.rate:.0f} | {k.rate / peak.fma_peak(peaks):.0%} |"
        )
    return "\n".join(lines)


MARKS = dict(zip(KINDS, "os^", strict=True))
COLOURS = dict(
    zip(["project", "recur", "recur_backward", "project_backward", "forward", "backward"],
        ["#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#009E73", "#CC79A7"], strict=True)
)  # fmt: skip


def draw_roofline(kernels, peaks, path):
    """Operations a second over operations a byte, under the roofs of this machine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    x = np.geomspace(1, 512, 100)
    top = peak.fma_peak(peaks)
    threads = max(p.threads for p in peaks)
    for p in peaks:
        if p.what == "read" and p.threads == threads:
            axes.plot(x, np.minimum(top, x * p.rate), color="0.7", zorder=1)
            at = min(top / p.rate, 400) / 1.6
            axes.annotate(f"{p.where}, {p.rate:.0f} GB/s", (at, at * p.rate), color="0.4",
                          fontsize=8, rotation=38, ha="right", va="bottom")
    axes.annotate(f"FMA, {top:.0f} GFLOP/s", (500, top * 1.04), color="0.4", ha="right", fontsize=8)
    for k in kernels:
        axes.scatter(k.intensity, k.rate, s=16 + 0.25 * k.H, marker=MARKS[k.layer],
                     color=COLOURS[k.kernel], edgecolors="white", linewidths=0.5, zorder=2)
    for kernel, colour in COLOURS.items():
        axes.scatter([], [], color=colour, label=kernel)
    for name, mark in MARKS.items():
        axes.scatter([], [], color="0.3", marker=mark, label=name)
    axes.set(xscale="log", yscale="log", xlim=(1, 512), ylim=(10, 1.5 * top),
             xlabel="floating-point operations a byte", ylabel="GFLOP/s",
             title="Kernels under the roofs of this machine (larger marks: more units)")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


# -- how time grows --------------------------------------------------------------------------------

# What grows: (values, the others' H, B, T). The first value of each is too small to count.
GROWTH = {
    "T": ([50, 100, 200, 400, 800, 1600], {"H": 32, "B": 32}),
    "B": ([12, 24, 48, 96, 192, 384], {"H": 32, "T": 200}),
    "H": ([16, 32, 64, 128, 256, 512], {"B": 32, "T": 60}),
}


class Growth(NamedTuple):
    """Seconds of forward and backward as one size, or the number of threads, grows."""

    layer: str
    what: str
    sizes: list
    seconds: list

    @property
    def exponent(self):
        """p of seconds ~ size ** p by least squares, without the smallest size."""
        return float(np.polyfit(np.log(self.sizes[1:]), np.log(self.seconds[1:]), 1)[0])


def measure_growth():
    """Every layer by T, B, H and threads, a list of `Growth`."""
    grown = []
    for name in KINDS:
        for what, (sizes, others) in GROWTH.items():
            seconds = [
                least_seconds(Layer(name, **others, **{what: size}).forward_and_backward)
                for size in sizes
            ]
            grown.append(Growth(name, what, sizes, seconds))
        grown.append(by_threads(name))
    return grown


def by_threads(name):
    """A wide batch on one thread, two, and so on up to what the engine uses by itself."""
    most = fastrnn.get_num_threads()
    layer, sizes = Layer(name, 32, 128, 200), list(range(1, most + 1))
    rounds = []
    try:
        for _ in range(3):  # in turn: a neighbour's minute must not hit one number of threads
            rounds.append([])
            for n in sizes:
                fastrnn.set_num_threads(n)
                rounds[-1].append(least_seconds(layer.forward_and_backward))
    finally:
        fastrnn.set_num_threads(most)
    return Growth(name, "threads", sizes, [min(own) for own in zip(*rounds, strict=True)])


def growth_table(grown):
    """The fitted exponents in Markdown; of threads, how many times as fast the most are as one."""
    names = [*GROWTH, "threads"]
    lines = [
        "| layer | T | B | H | threads: gain |",
        "|---|---|---|---|---|",
    ]
    for layer in KINDS:
        own = {g.what: g for g in grown if g.layer == layer}
        cells = [f"{own[what].exponent:.2f}" for what in names[:-1]]
        threads = own["threads"]
        gain = threads.seconds[0] / threads.seconds[-1]
        lines.append(f"| {layer} | {' | '.join(cells)} | {gain:.2f} on {threads.sizes[-1]} |")
    return "\n".join(lines)


def draw_growth(grown, path):
    """A panel for each size, with a line for each layer."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    names = [*GROWTH, "threads"]
    titles = {
        what: ", ".join(f"{letter} {size}" for letter, size in others.items())
        for what, (_, others) in GROWTH.items()
    }
    titles["threads"] = "H 32, B 128, T 200"
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for what, axes in zip(names, figure.subplots(1, len(names)), strict=True):
        for g in grown:
            if g.what != what:
                continue
            label = g.layer if what == "threads" else f"{g.layer}: exponent {g.exponent:.2f}"
            axes.plot(g.sizes, np.multiply(g.seconds, 1e3), marker=MARKS[g.layer], label=label)
        axes.set(xscale="log", yscale="log", xlabel=what, title=titles[what])
        axes.set_xticks(g.sizes if what == "threads" else GROWTH[what][0])
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)
    figure.axes[0].set_ylabel("forward and backward, ms")
    figure.savefig(path, dpi=110)


def main():
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where the pictures go")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)  # before the measurements, which take a minute
    peaks = peak.measure()
    peak.show(peaks)
    kernels = measure_kernels()
    print(kernel_table(kernels, peaks), flush=True)
    draw_roofline(kernels, peaks, folder / "roofline.png")
    grown = measure_growth()
    print(growth_table(grown))
    draw_growth(grown, folder / "scaling.png")


if __name__ == "__main__":
    main()
