"""The model in PyTorch: nn.Embedding; nn.RNN, nn.LSTM or nn.GRU; nn.Linear."""

import os
from functools import partial

import numpy as np
import torch
from cells import CELLS, in_order, two_biases
from protocol import Peer, batches, by_batches, serve
from torch import nn

RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7

LAYERS = {"SimpleRNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}

# Gradients that vanish over 500 steps end in denormal numbers, which slow a processor down.
torch.set_flush_denormal(True)


class Model(nn.Module):
    def __init__(self, layer, weights):
        super().__init__()
        table, W, U, b, K, c = weights
        self.cell = CELLS[layer]
        self.embedding = nn.Embedding(*table.shape)
        self.rnn = LAYERS[layer](len(W), len(U))
        self.linear = nn.Linear(*K.shape)
        # PyTorch has two biases: where Keras has one, the second stays zero.
        self.rnn.bias_hh_l0.requires_grad_(self.cell.biases == 2)
        W, U, b = (in_order(w, self.cell.keras, self.cell.torch) for w in (W, U, two_biases(b)))
        values = table, W.T, U.T, *b, K.T, c
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), values, strict=True):
                parameter.copy_(torch.from_numpy(value.copy()))
        self.trained = [p for p in self.parameters() if p.requires_grad]

    def weights(self):
        """Return the weights in the order of `Peer.start`."""
        table, W, U, *b, K, c = (p.detach().numpy() for p in self.trained)
        W, U, b = (in_order(w, self.cell.torch, self.cell.keras) for w in (W.T, U.T, np.array(b)))
        return [table, W, U, b.squeeze(), K.T, c]

    def forward(self, ids):
        _, last = self.rnn(self.embedding(ids.T))  # the steps come first
        h = last[0] if isinstance(last, tuple) else last  # an LSTM's c is of no use here
        return self.linear(h[0])


class Torch(Peer):
    def start(self, layer, weights):
        self.model = Model(layer, weights)
        self.squares = [torch.zeros_like(p) for p in self.model.trained]

    def weights(self):
        return self.model.weights()

    def each_number_of_threads(self, function):
        counts = sorted({1, os.cpu_count()})
        return {f"threads: {count}": partial(function, count) for count in counts}

    def trainers(self):
        return self.each_number_of_threads(self.train)

    def predictors(self):
        ways = self.each_number_of_threads(self.predict).items()
        return {way: by_batches(predict) for way, predict in ways}

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
        parameters = self.model.trained
        gradients = [p.grad for p in parameters]
        torch._foreach_mul_(self.squares, RHO)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - RHO)
        roots = torch._foreach_add(self.squares, EPSILON)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, -RATE)
        self.model.zero_grad()

    @torch.inference_mode()
    def predict(self, threads, x):
        torch.set_num_threads(threads)
        return torch.sigmoid(self.model(torch.from_numpy(x))).numpy()

    def versions(self):
        return {"torch": torch.__version__}


if __name__ == "__main__":
    serve(Torch)
