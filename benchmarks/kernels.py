"""Recurrent layers by themselves, through the engine: what the suites time and the guard counts.

    python benchmarks/kernels.py STUB.so

runs each of `counted` between the marks of a compiled ``callgrind.c``; see ``instructions.py``.
Needs nothing but fastrnn, so that it runs on any build of it, and imports what early commits lack
only where it is used.

Letters: B rows, T steps, D input width, H units, G gates, V vocabulary.
"""

import ctypes
import inspect
import sys

import numpy as np

from fastrnn import engines

# What the engine calls the layers.
KINDS = {"SimpleRNN": "simple_rnn", "LSTM": "lstm", "GRU": "gru"}


class Layer:
    """A recurrent layer of H units over dense input, forward and backward; equal numbers each time.

    Parameters
    ----------
    name : {"SimpleRNN", "LSTM", "GRU"}
    H, B, T : int
    D : int, optional
        As many as H unless given.
    engine : {"cpu", "reference"}
    dtype : str
        The numbers are those of float32 in any case.
    """

    def __init__(self, name, H, B, T, D=None, engine="cpu", dtype="float32"):
        from fastrnn.cells import CellSpec

        self.cell = CellSpec(KINDS[name])
        self.D, self.H, self.B, self.T = D or H, H, B, T
        with engines.using(engine) as self.engine:
            pass
        options = inspect.signature(self.engine.project).parameters
        self.on_the_way = {"for_sweep": True} if "for_sweep" in options else {}
        options = inspect.signature(self.engine.recurrent_backward).parameters
        self.goes_back_on_the_way = "projection" in options
        random = np.random.default_rng(1)
        columns = self.cell.gates * H

        def draw(scale, *shape):
            values = random.normal(size=shape).astype("float32") * np.float32(scale)
            array = self.engine.zeros(shape, dtype)
            array[...] = values
            return array

        self.x = draw(1, B, T, self.D)
        self.W = draw(self.D**-0.5, self.D, columns)
        self.U = draw(H**-0.5, H, columns)
        self.b = draw(0.1, columns)
        self.bias = draw(0.1, H) if name == "GRU" else None
        self.dlast = [draw(1, B, H), *[None] * (self.cell.states - 1)]
        self.dW, self.dU, self.db, self.dbias = (
            None if a is None else self.engine.zeros(a.shape, a.dtype)
            for a in (self.W, self.U, self.b, self.bias)
        )

    @property
    def flops(self):
        """Floating-point operations of the products in `forward`; `backward` has twice as many."""
        return 2 * self.B * self.T * self.cell.gates * self.H * (self.D + self.H)

    def project(self, **options):
        self.z = self.engine.project(self.x, self.W, self.b, **options)

    def recur(self):
        _, self.last, self.tape = self.engine.recurrent(self.cell, self.z, self.U, bias=self.bias)

    def recur_backward(self, **options):
        self.dz, self.dfirst = self.engine.recurrent_backward(
            self.tape, self.U, None, self.dlast, self.dU, dbias=self.dbias, **options
        )

    @property
    def on_the_way_back(self):
        if not self.goes_back_on_the_way:
            return {}
        return {"projection": (self.x, self.W, self.dW, self.db)}

    def project_backward(self):
        self.dx = self.engine.project_backward(self.x, self.W, self.dz, self.dW, self.db)

    def forward(self):
        """As layers have it: the inputs are projected on the way, where that is sooner."""
        self.project(**self.on_the_way)
        self.recur()

    def backward(self):
        """All gradients; those of the weights are added to what stands there."""
        self.recur_backward(**self.on_the_way_back)
        self.project_backward()

    def forward_and_backward(self):
        self.forward()
        self.backward()


class LookupLayer(Layer):
    """The same over rows of a table, the first steps of which are padding, as in a text."""

    def __init__(self, name, H, B, T, V=1000):
        from fastrnn.values import Lookup

        super().__init__(name, H, B, T)
        random = np.random.default_rng(2)
        ids = random.integers(1, V, (B, T), np.int32)
        ids[np.arange(T) < random.integers(0, T, (B, 1))] = 0
        self.x = Lookup(ids, random.normal(size=(V, H)).astype("float32"))
        self.dtable = self.engine.zeros((V, H), "float32")

    def add_rows(self):
        self.engine.add_rows(self.dx, self.dtable)


def text_model(name, words=10000, units=32):
    """The README's model with another recurrent layer: Embedding -> `name` -> Dense(1)."""
    from fastrnn import layers, models, utils

    utils.set_random_seed(1)
    model = models.Sequential(
        [
            layers.Embedding(words, units),
            getattr(layers, name)(units),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
    return model


# -- what is counted -------------------------------------------------------------------------------


def counted():
    """Yield (name, function): few instructions each, and together all kernels that matter."""
    for name in KINDS:
        for H in (32, 128):
            layer = Layer(name, H, B=12, T=16)
            layer.project()
            yield f"{name} H={H} forward", layer.recur
            yield f"{name} H={H} backward", layer.recur_backward
    yield "project H=128", layer.project
    yield "project H=128 backward", layer.project_backward
    for name in KINDS:
        layer = Layer(name, 32, B=32, T=16)
        layer.forward()
        yield f"{name} H=32 backward with its input", layer.backward
    for name in KINDS:
        for H, T in ((32, 50), (128, 2)):
            row = Layer(name, H, B=1, T=T)
            row.project()
            yield f"{name} H={H}, {T} steps of a row", row.recur
    yield "project H=128, a row", Layer("LSTM", 128, B=1, T=1).project
    for name in KINDS:
        layer = LookupLayer(name, 32, B=24, T=50)
        layer.project()
        yield f"{name} H=32 over ids, forward", layer.recur
        yield f"{name} H=32 over ids, backward", layer.recur_backward
    yield "project ids", layer.project
    yield "project ids backward", layer.project_backward
    yield "add rows", layer.add_rows
    yield from _updates(layer.engine)
    for name in KINDS:
        model, x, y = text_model(name, words=1000), layer.x.ids, np.arange(24) % 2
        model.train_on_batch(x, y)  # all that only the first step does
        yield f"{name}(32) training step", lambda model=model, x=x, y=y: model.train_on_batch(x, y)


def _updates(engine, n=10000):
    """The update kernels of SGD, RMSprop and Adam over n numbers."""
    value, grad, a, b = (engine.zeros((n,), "float32") for _ in range(4))
    for rule, hyper in {
        "sgd": dict(slots={"momentum": a}, momentum=0.9, nesterov=False),
        "rmsprop": dict(slots={"velocity": a}, rho=0.9, momentum=0, epsilon=1e-7, centered=False),
        "adam": dict(
            slots={"momentum": a, "velocity": b}, beta_1=0.9, beta_2=0.999, epsilon=1e-7,
            amsgrad=False,
        ),
    }.items():  # fmt: skip

        def run(rule=rule, hyper=hyper):
            engine.update(rule, value, grad, learning_rate=0.01, **hyper)

        grad[...] = 1
        yield f"{rule} update", run


def main():
    marks = ctypes.CDLL(sys.argv[1])
    for name, run in counted():
        marks.begin()
        run()
        marks.end(name.encode())


if __name__ == "__main__":
    main()
