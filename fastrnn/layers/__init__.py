"""Layers, with Keras's names, arguments and defaults."""

from fastrnn.layers.base import Layer
from fastrnn.layers.cells import (
    GRUCell,
    LSTMCell,
    RecurrentCell,
    SimpleRNNCell,
    StackedRNNCells,
)
from fastrnn.layers.core import Activation, Dense, Dropout, Embedding, Masking
from fastrnn.layers.input import Input, InputLayer
from fastrnn.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from fastrnn.layers.serialization import registry
from fastrnn.names import snake_case

__all__ = [
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "GRU",
    "GRUCell",
    "Input",
    "InputLayer",
    "LSTM",
    "LSTMCell",
    "Layer",
    "Masking",
    "RNN",
    "RecurrentCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
]

for _name in __all__:
    if isinstance(_class := globals()[_name], type):
        registry.add(snake_case(_name))(_class)
