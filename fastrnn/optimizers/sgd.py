"""Steps along the gradient, or along its signs, with momentum."""

from __future__ import annotations

from fastrnn.optimizers.base import Optimizer, registry

__all__ = ["Lion", "SGD"]


@registry.add("sgd")
class SGD(Optimizer):
    """Gradient descent: m = mu m - lr g; w += m, or with Nesterov's look ahead w += mu m - lr g.

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float in [0, 1], default 0
    nesterov : bool, default False
    options
        See `Optimizer`.
    """

    rule = "sgd"

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, **options):
        super().__init__(learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD: momentum must lie in [0, 1]; got {momentum!r}.")
        self.momentum = momentum
        self.nesterov = nesterov

    def slot_names(self):
        return ["momentum"] if self.momentum else []

    def hyper(self):
        return {
            "learning_rate": self._rate, "momentum": self.momentum,
            "nesterov": self.nesterov,
        }


@registry.add("lion")
class Lion(Optimizer):
    """Steps of one size: w -= lr sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g.

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1 : float in (0, 1], default 0.9
    beta_2 : float, default 0.99
    options
        See `Optimizer`.

    Raises
    ------
    ValueError
        For a beta_1 out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0, 1.0])
    >>> Lion(0.1).apply([np.array([5.0, -0.01])], [w])
    >>> w
    array([0.9, 1.1])
    """

    rule = "lion"

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.99, **options):
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            raise ValueError(f"Lion: beta_1 must lie in (0, 1]; got {beta_1!r}.")
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def slot_names(self):
        return ["momentum"]

    def hyper(self):
        return {
            "learning_rate": self._rate, "beta_1": self.beta_1, "beta_2": self.beta_2,
        }
