"""Recurrent layers through the engine, without a model around them."""

from .common import LayerSuite
from .kernels import Layer


class Sweeps(LayerSuite):
    """A layer as wide as its input: its projection and its sweep, and the way back of both."""

    needs = ("cells.CellSpec.gates",)
    params = [*LayerSuite.params, [32, 128, 512], [1, 32, 128]]
    param_names = [*LayerSuite.param_names, "H", "B"]

    def prepare(self, name, H, B):
        self.layer = Layer(name, H, B, T=30 if H == 512 else 100)
        self.layer.forward_and_backward()  # finds its memory

    def time_forward(self, name, H, B):
        self.layer.forward()

    def time_forward_and_backward(self, name, H, B):
        self.layer.forward_and_backward()
