"""Compute with PyTorch what the tests expect of its weights here.

    pip install torch
    python tests/exchange/make_torch_values.py

``torch_values.npz``, beside this script, holds for each case ``<case>/x``, ``<case>/y``, the last
states ``<case>/h`` (and ``<case>/c``) and the module's state dict ``<case>/state/<name>``.
"""

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
WIDTH, UNITS = 3, 4

CASES = {
    "rnn": torch.nn.RNN(WIDTH, UNITS),
    "rnn_relu": torch.nn.RNN(WIDTH, UNITS, nonlinearity="relu"),
    "lstm": torch.nn.LSTM(WIDTH, UNITS),
    "lstm_without_bias": torch.nn.LSTM(WIDTH, UNITS, bias=False),
    "gru": torch.nn.GRU(WIDTH, UNITS),
    "gru_bidirectional": torch.nn.GRU(WIDTH, UNITS, bidirectional=True),
    "rnn_stack": torch.nn.RNN(WIDTH, UNITS, num_layers=2),
    "lstm_stack": torch.nn.LSTM(WIDTH, UNITS, num_layers=2, bidirectional=True),
    "gru_stack": torch.nn.GRU(WIDTH, UNITS, num_layers=3),
}


def main():
    arrays = {}
    for number, (name, module) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(number)
        for parameter in module.parameters():  # of a size that makes any mistake visible
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        module.batch_first = True
        x = torch.randn((2, 5, WIDTH), generator=generator)
        with torch.no_grad():
            y, state = module(x)
        h, *c = state if isinstance(state, tuple) else (state,)
        arrays |= {f"{name}/x": x, f"{name}/y": y, f"{name}/h": h}
        arrays |= {f"{name}/c": part for part in c}
        arrays |= {f"{name}/state/{n}": value for n, value in module.state_dict().items()}
    np.savez_compressed(
        HERE / "torch_values.npz", **{n: value.numpy() for n, value in arrays.items()}
    )


if __name__ == "__main__":
    main()
