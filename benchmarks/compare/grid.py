"""The layer grid: each recurrent layer by itself, for many widths and batches.

The input is dense and as wide as the layer, there are 100 steps (30 at 512 units), and the layer
gives the output of every step: PyTorch's and ONNX Runtime's compute it in any case. Backward
starts from a gradient by all of these outputs and ends in those by the input, W, U and b.

Letters: B rows in a batch, T steps, D input width, H units, G gates.
"""

import itertools
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cells import CELLS, first_weights
from peers import agreeing, chosen_ways, fastest, in_turns, summary, workers_of

UNITS = [16, 32, 64, 128, 256, 512]
BATCHES = [1, 32, 128]
QUICK_UNITS, QUICK_BATCHES = [32, 256], [1, 32]
TASKS = {"forward": "forward", "backward": "forward + backward"}

# Results agree if they differ by no more than this times the greatest of them; a gradient of a
# weight sums over up to 12,800 steps.
TOLERANCES = {"y": 1e-4, "dx": 1e-3, "dW": 1e-3, "dU": 1e-3, "db": 1e-3}


class Case(NamedTuple):
    """A layer of the grid: one of `CELLS`, H and B."""

    layer: str
    units: int
    batch: int

    @property
    def steps(self):
        """T."""
        return 30 if self.units == 512 else 100


def cases(layers, units, batches):
    """Return the grid's cases, the small ones of each layer first."""
    return [Case(*case) for case in itertools.product(layers, units, batches)]


def flops(task, layer, B, T, D, H):
    """Return the floating-point operations of a task's matrix products.

    A step projects its input and its state, B rows to G H columns each; a product of (m, k) and
    (k, n) takes m n k multiplications and as many additions:

        forward           2 B T (D + H) G H
        with gradients    3 times that: each product has two factors, and the gradient by either
                          is a product of the same size

    Activations and other work on single elements are not counted.
    """
    forward = 2 * B * T * (D + H) * len(CELLS[layer].keras) * H
    return {"forward": forward, "backward": 3 * forward}[task]


def write_workload(case, file):
    """Write weights as Keras starts them, and a normally distributed input and gradient."""
    rng = np.random.default_rng(1)
    shape = case.batch, case.steps, case.units
    x, dy = rng.standard_normal((2, *shape)).astype("float32")
    W, U, b = first_weights(case.layer, case.units, case.units, rng)
    np.savez(file, layer=case.layer, x=x, dy=dy, W=W, U=U, b=b)


def difference(_name, what, value, expected):
    """Return how far a result is from fastrnn's, as a multiple of what is allowed."""
    return np.abs(value - expected).max() / (TOLERANCES[what] * np.abs(expected).max())


def measure_case(case, workers, rounds, seconds):
    """Return the rows of one case, a dict for each task.

    "layer", "units", "batch", "steps" and "task"; "peers": a `summary`; "ways": `chosen_ways`;
    "left_out": why others are not among them.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "workload.npz")
        write_workload(case, file)
        workers, reasons = agreeing(workers, file, difference)
    ways = chosen_ways(workers, reasons, tasks=list(TASKS), seconds=seconds / 2, turns=1)
    times = in_turns(workers, ways, TASKS, rounds, reasons, seconds=seconds, calls=2)
    return [
        {
            **case._asdict(),
            "steps": case.steps,
            "task": task,
            "peers": summary(times[task]),
            "ways": {name: ways[name][task] for name in times[task]},
            "left_out": reasons,
        }
        for task in TASKS
    ]


def measure_grid(options, rounds, seconds):
    """Check in each case that the peers agree, and measure them in turn.

    Parameters
    ----------
    options : namespace
        What the command line says: python, env_dir, peers, layers, units, batch.
    rounds : int
        How often each peer has its turn.
    seconds : float
        How long a turn lasts at least.

    Yields
    ------
    dict
        After each case: "rows": those of `measure_case` so far; "versions": of each peer.
    """
    rows, todo = [], cases(options.layers, options.units, options.batch)
    with workers_of(options.peers, "layer", options.python, options.env_dir) as workers:
        versions = {name: worker.ask("versions") for name, worker in workers.items()}
        for number, case in enumerate(todo, 1):
            rows += measure_case(case, workers, rounds, seconds)
            title = f"[{number}/{len(todo)}] {case.layer}, H {case.units}, B {case.batch}"
            print(f"{title}: {', '.join(map(brief, rows[-2:]))}", file=sys.stderr, flush=True)
            yield {"rows": rows, "versions": versions}


def brief(row):
    """Return a row in a few words."""
    ms, best = row["peers"]["fastrnn"]["ms"]["median"], fastest(row["peers"])
    ratio = f" (× {row['peers'][best]['ratio']['median']:.2f} {best})" if best else ""
    return f"{TASKS[row['task']]} {ms:.3g} ms{ratio}"


def gflops(row):
    """Return the GFLOP/s that fastrnn achieves in a row, all its time counted."""
    work = flops(row["task"], row["layer"], row["batch"], row["steps"], row["units"], row["units"])
    return work / row["peers"]["fastrnn"]["ms"]["median"] / 1e6


def summarise(rows):
    """Return the grid in a few figures.

    Returns
    -------
    dict
        "rows", "first": how many there are that have peers, and in how many of them fastrnn is
        ahead of all; "mean", "least": of the fastest peer's time over fastrnn's, the geometric
        mean and the smallest; "least_row": where that is, and "least_peer": who; "gflops": for
        each task the least, median and greatest of `gflops` over the rows with H >= 128 and
        B >= 32.
    """
    best = [
        (row["peers"][name]["ratio"]["median"], row, name)
        for row in rows
        if (name := fastest(row["peers"]))
    ]
    ratios = np.array([ratio for ratio, _, _ in best])
    large = [row for row in rows if row["units"] >= 128 and row["batch"] >= 32]
    achieved = {task: [gflops(row) for row in large if row["task"] == task] for task in TASKS}
    summed = {
        "rows": len(best),
        "first": int((ratios > 1).sum()),
        "gflops": {
            task: {"min": min(values), "median": np.median(values), "max": max(values)}
            for task, values in achieved.items()
            if values
        },
    }
    if best:
        least, row, name = best[int(ratios.argmin())]
        summed |= {
            "mean": float(np.exp(np.log(ratios).mean())),
            "least": least,
            "least_row": {key: row[key] for key in ("layer", "units", "batch", "task")},
            "least_peer": name,
        }
    return summed
