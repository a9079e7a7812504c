"""A training step and a prediction, side by side in one run."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environments import python_of
from protocol import Worker

HERE = Path(__file__).parent

# Name: (environment, or None for fastrnn's own; script; arguments)
PEERS = {
    "fastrnn": (None, "peer_fastrnn.py", []),
    "Keras (TensorFlow)": ("tensorflow", "peer_keras.py", ["tensorflow", "auto"]),
    "Keras (TensorFlow, XLA)": ("tensorflow", "peer_keras.py", ["tensorflow", "xla"]),
    "Keras (JAX)": ("jax", "peer_keras.py", ["jax", "auto"]),
    "jax.lax.scan": ("jax", "peer_jax.py", []),
    "PyTorch": ("torch", "peer_torch.py", []),
    "ONNX Runtime": ("onnxruntime", "peer_onnxruntime.py", []),
}
TASKS = {"train": "training step", "predict": "predict a batch"}

# Peers agree if they differ by no more. After one step a weight has moved by at most 3.2e-3.
TOLERANCES = {"output": 1e-5, "loss": 1e-5, "w": 2e-5}

# Keras's TensorFlow backend squares the gradient of each token before it adds those of one row
# of the table; RMSprop, and all others, square the sum. Its table then is another.
EXCUSED = {"Keras (TensorFlow)": {"w0"}, "Keras (TensorFlow, XLA)": {"w0"}}


def start(name, python, env_dir, workload, folder):
    """Return the running worker of a peer, once it is known to agree with fastrnn."""
    environment, script, arguments = PEERS[name]
    if environment is not None:
        python = python_of(environment, env_dir)
    log = Path(env_dir, f"{name}.log")
    worker = Worker(python, str(HERE / script), workload, arguments, log)
    try:
        check(name, worker, folder)
    except Exception:
        worker.stop()
        raise
    return worker


def results_of(name, worker, folder):
    """Return what a worker makes of the first batch, each way in which it can."""
    file = Path(folder, f"{name}.npz")
    worker.ask("agree", file=str(file))
    with np.load(file) as results:
        return dict(results)


def check(name, worker, folder):
    """Compare a worker's results with fastrnn's, which it writes first; ValueError if they differ.

    A fast wrong answer does not count.
    """
    results = results_of(name, worker, folder)
    with np.load(Path(folder, "fastrnn.npz")) as file:
        expected = {key.split("|")[0]: value for key, value in file.items()}
    for key, value in results.items():
        what = key.split("|")[0]
        if what in EXCUSED.get(name, ()):
            continue
        difference = np.abs(value - expected[what]).max()
        if (
            value.shape != expected[what].shape
            or not difference <= TOLERANCES[what.rstrip("012345")]
        ):
            raise ValueError(f"{key} differs from fastrnn's by {difference}")


def measure(workers, rounds):
    """Return milliseconds by task and name: one figure a round, all peers in turn in each."""
    times = {task: {} for task in TASKS}
    for _ in range(rounds):
        for task in TASKS:
            for name, (worker, ways) in workers.items():
                if task in ways:
                    times[task].setdefault(name, []).append(float(np.median(worker.ask(task))))
    return times


def summary(times):
    """Return median, least and greatest of the times, and of the ratios to fastrnn's round."""

    def spread(values):
        return {"median": np.median(values), "min": min(values), "max": max(values)}

    own = np.array(times["fastrnn"])
    return {
        name: {"ms": spread(values), "ratio": spread(np.array(values) / own), "rounds": values}
        for name, values in times.items()
    }


def compare_speed(python, env_dir, names, workload, rounds):
    """Check that the peers agree, then measure them in turn.

    Parameters
    ----------
    python : str
        The Python that has fastrnn.
    env_dir : path
        Where the peers' environments are, or shall be.
    names : list of str
        Of `PEERS`; fastrnn is always measured.
    workload : str
        The file that ``workload.py`` wrote.
    rounds : int
        How often each peer has its turn.

    Returns
    -------
    dict
        By task and name: "ms" and "ratio" (each median, min and max) and "rounds"; under "peers"
        the versions and chosen ways of each.
    """
    workers, peers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in ["fastrnn", *(n for n in PEERS if n in names and n != "fastrnn")]:
                print(f"Starting {name}", file=sys.stderr)
                try:
                    worker = start(name, python, env_dir, workload, folder)
                except (subprocess.CalledProcessError, RuntimeError, ValueError) as error:
                    if name == "fastrnn":
                        raise
                    # One peer that cannot be had, or is wrong, leaves the others to compare with.
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    continue
                ways = worker.ask("choose")
                workers[name] = worker, ways
                peers[name] = {"versions": worker.ask("versions"), "ways": ways}
            times = measure(workers, rounds)
        finally:
            for worker, _ in workers.values():
                worker.stop()
    return {"peers": peers, **{task: summary(times[task]) for task in TASKS}}


def table(result):
    """Return the result as a table in Markdown."""
    lines = [
        "| who | " + " | ".join(f"{t}, ms (least–most) | × fastrnn" for t in TASKS.values()) + " |",
        "|---|" + "---|" * 2 * len(TASKS),
    ]
    for name, peer in result["peers"].items():
        versions = ", ".join(f"{k} {v}" for k, v in peer["versions"].items())
        cells = []
        for task in TASKS:
            figures = result[task].get(name)
            if figures is None:
                cells += ["–", "–"]
                continue
            ms, ratio = figures["ms"], figures["ratio"]
            cells.append(f"{ms['median']:.2f} ({ms['min']:.2f}–{ms['max']:.2f})")
            cells.append(f"{ratio['median']:.1f} ({ratio['min']:.1f}–{ratio['max']:.1f})")
        lines.append(f"| {name} ({versions}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)
