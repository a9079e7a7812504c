"""PyTorch: nn.RNN, nn.LSTM and nn.GRU, between nn.Embedding and nn.Linear and by themselves."""

import os
from functools import partial

import numpy as np
import torch
from cells import CELLS, in_order, two_biases
from protocol import LayerPeer, ModelPeer, batches, serve
from torch import nn

RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7

LAYERS = {"SimpleRNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}

# Gradients that vanish over 500 steps end in denormal numbers, which slow a processor down.
torch.set_flush_denormal(True)


def recurrent(layer, W, U, b):
    """Return a recurrent layer with these weights; it wants the steps first."""
    cell = CELLS[layer]
    rnn = LAYERS[layer](len(W), len(U))
    W, U, b = (in_order(w, cell.keras, cell.torch) for w in (W, U, two_biases(b)))
    with torch.no_grad():
        for parameter, value in zip(rnn.parameters(), (W.T, U.T, *b), strict=True):
            parameter.copy_(torch.from_numpy(value.copy()))
    # PyTorch has two biases: where Keras has one, the second stays zero.
    rnn.bias_hh_l0.requires_grad_(cell.biases == 2)
    return rnn


def in_keras_layout(layer, W, U, *b):
    """Return what a recurrent layer keeps, or gradients of it, as Keras keeps it."""
    cell = CELLS[layer]
    W, U, b = (in_order(w, cell.torch, cell.keras) for w in (W.T, U.T, np.array(b)))
    return W, U, b.squeeze()


def trained(module):
    """Return the parameters that gradients are wanted of."""
    return [p for p in module.parameters() if p.requires_grad]


def each_number_of_threads(function):
    """Return a function that takes the number of threads first, as ways."""
    return {f"threads: {n}": partial(function, n) for n in sorted({1, os.cpu_count()})}


class Network(nn.Module):
    def __init__(self, layer, weights):
        super().__init__()
        table, W, U, b, K, c = weights
        self.layer = layer
        self.embedding = nn.Embedding(*table.shape)
        self.rnn = recurrent(layer, W, U, b)
        self.linear = nn.Linear(*K.shape)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.from_numpy(table))
            self.linear.weight.copy_(torch.from_numpy(K.T))
            self.linear.bias.copy_(torch.from_numpy(c))

    def weights(self):
        """Return the weights in the order of `ModelPeer.start`."""
        table, *recurrent, K, c = (p.detach().numpy() for p in trained(self))
        return [table, *in_keras_layout(self.layer, *recurrent), K.T, c]

    def forward(self, ids):
        _, last = self.rnn(self.embedding(ids.T))
        h = last[0] if isinstance(last, tuple) else last  # an LSTM's c is of no use here
        return self.linear(h[0])


class Model(ModelPeer):
    def start(self, layer, weights):
        self.model = Network(layer, weights)
        self.parameters = trained(self.model)
        self.squares = [torch.zeros_like(p) for p in self.parameters]

    def weights(self):
        return self.model.weights()

    def trainers(self):
        return each_number_of_threads(self.train)

    def batch_predictors(self):
        return each_number_of_threads(self.predict)

    def train(self, threads, x, y, shuffle):
        torch.set_num_threads(threads)
        criterion = nn.BCEWithLogitsLoss()
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        total = 0.0
        rows = [torch.from_numpy(batch) for batch in batches(len(x), shuffle)]
        for batch in rows:
            loss = criterion(self.model(x[batch])[:, 0], y[batch])
            loss.backward()
            self.update()
            total += loss.item()
        return total / len(rows)

    @torch.no_grad()
    def update(self):
        """Make a step of RMSprop as Keras defines it; torch.optim adds epsilon after the root."""
        gradients = [p.grad for p in self.parameters]
        torch._foreach_mul_(self.squares, RHO)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - RHO)
        roots = torch._foreach_add(self.squares, EPSILON)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(self.parameters, gradients, roots, -RATE)
        self.model.zero_grad()

    @torch.inference_mode()
    def predict(self, threads, x):
        torch.set_num_threads(threads)
        return torch.sigmoid(self.model(torch.from_numpy(x))).numpy()


class Layer(LayerPeer):
    def start(self, layer, weights, x, dy):
        self.layer, self.rnn = layer, recurrent(layer, *weights)
        self.x, self.dy = (torch.from_numpy(a.swapaxes(0, 1).copy()) for a in (x, dy))
        self.inputs = [self.x.requires_grad_(), *trained(self.rnn)]

    def forwards(self):
        return each_number_of_threads(self.forward)

    def backwards(self):
        return each_number_of_threads(self.backward)

    @torch.inference_mode()
    def forward(self, threads):
        torch.set_num_threads(threads)
        return self.rnn(self.x)[:1]

    def backward(self, threads):
        torch.set_num_threads(threads)
        y, _ = self.rnn(self.x)
        return y, *torch.autograd.grad(y, self.inputs, self.dy)

    def in_keras_layout(self, values):
        values = [value.detach().numpy() for value in values]
        sequences, weights = values[:2], values[2:]
        sequences = [a.swapaxes(0, 1) for a in sequences]
        return [*sequences, *in_keras_layout(self.layer, *weights)] if weights else sequences


if __name__ == "__main__":
    serve({"torch": torch.__version__}, Model, Layer)
