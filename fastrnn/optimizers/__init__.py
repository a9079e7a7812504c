"""Optimizers: from gradients to the next weights.

A model's trainable weights lie in one buffer (`fastrnn.parameters.ParameterStore`), their gradients
and an optimizer's slots in others of the same layout, so a step is one pass of the engine over all.
Its order is Keras's: clip, decoupled weight decay, update, moving average, constraints.

The rules of SGD, RMSprop, Adam and AdamW are kernels; the others are formulas in NumPy on every
engine (`UPDATES` in ``engines/reference.py``).
"""

from fastrnn.optimizers import schedules
from fastrnn.optimizers.adam import Adam, Adamax, AdamW, Nadam
from fastrnn.optimizers.adaptive import Adadelta, Adagrad, Ftrl, RMSprop
from fastrnn.optimizers.base import Optimizer, registry
from fastrnn.optimizers.sgd import SGD, Lion

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "Optimizer",
    "RMSprop", "deserialize", "get", "schedules", "serialize",
]

get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize
