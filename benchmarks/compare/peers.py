"""The peers: which there are, whether they agree with fastrnn, and measuring them in turn."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from environments import python_of
from protocol import ENVIRONMENT, Worker

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

# What goes wrong with one peer, which then is left out; the others remain to compare with.
LEFT_OUT = (subprocess.CalledProcessError, RuntimeError, ValueError)


def python_for(name, python, env_dir):
    """Return the Python that runs a peer; fastrnn's own is ``python``."""
    environment = PEERS[name][0]
    return python if environment is None else python_of(environment, env_dir)


def output_of(python, *arguments, **environment):
    """Return what a process prints; what it says on its way is passed on."""
    done = subprocess.run(
        [python, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT | environment,
    )
    return done.stdout


@contextlib.contextmanager
def worker_of(name, kind, python, env_dir):
    """Give the worker of a peer for models or for layers ("model", "layer"); end it afterwards."""
    _, script, arguments = PEERS[name]
    own = python_for(name, python, env_dir)
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        worker = Worker(own, str(HERE / script), [kind, *arguments], log.name)
        try:
            yield worker
        finally:
            worker.stop()


@contextlib.contextmanager
def workers_of(names, kind, python, env_dir):
    """Give the workers of fastrnn and of those peers that can be had, by name."""
    workers = {}
    with contextlib.ExitStack() as stack:
        for name in ["fastrnn", *(n for n in PEERS if n in names and n != "fastrnn")]:
            print(f"Starting {name}", file=sys.stderr)
            with left_out(name):
                worker = stack.enter_context(worker_of(name, kind, python, env_dir))
                worker.ask("versions")  # it is there, and quiet
                workers[name] = worker
        yield workers


@contextlib.contextmanager
def left_out(name, reasons=None):
    """Go on without a peer if something goes wrong with it, and note why; not without fastrnn."""
    try:
        yield
    except LEFT_OUT as error:
        if name == "fastrnn":
            raise
        print(f"{name} is left out: {error}", file=sys.stderr)
        if reasons is not None:
            reasons[name] = str(error)


# -- agreement -------------------------------------------------------------------------------------


def agreeing(workers, workload, differences):
    """Return the workers whose results on a workload are fastrnn's, and why the others are not.

    A fast wrong answer does not count.

    Parameters
    ----------
    workers : dict from str to Worker
        fastrnn first.
    workload : path
    differences : callable
        Of a peer's name, what was computed, its value and fastrnn's: how far apart they are, as a
        multiple of what is allowed.
    """
    agreeing, reasons, expected = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, worker in workers.items():
            with left_out(name, reasons):
                file = Path(folder, "results.npz")
                worker.ask("open", file=str(workload))
                worker.ask("agree", file=str(file))
                with np.load(file) as results:
                    results = dict(results)
                expected = expected or {key.split("|")[0]: v for key, v in results.items()}
                for key, value in results.items():
                    check(name, key, value, expected[key.split("|")[0]], differences)
                agreeing[name] = worker
    return agreeing, reasons


def check(name, key, value, expected, differences):
    """Raise ValueError unless a result is fastrnn's."""
    if value.shape != expected.shape:
        raise ValueError(f"{key} has shape {value.shape}, fastrnn's has {expected.shape}")
    apart = differences(name, key.split("|")[0], value, expected)
    if not apart <= 1:
        raise ValueError(f"{key} differs from fastrnn's by {apart:.3g} times what is allowed")


# -- time ------------------------------------------------------------------------------------------


def chosen_ways(workers, reasons, **choice):
    """Return by name and task the ways that a peer knows and their milliseconds, the fastest first.

    It takes that one from now on.  ``reasons`` gets why a peer is left out.
    """
    ways = {}
    for name, worker in workers.items():
        with left_out(name, reasons):
            ways[name] = worker.ask("choose", **choice)
    return ways


def in_turns(workers, ways, tasks, rounds, reasons, **turn):
    """Return milliseconds by task and name: one figure a round, all peers in turn in each.

    Who fails in a turn is left out of all of them, and why stands in ``reasons``.
    """
    times = {task: {} for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            for name, own in ways.items():
                if task in own and name not in reasons:
                    with left_out(name, reasons):
                        figures = workers[name].ask("turn", task=task, **turn)
                        times[task].setdefault(name, []).append(float(np.median(figures)))
    return {
        task: {name: figures for name, figures in own.items() if name not in reasons}
        for task, own in times.items()
    }


def summary(times):
    """Return median, least and greatest of the times, and of the ratios to fastrnn's round.

    Parameters
    ----------
    times : dict from str to list of float
        By name, a figure a round.
    """

    def spread(values):
        return {"median": np.median(values), "min": min(values), "max": max(values)}

    own = np.array(times["fastrnn"])
    return {
        name: {"ms": spread(values), "ratio": spread(np.array(values) / own), "rounds": values}
        for name, values in times.items()
    }


def fastest(figures):
    """Return the name of fastrnn's fastest peer in a `summary`; None where it has no peer."""
    peers = [name for name in figures if name != "fastrnn"]
    return min(peers, key=lambda name: figures[name]["ratio"]["median"], default=None)
