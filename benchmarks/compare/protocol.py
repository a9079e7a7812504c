"""How the comparison talks to a peer: a process of its own, one line of JSON each way.

A peer is a class that trains and predicts; `serve` runs it in its own environment and answers
requests, `Worker` is the other end. The process lives as long as the comparison, so compilation
and warming up happen once and the peers can be measured in turn.

Needs nothing but NumPy, since every peer's environment imports it.

Letters: N rows in all, B rows in a batch, T steps.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np

BATCH = 128
SECONDS = 1.0  # how long a turn lasts at least


class Peer:
    """What a peer can do.

    A peer may know several ways to the same result (with one thread or two, through one call or
    another): the fastest on this machine is chosen before anything is measured.
    """

    def start(self, layer, weights):
        """Take a layer of `CELLS` and new weights, and forget all else.

        The weights are the table, W, U and b in Keras's layout, then the output's K and c.
        """
        raise NotImplementedError

    def weights(self):
        """Return the weights in the order of `start`."""
        raise NotImplementedError

    def trainers(self):
        """Return functions (x, y, shuffle) by name: one epoch of updates, returning its loss."""
        return {}

    def predictors(self):
        """Return functions (x) by name: probabilities of N rows, asked for BATCH at a time."""
        return {}

    def versions(self):
        """Return the versions of what is measured, by name."""
        raise NotImplementedError


def batches(n, shuffle):
    """Return the row numbers of each batch of an epoch."""
    order = np.random.default_rng().permutation(n) if shuffle else np.arange(n)
    return [order[start : start + BATCH] for start in range(0, n, BATCH)]


def by_batches(predict):
    """Return ``predict``, which takes a batch, as a function of any number of rows."""

    def predict_all(x):
        parts = [np.asarray(predict(x[s : s + BATCH])) for s in range(0, len(x), BATCH)]
        return np.concatenate([part.reshape(-1) for part in parts])

    return predict_all


def milliseconds(function, *args):
    """Return how long a call took."""
    start = time.perf_counter()
    function(*args)
    return 1e3 * (time.perf_counter() - start)


class Server:
    """Answers requests for one peer on the workload in a file."""

    def __init__(self, peer, workload):
        with np.load(workload) as file:
            self.x, self.y = file["x"], file["y"]
            self.initial = str(file["layer"]), [file[f"w{i}"] for i in range(6)]
        self.peer = peer
        self.ways = {"train": peer.trainers(), "predict": peer.predictors()}
        self.chosen = {}

    def versions(self):
        return self.peer.versions()

    def agree(self, file):
        """Write what each way makes of the first batch, and the weights after one update."""
        x, y = self.x[:BATCH], self.y[:BATCH]
        results = {}
        for way, predict in self.ways["predict"].items():
            self.peer.start(*self.initial)
            results[f"output|{way}"] = np.asarray(predict(x)).reshape(-1)
        for way, train in self.ways["train"].items():
            self.peer.start(*self.initial)
            results[f"loss|{way}"] = np.asarray(train(x, y, False))
            for i, weight in enumerate(self.peer.weights()):
                results[f"w{i}|{way}"] = np.asarray(weight)
        np.savez(file, **results)

    def choose(self):
        """Warm every way up, keep the fastest, and return their names."""
        self.peer.start(*self.initial)
        for task, ways in self.ways.items():
            if ways:
                self.chosen[task] = min(ways, key=lambda way, task=task: self.trial(task, way))
        return self.chosen

    def trial(self, task, way):
        """Return the best of two rounds after one to warm up."""
        self.chosen[task] = way
        measure = getattr(self, task)
        measure()
        return min(np.median(measure()), np.median(measure()))

    def train(self):
        """Train epochs in random order; return milliseconds a batch of each."""
        train = self.ways["train"][self.chosen["train"]]
        return self.repeated(lambda: train(self.x, self.y, True))

    def predict(self):
        """Predict all rows; return milliseconds a batch of each time."""
        predict = self.ways["predict"][self.chosen["predict"]]
        return self.repeated(lambda: predict(self.x))

    def repeated(self, function):
        """Call for a while: what is fast must not be measured on a processor still waking up."""
        figures, end = [], time.perf_counter() + SECONDS
        while not figures or time.perf_counter() < end:
            figures.append(milliseconds(function) * BATCH / len(self.x))
        return figures


def serve(peer_class):
    """Answer requests about the workload that the first argument names until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the replies
    server = Server(peer_class(), sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(server, request.pop("do"))(**request)
        print(json.dumps(answer), file=replies, flush=True)


class Worker:
    """A peer's process, seen from the comparison."""

    def __init__(self, python, script, workload, arguments, log):
        self.log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(
                [python, script, workload, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # All measure the processor; TensorFlow's and JAX's notes would fill the log.
                env={
                    **os.environ,
                    "CUDA_VISIBLE_DEVICES": "",
                    "JAX_PLATFORMS": "cpu",
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                },
            )

    def ask(self, do, **arguments):
        """Send one request and return the answer; RuntimeError if the process died."""
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            reply = self.process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            with open(self.log) as log:
                tail = "".join(log.readlines()[-15:])
            raise RuntimeError(f"{' '.join(self.process.args)} stopped:\n{tail}")
        return json.loads(reply)

    def stop(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
