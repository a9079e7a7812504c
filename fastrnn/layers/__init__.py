"""Layers, with Keras's names, arguments and defaults."""

from fastrnn.layers import composite  # noqa: F401 - what runs a class with a `call`
from fastrnn.layers.attention import AdditiveAttention, Attention
from fastrnn.layers.base import Layer
from fastrnn.layers.cells import (
    CellStep,
    GRUCell,
    LSTMCell,
    RecurrentCell,
    SimpleRNNCell,
    StackedRNNCells,
)
from fastrnn.layers.core import (
    Activation,
    ActivityRegularization,
    Dense,
    Dropout,
    Embedding,
    GaussianDropout,
    GaussianNoise,
    Identity,
    Masking,
    SpatialDropout1D,
)
from fastrnn.layers.functions import (
    ELU,
    Lambda,
    LeakyReLU,
    PReLU,
    ReLU,
    Rescaling,
    Softmax,
    UnitNormalization,
)
from fastrnn.layers.input import Input, InputLayer
from fastrnn.layers.lookups import IntegerLookup, StringLookup
from fastrnn.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fastrnn.layers.normalization import BatchNormalization, LayerNormalization
from fastrnn.layers.operations import Operation
from fastrnn.layers.operators import Arithmetic, GetItem
from fastrnn.layers.pooling import (
    GlobalAveragePooling1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    GlobalMaxPooling1D,
)
from fastrnn.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from fastrnn.layers.serialization import deserialize, registry, serialize
from fastrnn.layers.shaping import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from fastrnn.layers.tokens import TokenDropout
from fastrnn.layers.vectorization import TextVectorization
from fastrnn.layers.wrappers import Bidirectional, TimeDistributed
from fastrnn.names import snake_case

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "Arithmetic",
    "Attention",
    "Average",
    "BatchNormalization",
    "Bidirectional",
    "CellStep",
    "Concatenate",
    "Cropping1D",
    "Dense",
    "Dot",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GRU",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GetItem",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Identity",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "Operation",
    "PReLU",
    "Permute",
    "RNN",
    "ReLU",
    "RecurrentCell",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "TimeDistributed",
    "TokenDropout",
    "UnitNormalization",
    "UpSampling1D",
    "ZeroPadding1D",
    "add",
    "average",
    "concatenate",
    "deserialize",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "serialize",
    "subtract",
]

for _name in __all__:
    if isinstance(_class := globals()[_name], type):
        registry.add(snake_case(_name))(_class)
