"""Measure fastrnn beside Keras, JAX, PyTorch and ONNX Runtime, and what it costs otherwise.

    python benchmarks/compare/compare.py [--layers NAME ...] [--quick] [--out FILE.json]

makes the peers' virtual environments on first use, checks that all compute the same, measures
them in turn in one run, and prints a table for each layer asked for. The model is the README's:
Embedding(10000, 32) -> SimpleRNN(32) -> Dense(1, sigmoid), 500 steps, batch 128, RMSprop, or the
same with LSTM(32) or GRU(32).
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
    measure_import,
    measure_memory,
    measure_size,
    output_of,
    run_script,
)
from speed import PEERS, compare_speed, table

HERE = Path(__file__).parent
MB = 1e6


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer batches and rounds, and one seed")
    add("--out", metavar="FILE.json", help="write every figure there")
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
    add(
        "--peers",
        nargs="+",
        choices=list(PEERS),
        default=list(PEERS),
        metavar="NAME",
        help=f"which to measure, of: {', '.join(PEERS)} (default: all)",
    )
    add(
        "--layers",
        nargs="+",
        choices=list(CELLS),
        default=["SimpleRNN"],
        metavar="NAME",
        help=f"whose speed to measure, of: {', '.join(CELLS)} (default: SimpleRNN)",
    )
    add("--wheel", metavar="FILE.whl", help="the wheel for --size (default: build one)")
    which = parser.add_argument_group("what to measure (default: the speed)")
    for name, text in {
        "speed": "training steps and predictions, side by side",
        "accuracy": "the README's script on IMDB, three seeds",
        "memory": "peak memory of that script over a bare interpreter with NumPy",
        "import": "import time over NumPy's",
        "size": "installed size without NumPy",
        "all": "all of these",
    }.items():
        which.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


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


def speed(options):
    """Measure the speed of each layer; print and return its figures."""
    batches, rounds = (8, 3) if options.quick else (32, 9)
    layers = {}
    for layer in options.layers:
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "workload.npz"))
            script = HERE / "workload.py"
            reviews = output_of(options.python, script, file, batches, layer).strip()
            result = compare_speed(options.python, options.env_dir, options.peers, file, rounds)
        print(f"\n{layer}. Reviews: {reviews}. {rounds} rounds of {batches} batches; medians.\n")
        print(table(result), flush=True)
        layers[layer] = result
    return {"reviews": reviews, "batches": batches, "rounds": rounds, "layers": layers}


def accuracy(options):
    """Run the script with three seeds; print and return its figures."""
    result = run_script(options.python, [0] if options.quick else [0, 1, 2])
    print("\n| seed | best validation accuracy | test accuracy | seconds |\n|---|---|---|---|")
    for run in result["runs"]:
        figures = f"{run['best_val_acc']:.4f} | {run['test_acc']:.4f} | {run['seconds']:.1f}"
        print(f"| {run['seed']} | {figures} |", flush=True)
    return result


def memory(options):
    """Measure the script's peak memory; print and return it."""
    result = measure_memory(options.python)
    print(
        f"\nPeak memory of the script: {result['script'] / MB:.0f} MB, "
        f"{result['over'] / MB:.0f} MB over an interpreter with NumPy.",
        flush=True,
    )
    return result


def import_time(options):
    """Measure import times; print and return them."""
    result = measure_import(options.python)
    print(
        f"\n`import fastrnn` takes {1e3 * result['package']:.0f} ms over `import numpy`; "
        f"with all that the script imports, {1e3 * result['script']:.0f} ms.",
        flush=True,
    )
    return result


def size(options):
    """Measure the installed size; print and return it."""
    result = measure_size(options.wheel)
    print(
        f"\nInstalled with its dependencies, without NumPy: {result['total'] / MB:.1f} MB.",
        flush=True,
    )
    return result


def main():
    """Measure what was asked for."""
    options = parse_arguments()
    Path(options.env_dir).mkdir(parents=True, exist_ok=True)
    tasks = {
        "speed": speed,
        "accuracy": accuracy,
        "memory": memory,
        "import": import_time,
        "size": size,
    }
    asked = [name for name in tasks if options.all or getattr(options, name)] or ["speed"]
    figures = {"machine": machine()}
    print(", ".join(f"{key}: {value}" for key, value in figures["machine"].items()), flush=True)
    for name in asked:
        figures[name] = tasks[name](options)
    if options.out:
        Path(options.out).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
