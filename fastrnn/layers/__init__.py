"""Layers, with Keras's names, arguments and defaults."""

from fastrnn.layers.base import Layer
from fastrnn.layers.core import Activation, Dense, Dropout, Embedding, Masking
from fastrnn.layers.input import Input, InputLayer
from fastrnn.layers.recurrent import SimpleRNN

__all__ = [
    "Activation",
    "Dense",
    "Dropout",
    "Embedding",
    "Input",
    "InputLayer",
    "Layer",
    "Masking",
    "SimpleRNN",
]
