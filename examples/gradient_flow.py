"""Vanishing and exploding gradients, seen and treated, on the adding problem.

Each row is a sequence of pairs: a number between 0 and 1, and a marker that is 1 at two steps, one
in each half, and else 0. To be told: the sum of the two marked numbers (Hochreiter and Schmidhuber,
1997). Whoever always says 1 has a mean squared error of 1/6; to do better, something seen up to T
steps ago must be remembered, and for that to be learned, the gradient must get there. What comes
of it is told in docs/gradients.md.

    python examples/gradient_flow.py [--quick] [--picture FILE]
"""

import sys
import textwrap

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.diagnostics import gradient_flow
from fastrnn.layers import GRU, LSTM, Dense, SimpleRNN
from fastrnn.optimizers import SGD, Adam
from fastrnn.utils import set_random_seed

QUICK = "--quick" in sys.argv
STEPS, ROWS = (50, 4000) if QUICK else (200, 10000)


def adding_problem(rows, steps, rng):
    """Sequences (rows, steps, 2) and their sums (rows, 1)."""
    x = np.zeros((rows, steps, 2), np.float32)
    x[..., 0] = rng.random((rows, steps))
    each = np.arange(rows)
    first = rng.integers(0, steps // 2, rows)
    second = rng.integers(steps // 2, steps, rows)
    x[each, first, 1] = x[each, second, 1] = 1
    return x, (x[each, first, 0] + x[each, second, 0])[:, None]


def open_gates(shape, dtype=None):
    """A start of an LSTM's bias with which it keeps what it saw for up to STEPS steps.

    A forget gate with the bias log(k) forgets within about k steps, and an input gate with its
    opposite lets in as little as is forgotten (Tallec and Ollivier, 2018).
    """
    units = shape[0] // 4
    bias = np.log(np.random.default_rng(0).uniform(1, STEPS, units))
    return np.concatenate([-bias, bias, np.zeros(2 * units)]).astype(dtype)


def compiled(layer, optimizer):
    """A network of this recurrent layer."""
    model = Sequential([Input((None, 2)), layer, Dense(1)])
    model.compile(optimizer, "mse")
    return model


def trained(layer, optimizer, epochs, data):
    """Train a network; the gradient flow before and after, and the test error."""
    (x, y), (x_test, y_test) = data
    model = compiled(layer, optimizer)
    before = gradient_flow(model, x_test[:64], y_test[:64])
    with np.errstate(all="ignore"):  # what explodes shall do so in silence
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
        error = model.evaluate(x_test, y_test, verbose=0)
    after = gradient_flow(model, x_test[:64], y_test[:64])
    return before, after, error


def main():
    rng = np.random.default_rng(0)
    data = adding_problem(ROWS, STEPS, rng), adding_problem(1000, STEPS, rng)
    print(f"The adding problem over {STEPS} steps; the error of a guess is {1 / 6:.4f}.\n")

    print("Vanishing: |dL/dh_t| at the first step as a part of its largest, and its reach:")
    print("over how many steps back it stays above 1/1000 of the largest")
    print(f"{'':10} {'before training':>20} {'after training':>20} {'test error':>12}")
    start = {"unit_forget_bias": False, "bias_initializer": open_gates}
    flows = {}
    for cell, epochs, options in ((SimpleRNN, 6, {}), (GRU, 5, {}), (LSTM, 5, start)):
        set_random_seed(0)
        name = cell.__name__
        layer = cell(32, name=name, **options)
        flow = trained(layer, Adam(0.01, clipnorm=1.0), 8 if QUICK else epochs, data)
        before, after, error = flows[name] = flow
        seen = "".join(f"{f[name].decay:14.1e} {f[name].reach:5}" for f in (before, after))
        print(f"{name:10} {seen} {error:12.4f}")
    print("\nIn words, after training:")
    fine = ["The SimpleRNN's gradient is fine over so few steps."]
    for finding in flows["SimpleRNN"][1].findings() or fine:
        print(textwrap.fill(finding, 100))

    print("\nThe start of the recurrent kernel: the reach of an untrained SimpleRNN, three seeds")
    for start in ("orthogonal", "glorot_uniform", "random_normal"):
        reach = []
        for seed in range(3):
            set_random_seed(seed)
            layer = SimpleRNN(32, recurrent_initializer=start)
            flow = gradient_flow(compiled(layer, "sgd"), *(array[:64] for array in data[1]))
            reach.append(f"{flow[layer.name].reach:5}")
        print(f"{start:15}", *reach)

    # As in Le et al. (2015): the gradient neither fades nor is it bounded.
    print("\nExploding: a SimpleRNN with ReLU, whose recurrent kernel starts as the identity")
    runs = {
        "SGD(0.001)": SGD(0.001),
        "SGD(0.001, clipnorm=1)": SGD(0.001, clipnorm=1.0),
        "Adam(0.001)": Adam(0.001),
        "Adam(0.001, clipnorm=1)": Adam(0.001, clipnorm=1.0),
    }
    for name, optimizer in runs.items():
        set_random_seed(0)
        layer = SimpleRNN(32, activation="relu", recurrent_initializer="identity")
        before, _, error = trained(layer, optimizer, 2 if QUICK else 10, data)
        if name == "SGD(0.001)":
            print(f"the norm of all gradients before training: {before.global_norm:.1e}")
            print(f"{'':24} {'test error':>11}")
        print(f"{name:24} {error:11.3g}")

    if "--picture" in sys.argv:
        draw(flows, sys.argv[sys.argv.index("--picture") + 1])


def draw(flows, path):
    """The norms over the steps, before training and after."""
    from matplotlib.figure import Figure

    from fastrnn.plotting import plot_gradient_flow

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for when, axes in enumerate(figure.subplots(1, 2, sharey=True)):
        lines = {name: flow[when][name].norms for name, flow in flows.items()}
        plot_gradient_flow(lines, axes)
        axes.set(title=("before training", "after training")[when], ylim=(1e-20, 10))
        axes.label_outer()
    figure.savefig(path, dpi=85)


if __name__ == "__main__":
    main()
