"""Recurrent layers through the engine, without a model around them."""

import numpy as np

from .common import LayerSuite, Suite
from .kernels import Layer
from .own_cells import cells


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


class OwnCells(Suite):
    """A cell that is written as a `call`: its sweep, and the way back."""

    needs = ("layers.Operation", "ops")
    params = [["plain", "leaky", "normalized", "residual LSTM"], [1, 128]]
    param_names = ["cell", "B"]

    def prepare(self, name, B):
        self.cell = cells("fastrnn")[name](32)
        self.cell.build((None, 32))
        self.x = self.random.normal(size=(B, 100, 32)).astype(np.float32)
        self.doutput = self.random.normal(size=(B, 32)).astype(np.float32)
        self.time_forward_and_backward(name, B)

    def time_forward(self, name, B):
        self.cell.sweep(self.x, None)

    def time_forward_and_backward(self, name, B):
        *_, tape = self.cell.sweep(self.x, None)
        self.cell.sweep_backward(tape, self.doutput, [None] * len(self.cell.state_sizes))
