"""Cells of one's own, trained and run: fastrnn, and Keras where a Python that has it is given.

    python benchmarks/own_cells.py
    python benchmarks/own_cells.py --keras PYTHON          # with KERAS_BACKEND as it is set
    python benchmarks/own_cells.py --steps 100 --units 64

The same classes, written with a `call`, on either side: a model of one such layer and a Dense on
it, batches of 128.  Each side is a process, started in turn several times; what is printed are
medians in milliseconds, and how many times as long the other takes.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time

import numpy as np

BATCH, BATCHES, REPEATS = 128, 4, 5


def cells(library):
    """Makers of cells by name, of ``keras`` or ``fastrnn``."""
    layers, ops = (importlib.import_module(f"{library}.{name}") for name in ("layers", "ops"))

    class Cell(layers.Layer):
        """h' = tanh(x W + h U)."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = units

        def build(self, input_shape):
            self.kernel = self.add_weight(
                shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel"
            )
            self.recurrent = self.add_weight(
                shape=(self.units, self.units), initializer="orthogonal", name="recurrent"
            )
            self.more(input_shape)
            self.built = True

        def more(self, input_shape):
            pass

        def sums(self, inputs, h):
            return ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent)

        def call(self, inputs, states):
            h = ops.tanh(self.sums(inputs, states[0]))
            return h, [h]

    class Leaky(Cell):
        """h' = h + a (tanh(x W + h U) - h), with a learned."""

        def more(self, input_shape):
            self.leak = self.add_weight(shape=(self.units,), initializer="zeros", name="leak")

        def call(self, inputs, states):
            h = states[0]
            h = h + ops.sigmoid(self.leak) * (ops.tanh(self.sums(inputs, h)) - h)
            return h, [h]

    class Normalized(Cell):
        """h' = tanh(norm(x W + h U))."""

        def more(self, input_shape):
            self.norm = layers.LayerNormalization()
            self.norm.build((None, self.units))

        def call(self, inputs, states):
            h = ops.tanh(self.norm(self.sums(inputs, states[0])))
            return h, [h]

    class Residual(layers.Layer):
        """An LSTMCell, whose output is added to what comes in."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.cell = layers.LSTMCell(units)
            self.state_size, self.output_size = self.cell.state_size, units

        def build(self, input_shape):
            self.cell.build(input_shape)
            self.built = True

        def call(self, inputs, states):
            y, states = self.cell(inputs, states)
            return y + inputs, states

    return {"plain": Cell, "leaky": Leaky, "normalized": Normalized, "residual LSTM": Residual}


def measure(name, steps, units):
    """Milliseconds of a training step and of predicting a batch, by the names of cells."""
    library = importlib.import_module(name)
    found, rng = {}, np.random.default_rng(0)
    x = rng.normal(size=(BATCH * BATCHES, steps, units)).astype("float32")
    y = (x[:, 0, :1] > 0).astype("float32")
    for cell, make in cells(name).items():
        layers = importlib.import_module(f"{name}.layers")
        model = library.Sequential([
            library.Input((steps, units)), layers.RNN(make(units)), layers.Dense(1, "sigmoid"),
        ])  # fmt: skip
        model.compile(optimizer="rmsprop", loss="binary_crossentropy")
        found[cell] = {
            "step": timed(lambda m=model: m.fit(x, y, batch_size=BATCH, verbose=0)),
            "batch": timed(lambda m=model: m.predict(x, batch_size=BATCH, verbose=0)),
        }
    return found


def timed(work):
    """The median time of a batch in milliseconds, after a first run."""
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start) / BATCHES)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keras", metavar="PYTHON", help="a Python that has Keras")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker, options.steps, options.units)))
        return
    sides = {"fastrnn": sys.executable} | ({"keras": options.keras} if options.keras else {})
    rounds = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, python in sides.items():
            command = [python, __file__, "--worker", name, "--steps", str(options.steps),
                       "--units", str(options.units)]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rounds[name].append(json.loads(done.stdout.splitlines()[-1]))
    for cell in rounds["fastrnn"][0]:
        for what in ("step", "batch"):
            print(f"{cell:16}{what:8}", *columns(rounds, cell, what), sep="")


def columns(rounds, cell, what):
    """What is printed of each side: a median and, of the other, the median ratio."""
    own = [found[cell][what] for found in rounds["fastrnn"]]
    yield f"fastrnn {statistics.median(own):8.2f} ms"
    if "keras" in rounds:
        theirs = [found[cell][what] for found in rounds["keras"]]
        ratio = statistics.median(b / a for a, b in zip(own, theirs, strict=True))
        yield f"    keras {statistics.median(theirs):8.2f} ms, {ratio:.1f} times as long"


if __name__ == "__main__":
    main()
