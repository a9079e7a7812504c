"""How the comparison talks to a peer: a process of its own, one line of JSON each way.

A peer is a class that runs a model or a layer; `serve` runs it in its own environment and answers
requests, `Worker` is the other end. The process lives as long as the comparison, so compilation
and warming up happen once and the peers can be measured in turn; it is held while others have
theirs.

Needs nothing but NumPy, since every peer's environment imports it.

Letters: N rows in all, B rows in a batch, T steps, D input width, H units, G gates.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np

BATCH = 128
ROWS = 32  # of which one at a time is predicted

# All measure the processor; TensorFlow's and JAX's notes would fill the log.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}

PR_SET_PDEATHSIG = 1  # of prctl, in Linux

# A peer may know several ways to the same result (with one thread or two, through one call or
# another): the fastest on this machine is chosen before anything is measured.


class ModelPeer:
    """What a peer does with the model Embedding -> recurrent layer -> Dense(1, sigmoid)."""

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

    def batch_predictors(self):
        """Return functions (x) by name: probabilities of the rows of one batch, in one call."""
        return {}

    def predictors(self):
        """Return functions (x) by name: probabilities of N rows, asked for BATCH at a time."""
        return {way: by_batches(predict) for way, predict in self.batch_predictors().items()}


class LayerPeer:
    """What a peer does with one recurrent layer that gives the output of every step."""

    def start(self, layer, weights, x, dy):
        """Take a layer of `CELLS`, its weights, an input, and the gradient by its output.

        W (D, G H), U (H, G H) and b are in Keras's layout, x is (B, T, D), dy (B, T, H). To keep
        them as the library likes them best costs no time that is measured.
        """
        raise NotImplementedError

    def forwards(self):
        """Return functions () by name: a tuple of the output y alone, once it is there."""
        raise NotImplementedError

    def backwards(self):
        """Return functions () by name: y and the gradients by x, W, U, b, once they are there."""
        return {}

    def in_keras_layout(self, values):
        """Return as NumPy arrays in Keras's layout what a function returned."""
        return [np.asarray(value) for value in values]


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


def peak_memory():
    """Return this process's greatest resident size so far, in bytes.

    getrusage would do, but for a child it starts at the size of the process that made it.
    """
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def milliseconds(function):
    """Return how long a call took."""
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)


class Server:
    """Answers requests for one peer: what a `Worker` can ask for are the public methods."""

    def __init__(self, peer, versions):
        self.peer = peer
        self._versions = versions
        # By task: functions () by the name of the way; what a call does, as a number of units.
        self.ways, self.units = {}, {}
        self.chosen = {}

    def _take(self, arrays):
        """Set ``ways`` and ``units`` for a workload."""
        raise NotImplementedError

    def _results(self):
        """Yield (what, way, value): all that must be the same for every peer."""
        raise NotImplementedError

    def versions(self):
        """Return the versions of what is measured, by name."""
        return self._versions

    def open(self, file):
        """Take the workload in a file."""
        with np.load(file) as arrays:
            self._take(dict(arrays))

    def agree(self, file):
        """Write what each way makes of the workload."""
        np.savez(file, **{f"{what}|{way}": value for what, way, value in self._results()})

    def choose(self, tasks, seconds, turns=2):
        """Warm every way up and keep the fastest.

        Return by task the ways and their milliseconds, the fastest first.
        """
        tried = {}
        for task in tasks:
            if ways := self.ways[task]:
                trials = {way: self._trial(task, way, seconds, turns) for way in ways}
                tried[task] = dict(sorted(trials.items(), key=lambda trial: trial[1]))
                self.use(task, next(iter(tried[task])))
        return tried

    def ways_to(self, task):
        """Return the names of the ways to a task."""
        return list(self.ways[task])

    def use(self, task, way):
        """Do a task this way from now on."""
        self.chosen[task] = way

    def _trial(self, task, way, seconds, turns):
        """Return the best of some turns after one call to warm up."""
        self.use(task, way)
        self.ways[task][way]()
        return min(np.median(self.turn(task, seconds)) for _ in range(turns))

    def turn(self, task, seconds, calls=1):
        """Do a task for a while, and so often at least; return milliseconds a unit of each call.

        What is fast must not be measured on a processor still waking up.
        """
        function = self.ways[task][self.chosen[task]]
        figures, end = [], time.perf_counter() + seconds
        while len(figures) < calls or time.perf_counter() < end:
            figures.append(milliseconds(function) / self.units[task])
        return figures

    def peak_memory(self):
        """Return `peak_memory`."""
        return peak_memory()


