"""The model's training step, predictions and epoch, side by side in one run."""

import tempfile
from pathlib import Path

import numpy as np
from peers import HERE, agreeing, chosen_ways, in_turns, left_out, output_of, summary, workers_of

TURN = 1.0  # seconds that one lasts at least

# Name: what is timed
TASKS = {
    "train": "training step",
    "predict": "predict a batch",
    "row": "predict one row",
    "epoch": "epoch of the script",
}
EPOCH_ROWS, EPOCH_ROUNDS = 20000, 3

# Peers agree if they differ by no more. After one step a weight has moved by at most 3.2e-3.
TOLERANCES = {"output": 1e-5, "row": 1e-5, "loss": 1e-5, "w": 2e-5}

# Keras's TensorFlow backend squares the gradient of each token before it adds those of one row
# of the table; RMSprop, and all others, square the sum. Its table then is another.
EXCUSED = {"Keras (TensorFlow)": {"w0"}, "Keras (TensorFlow, XLA)": {"w0"}}


def difference(name, what, value, expected):
    """Return how far a result is from fastrnn's, as a multiple of what is allowed."""
    if what in EXCUSED.get(name, ()):
        return 0
    return np.abs(value - expected).max() / TOLERANCES[what.rstrip("012345")]


def measure_speed(options, layer, batches, rounds):
    """Check that the peers agree, then measure them in turn.

    Parameters
    ----------
    options : namespace
        What the command line says: python, env_dir, peers, epoch.
    layer : str
        Of `CELLS`.
    batches, rounds : int
        To a turn, and how often each peer has its turn.

    Returns
    -------
    dict
        "reviews": which they are; "peers": the versions and `chosen_ways` of each; "left_out": why
        others are not among them; "tasks": by task, a `summary`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "workload.npz")
        rows = [EPOCH_ROWS] if options.epoch else []
        reviews = output_of(options.python, HERE / "workload.py", file, layer, batches, *rows)
        with workers_of(options.peers, "model", options.python, options.env_dir) as workers:
            workers, reasons = agreeing(workers, file, difference)
            short = [task for task in TASKS if task != "epoch"]
            versions = {name: worker.ask("versions") for name, worker in workers.items()}
            ways = chosen_ways(workers, reasons, tasks=short, seconds=TURN)
            times = in_turns(workers, ways, short, rounds, reasons, seconds=TURN)
            if options.epoch:
                times |= measure_epochs(workers, ways, min(rounds, EPOCH_ROUNDS), reasons)
    return {
        "reviews": reviews.strip(),
        "peers": {
            name: {"versions": versions[name], "ways": ways[name]}
            for name in ways if name not in reasons
        },
        "left_out": reasons,
        "tasks": {task: summary(figures) for task, figures in times.items()},
    }


def measure_epochs(workers, ways, rounds, reasons):
    """Return milliseconds of whole epochs, trained in the way that is fastest for a step."""
    for name, own in ways.items():
        if "train" in own and name not in reasons:
            own["epoch"] = own["train"]
            with left_out(name, reasons):
                workers[name].ask("use", task="epoch", way=next(iter(own["epoch"])))
    return in_turns(workers, ways, ["epoch"], rounds, reasons, seconds=0)
