"""Measure fastrnn beside Keras, JAX, PyTorch and ONNX Runtime, and what they cost otherwise.

    python benchmarks/compare/compare.py [--layers NAME ...] [--quick] [--out FILE.json]

makes the peers' virtual environments on first use, checks that all compute the same, measures
them in turn in one run, and prints a table for each layer. The model is the README's:
Embedding(10000, 32) -> SimpleRNN(32) -> Dense(1, sigmoid), 500 steps, batch 128, RMSprop, and the
same with LSTM(32) and GRU(32). --grid measures the layers by themselves: 16 to 512 units, 1 to 128
rows, forward and backward; the whole of it takes about half an hour.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path

from cells import CELLS
from footprint import (
    REPOSITORY,
    measure_accuracy,
    measure_import,
    measure_memory,
    measure_size,
)
from grid import BATCHES, QUICK_BATCHES, QUICK_UNITS, UNITS, measure_grid
from peers import HERE, PEERS, output_of
from speed import EPOCH_ROWS, measure_speed
from tables import markdown, section


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer batches, rounds, seeds and rows of the grid")
    add("--out", metavar="FILE.json", help="write every figure there")
    add("--markdown", metavar="FILE.md", help="write the tables there, too")
    add("--chart", metavar="FILE.png", help="draw the ratios of --speed and --grid there")
    add(
        "--from",
        dest="kept",
        metavar="FILE.json",
        help="measure nothing: make tables and chart of what --out wrote",
    )
    add(
        "--env-dir",
        metavar="DIR",
        default=REPOSITORY / ".compare",
        help="the peers' environments (default: .compare in the repository)",
    )
    add(
        "--python",
        default=sys.executable,
        help="the Python that has fastrnn (default: the one that runs this)",
    )
    for name, all_, text in (
        ("--peers", list(PEERS), "which to measure"),
        ("--layers", list(CELLS), "for --speed and --grid"),
    ):
        add(
            name,
            nargs="+",
            choices=all_,
            default=all_,
            metavar="NAME",
            help=f"{text}, of: {', '.join(all_)} (default: all)",
        )
    for name, all_ in (("--units", UNITS), ("--batch", BATCHES)):
        add(
            name,
            nargs="+",
            type=int,
            choices=all_,
            metavar="N",
            help=f"for --grid, of: {', '.join(map(str, all_))} (default: all)",
        )
    add("--wheel", metavar="FILE.whl", help="the wheel for --size (default: build one)")
    which = parser.add_argument_group("what to measure (default: the speed)")
    for name, text in {
        "speed": "training steps and predictions of the model, side by side",
        "epoch": "--speed, and epochs of 20,000 reviews",
        "grid": "the layers by themselves, side by side",
        "accuracy": "the README's script on IMDB, three seeds",
        "memory": "peak memory of that script, and of training alone",
        "import": "import time over NumPy's",
        "size": "installed size without NumPy",
        "all": "all of these",
    }.items():
        which.add_argument(f"--{name}", action="store_true", help=text)
    return completed(parser.parse_args())


def completed(options):
    """Return the command line's arguments with what follows from others filled in."""
    options.epoch |= options.all
    options.speed |= options.epoch
    options.units = options.units or (QUICK_UNITS if options.quick else UNITS)
    options.batch = options.batch or (QUICK_BATCHES if options.quick else BATCHES)
    return options


def machine():
    """Return what the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return {
        "date": date.today().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


# Each kind of figures is an iterator: it yields what it has so far, more each time.


def speed(options):
    """Measure the model of each layer."""
    batches, rounds = (8, 3) if options.quick else (32, 9)
    layers = {}
    for layer in options.layers:
        print(f"The model with {layer}", file=sys.stderr)
        layers[layer] = measure_speed(options, layer, batches, rounds)
        yield {"batches": batches, "rounds": rounds, "layers": layers}


def grid(options):
    """Measure the layers by themselves."""
    rounds, seconds = (3, 0.05) if options.quick else (5, 0.15)
    for figures in measure_grid(options, rounds, seconds):
        yield {"rounds": rounds, "seconds": seconds} | figures


def accuracy(options):
    """Run the script with three seeds."""
    yield measure_accuracy(options, [0] if options.quick else [0, 1, 2])


def memory(options):
    """Measure the script's peak memory, and that of an epoch of it."""
    with tempfile.TemporaryDirectory() as folder:
        file, layer = Path(folder, "workload.npz"), "SimpleRNN"
        output_of(options.python, HERE / "workload.py", file, layer, 1, EPOCH_ROWS)
        yield measure_memory(options, file)


def import_time(options):
    """Measure import times."""
    yield measure_import(options, repeats=3 if options.quick else 9)


def size(options):
    """Measure how much an installation takes."""
    yield measure_size(options)


TASKS = {
    "speed": speed,
    "grid": grid,
    "accuracy": accuracy,
    "memory": memory,
    "import": import_time,
    "size": size,
}


def measured(options):
    """Return the figures that were asked for, and print each kind when it is there."""
    asked = [name for name in TASKS if options.all or getattr(options, name)] or ["speed"]
    Path(options.env_dir).mkdir(parents=True, exist_ok=True)
    figures = {"machine": machine()}
    print(markdown(figures), flush=True)
    for name in asked:
        for so_far in TASKS[name](options):
            figures[name] = so_far
            keep(figures, options.out)
        print(section(name, figures), flush=True)
    return figures


def keep(figures, file):
    """Write the figures there are, where they are wanted: whoever is cut off has those so far."""
    if file:
        part = Path(f"{file}.part")
        part.write_text(json.dumps(figures, indent=1) + "\n")
        part.replace(file)


def main():
    """Measure what was asked for, or take what was kept, and report it."""
    options = parse_arguments()
    if options.chart:
        from fastrnn.plotting import check_plot_file

        check_plot_file(options.chart)
    if options.kept:
        figures = json.loads(Path(options.kept).read_text())
        print(markdown(figures))
    else:
        figures = measured(options)
    if options.markdown:
        Path(options.markdown).write_text(markdown(figures))
    if options.chart:
        from chart import draw

        draw(figures, options.chart)


if __name__ == "__main__":
    main()
