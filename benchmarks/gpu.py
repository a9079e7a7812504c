"""Measure the CUDA engine on a GPU, beside PyTorch with cuDNN and cuBLAS where it is installed.

``python -m benchmarks.gpu [products] [layers] [training] [--out results.json]``

Times are those of the device, between two events in the stream that both use, of calls one after
the other: what the host adds between kernels counts, as it does for whoever waits for them. The
median of several rounds, ours and theirs in turn.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import statistics
import sys
import time

import numpy as np

import fastrnn
from fastrnn import cuda as fastrnn_cuda

ROUNDS = 7
PRODUCTS = [(size, batch) for size in (16, 32, 64, 128) for batch in (1_000, 10_000, 100_000)]
CELLS = "SimpleRNN", "LSTM", "GRU"
LAYERS = [(units, batch) for units in (32, 64, 128) for batch in (32, 128, 512)]
STEPS = 500
# The script on IMDB: V words, rows of T, D columns of the table, H units, B rows in a batch.
V, D, H, B, REVIEWS = 10_000, 32, 32, 128, 25_000

torch = None
if importlib.util.find_spec("torch"):
    import torch


def device_ms(call, repeats):
    """Milliseconds that the device needs for a call, of ``repeats`` one after the other."""
    from numba import cuda

    begin, end = cuda.event(), cuda.event()
    cuda.synchronize()
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return cuda.event_elapsed_time(begin, end) / repeats


def compare(ways, budget=0.4):
    """The median milliseconds of each of the calls ``ways``, which take turns."""
    found = {name: [] for name in ways}
    repeats = {}
    for name, call in ways.items():
        call()
        once = max(device_ms(call, 1), 1e-3)
        repeats[name] = int(min(max(budget * 1e3 / ROUNDS / once, 1), 200))
    for _ in range(ROUNDS):
        for name, call in ways.items():
            found[name].append(device_ms(call, repeats[name]))
    return {name: statistics.median(times) for name, times in found.items()}


def report(what, times, **more):
    """Print a line, and keep it."""
    ours = times["fastrnn"]
    others = "  ".join(
        f"{name} {ms:.4f} ({ms / ours:.2f} x)" for name, ms in times.items() if name != "fastrnn"
    )
    extra = "  ".join(f"{name} {value:.4g}" for name, value in more.items())
    print(f"{what:40s} fastrnn {ours:.4f} ms  {others}  {extra}", flush=True)
    return {"what": what, "ms": times, **more}


# -- batched products --------------------------------------------------------------------------


def products(rng):
    """Batches of square products in single precision, against cuBLAS by way of torch.bmm."""
    for size, batch in PRODUCTS:
        a, b, out = (arrays_of(rng, batch, size) for _ in range(3))
        ways = {"fastrnn": functools.partial(fastrnn_cuda.batched_matmul, a, b, out=out)}
        if torch:
            ways["cuBLAS"] = functools.partial(torch.bmm, a, b, out=out)
        times = compare(ways, budget=0.2)
        rate = 2 * batch * size**3 / times["fastrnn"] / 1e9
        bandwidth = 3 * 4 * batch * size**2 / times["fastrnn"] / 1e9
        yield report(f"products {size} x {batch}", times, TFLOPs=rate, TBs=bandwidth)


def arrays_of(rng, batch, size):
    if torch:
        return torch.randn(batch, size, size, device="cuda")
    from numba import cuda

    return cuda.to_device(rng.normal(size=(batch, size, size)).astype(np.float32))


# -- layers ------------------------------------------------------------------------------------


def layer_ways(rng, name, units, rows, peers=True):
    """A recurrent layer there and back, with the gradients of input and weights."""
    from fastrnn import engines
    from fastrnn.cuda.recording import Recording

    x = rng.normal(size=(rows, STEPS, units)).astype(np.float32)
    dy = rng.normal(size=(rows, units)).astype(np.float32)
    layer = getattr(fastrnn.layers, name)(units)
    layer.build((None, STEPS, units))
    engine = engines.current()
    layer.move()
    x_there, dy_there = engine.asarray(x), engine.asarray(dy)

    def once():
        _, tape = layer.forward(x_there, training=True)
        layer.backward(tape, dy_there)

    once()  # loads the kernels
    ways = {"fastrnn": Recording(once)}  # as `fit` does its steps
    if torch and peers:
        kind = {"SimpleRNN": "RNN"}.get(name, name)
        rnn = getattr(torch.nn, kind)(units, units, batch_first=True).cuda()
        x_torch = torch.from_numpy(x).cuda().requires_grad_()
        dy_torch = torch.from_numpy(dy).cuda()

        def theirs():
            y, _ = rnn(x_torch)
            y[:, -1].backward(dy_torch)

        def with_tf32(allowed):
            def call():
                torch.backends.cudnn.allow_tf32 = allowed
                theirs()

            return call

        ways |= {"cuDNN": with_tf32(False), "cuDNN, TF32": with_tf32(True)}
    return ways


def layers(rng):
    """Layers of the usual sizes against cuDNN."""
    for name in CELLS:
        for units, rows in LAYERS:
            yield report(
                f"{name}({units}), {rows} rows, {STEPS} steps",
                compare(layer_ways(rng, name, units, rows)),
            )


# -- training ----------------------------------------------------------------------------------


def imdb_like(rng):
    """Padded rows of ids, as frequent as words are."""
    lengths = np.clip(rng.lognormal(5.1, 0.65, REVIEWS).astype(int), 10, STEPS)
    often = 1 / np.arange(1, V)  # Zipf's law
    ids = rng.choice(np.arange(1, V, dtype=np.int32), (REVIEWS, STEPS), p=often / often.sum())
    ids[np.arange(STEPS) < (STEPS - lengths)[:, None]] = 0
    return ids, rng.integers(0, 2, REVIEWS).astype(np.float32)


def our_model(layer):
    model = fastrnn.Sequential([
        fastrnn.layers.Embedding(V, D), getattr(fastrnn.layers, layer)(H),
        fastrnn.layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
    return model


def our_epoch(model, ids, labels, epochs=4):
    """Seconds for an epoch beyond the first, which brings the data to the device."""

    def seconds(epochs):
        begin = time.perf_counter()
        model.fit(ids, labels, epochs=epochs, batch_size=B, verbose=0)
        return time.perf_counter() - begin

    return (seconds(epochs + 1) - seconds(1)) / epochs


def their_epoch(layer, ids, labels):
    """A function that trains PyTorch's model for an epoch, all on the device."""
    kind = {"SimpleRNN": "RNN"}.get(layer, layer)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(V, D)
            self.rnn = getattr(torch.nn, kind)(D, H, batch_first=True)
            self.dense = torch.nn.Linear(H, 1)

        def forward(self, ids):
            y, _ = self.rnn(self.table(ids))
            return self.dense(y[:, -1])[:, 0]

    model = Model().cuda()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    x, y = torch.from_numpy(ids).cuda(), torch.from_numpy(labels).cuda()

    def epoch():
        begin = time.perf_counter()
        order = torch.randperm(len(x), device="cuda")
        for first in range(0, len(x), B):
            index = order[first : first + B]
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    return epoch


def training(rng):
    """Steps of the script on IMDB, of an epoch; and the same on the CPU."""
    ids, labels = imdb_like(rng)
    steps = -(-REVIEWS // B)
    for layer in CELLS:
        model = our_model(layer)
        ways = {"fastrnn": lambda model=model: our_epoch(model, ids, labels)}
        if torch:
            ways["PyTorch"] = their_epoch(layer, ids, labels)
        for epoch in ways.values():
            epoch()
        found = {name: [] for name in ways}
        for _ in range(5):
            for name, epoch in ways.items():
                found[name].append(1e3 * epoch() / steps)
        yield report(
            f"{layer}({H}) on IMDB, a step", {n: statistics.median(t) for n, t in found.items()}
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=[], help="products, layers, training (all)")
    parser.add_argument("--out", help="a file for the results, JSON")
    options = parser.parse_args()
    fastrnn_cuda.discovery.require()
    fastrnn.set_device("cuda")
    from numba import cuda

    if torch:
        torch.backends.cuda.matmul.allow_tf32 = False
    card = cuda.get_current_device().name
    card = card.decode() if isinstance(card, bytes) else card
    print(f"{card}, {fastrnn_cuda.discovery.report()}", flush=True)
    parts = {"products": products, "layers": layers, "training": training}
    results = {"card": card, "results": []}
    for name in options.parts or parts:
        for line in parts[name](np.random.default_rng(0)):
            results["results"].append(line)
            if options.out:
                with open(options.out, "w") as file:
                    json.dump(results, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