class ModelServer(Server):
    """Trains a model, and predicts with it."""

    def _take(self, arrays):
        self.x, self.y = arrays["x"], arrays["y"]
        self.initial = str(arrays["layer"]), [arrays[f"w{i}"] for i in range(6)]
        count = int(arrays["batches"])
        x, y, rows = self.x[: count * BATCH], self.y[: count * BATCH], self.x[:ROWS, None]
        self.peer.start(*self.initial)
        train, predict = self.peer.trainers().items(), self.peer.predictors().items()
        one = self.peer.batch_predictors().items()
        self.units = {"train": count, "predict": count, "row": ROWS, "epoch": 1}
        self.ways = {
            "train": {way: partial(function, x, y, True) for way, function in train},
            "predict": {way: partial(function, x) for way, function in predict},
            "row": {way: partial(_for_each, function, rows) for way, function in one},
            "epoch": {way: partial(function, self.x, self.y, True) for way, function in train},
        }

    def _results(self):
        """What each way makes of the first batch and row, and the weights after one update."""
        x, y = self.x[:BATCH], self.y[:BATCH]
        for way, predict in self.peer.predictors().items():
            self.peer.start(*self.initial)
            yield "output", way, np.reshape(predict(x), -1)
        for way, predict in self.peer.batch_predictors().items():
            self.peer.start(*self.initial)
            yield "row", way, np.reshape(predict(x[:1]), -1)
        for way, train in self.peer.trainers().items():
            self.peer.start(*self.initial)
            yield "loss", way, train(x, y, False)
            for i, weight in enumerate(self.peer.weights()):
                yield f"w{i}", way, weight
        self.peer.start(*self.initial)


class LayerServer(Server):
    """Runs a layer forward, and backward."""

    def _take(self, arrays):
        weights = [arrays[name] for name in "WUb"]
        self.peer.start(str(arrays["layer"]), weights, arrays["x"], arrays["dy"])
        self.units = {"forward": 1, "backward": 1}
        self.ways = {"forward": self.peer.forwards(), "backward": self.peer.backwards()}

    def _results(self):
        for ways in self.ways.values():
            for way, function in ways.items():
                values = self.peer.in_keras_layout(function())
                for what, value in zip(("y", "dx", "dW", "dU", "db"), values, strict=False):
                    yield what, way, value


def _for_each(function, parts):
    for part in parts:
        function(part)


def serve(versions, model, layer):
    """Answer requests until there are no more; the first argument says of which kind of peer."""
    if sys.platform == "linux":  # a process that is held would not notice that it is alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the replies
    kinds = {"model": (ModelServer, model), "layer": (LayerServer, layer)}
    server_class, peer_class = kinds[sys.argv[1]]
    server = server_class(peer_class(), versions)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(server, request.pop("do"))(**request)
        print(json.dumps(answer), file=replies, flush=True)


class Worker:
    """A peer's process, seen from the comparison.

    It is held but while it answers: pools of threads go on spinning for a while after their work,
    at the expense of whoever comes next.
    """

    def __init__(self, python, script, arguments, log):
        self.log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(
                [python, script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | ENVIRONMENT,
            )

    def ask(self, do, **arguments):
        """Send one request and return the answer; RuntimeError if the process died."""
        self.process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            reply = self.process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            with open(self.log) as log:
                tail = "".join(log.readlines()[-15:])
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} stopped:\n{tail}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(reply)

    def stop(self):
        """End the process."""
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate()  # nothing more: its input ends, and it with that
