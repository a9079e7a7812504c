"""Figures that are not times: errors, sizes, the share of the machine's peak, instructions."""

import time
from pathlib import Path

import numpy as np

import fastrnn
from fastrnn import _core

from . import instructions, peak
from .common import LayerSuite, Suite, has
from .kernels import Layer


class Accuracy(LayerSuite):
    """float32 on the kernels against float64 on the reference engine: the largest difference of an
    array's elements, as a part of its largest element."""

    needs = ("cells.CellSpec.gates",)
    unit = "relative"
    OUTPUTS = ("last",)
    GRADIENTS = ("dx", "dW", "dU", "db", "dbias", "dfirst")

    def prepare(self, name):
        self.float32 = Layer(name, 32, B=29, T=100)
        self.exact = Layer(name, 32, B=29, T=100, engine="reference", dtype="float64")
        for layer in (self.float32, self.exact):
            layer.forward_and_backward()

    def track_outputs(self, name):
        return self.worst(self.OUTPUTS)

    def track_gradients(self, name):
        return self.worst(self.GRADIENTS)

    def worst(self, names):
        return max(
            float(np.abs(found - exact).max() / np.abs(exact).max())
            for name in names
            for found, exact in zip(
                arrays(self.float32, name), arrays(self.exact, name), strict=True
            )
        )


def arrays(layer, name):
    """An attribute of a layer as a list of arrays; a GRU alone has ``dbias``."""
    value = getattr(layer, name)
    return [] if value is None else value if isinstance(value, list) else [value]


class Size(Suite):
    """Bytes of what is installed."""

    unit = "bytes"

    def prepare(self):
        self.core = Path(_core.__file__)

    def track_core(self):
        return self.core.stat().st_size

    def track_package(self):
        files = Path(fastrnn.__file__).parent.rglob("*")
        return sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")


class Peak(LayerSuite):
    """The share of the machine's FMA peak that the products of a layer reach, all else included."""

    needs = ("cells.CellSpec.gates",)
    params = [*LayerSuite.params, [128, 256, 512], [32, 128]]
    param_names = [*LayerSuite.param_names, "H", "B"]
    unit = "of the peak"
    SECONDS = 0.5

    def setup_cache(self):
        return peak.fma_peak(peak.measure())

    def setup(self, gigaflops, *arguments):
        super().setup(*arguments)
        self.gigaflops = gigaflops

    def prepare(self, name, H, B):
        self.layer = Layer(name, H, B, T=30 if H == 512 else 100)
        self.layer.forward_and_backward()

    def track_forward(self, *_):
        return self.share(self.layer.forward, self.layer.flops)

    def track_forward_and_backward(self, *_):
        return self.share(self.layer.forward_and_backward, 3 * self.layer.flops)

    def share(self, run, flops):
        """Of the fastest run, as the peak itself is the best of many turns."""
        best, end = float("inf"), time.perf_counter() + self.SECONDS
        while (start := time.perf_counter()) < end:
            run()
            best = min(best, time.perf_counter() - start)
        return 1e-9 * flops / best / self.gigaflops


class Instructions(Suite):
    """Instructions of the kernels' AVX2 code; `kernel` is a name in instructions.json."""

    needs = ("cells.CellSpec.gates",)
    params = [instructions.recorded_names()]
    param_names = ["kernel"]
    unit = "instructions"

    def setup_cache(self):
        return instructions.count() if all(map(has, self.needs)) else {}

    def prepare(self, counts, kernel):
        if kernel not in counts:
            raise NotImplementedError(f"{kernel} is not in the core yet")

    def track_instructions(self, counts, kernel):
        return counts[kernel]
