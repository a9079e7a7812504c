"""The training loop: epoch -> batch -> step -> update.

`Trainer` is the half of a model that trains; the other half (`fastrnn.models`) says how its layers
are put together.  A step runs forward to the loss, backward into the gradients, and lets the
optimizer change the weights in place.  All checks of data are made before the first step, and an
update is never left half done, so whatever goes wrong, the weights are good ones.
"""

from fastrnn.training.trainer import Trainer

__all__ = ["Trainer"]
