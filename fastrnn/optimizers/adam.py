"""Adam and what was made of it: momentum, in steps of each weight's own scale."""

from __future__ import annotations

import math

from fastrnn.optimizers.base import Optimizer, registry

__all__ = ["Adam", "AdamW", "Adamax", "Nadam"]


@registry.add("adam")
class Adam(Optimizer):
    """m and v are moving means of g and g^2; w -= lr m' / (sqrt(v') + epsilon).

    The primes stand for the correction of the means' start at zero, which is part of the rate:
    ``lr sqrt(1 - beta_2^t) / (1 - beta_1^t)``.

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1, beta_2 : float, default 0.9, 0.999
    epsilon : float, default 1e-7
    amsgrad : bool, default False
        Divide by the largest v so far.
    options
        See `Optimizer`.
    """

    rule = "adam"
    by_weight = 2

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False,
                 **options):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad

    def slot_names(self):
        return ["momentum", "velocity"] + (["velocity_hat"] if self.amsgrad else [])

    def hyper(self):
        t = self.iterations + 1
        correction = math.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)
        return {
            "learning_rate": self._rate * correction, "beta_1": self.beta_1,
            "beta_2": self.beta_2, "epsilon": self.epsilon, "amsgrad": self.amsgrad,
        }


@registry.add("adamw")
class AdamW(Adam):
    """`Adam` with weight decay.

    Parameters
    ----------
    learning_rate : float, default 0.001
    weight_decay : float, default 0.004
    beta_1, beta_2, epsilon, amsgrad, options
        See `Adam`.
    """

    def __init__(self, learning_rate=0.001, weight_decay=0.004, beta_1=0.9, beta_2=0.999,
                 epsilon=1e-7, amsgrad=False, **options):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options
        )


@registry.add("adamax")
class Adamax(Optimizer):
    """`Adam` with the largest gradient in place of the mean square: u = max(beta_2 u, |g|);
    w -= lr / (1 - beta_1^t) m / (u + epsilon), m a moving mean of g.

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1, beta_2 : float, default 0.9, 0.999
    epsilon : float, default 1e-7
    options
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0, 1.0])
    >>> Adamax(0.1).apply([np.array([5.0, -0.01])], [w])
    >>> w.round(4)
    array([0.9, 1.1])
    """

    rule = "adamax"
    by_weight = 2

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **options):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def slot_names(self):
        return ["momentum", "norm"]

    def hyper(self):
        correction = 1 - self.beta_1 ** (self.iterations + 1)
        return {
            "learning_rate": self._rate / correction, "beta_1": self.beta_1,
            "beta_2": self.beta_2, "epsilon": self.epsilon,
        }


@registry.add("nadam")
class Nadam(Optimizer):
    """`Adam` with Nesterov's look ahead.

    m and v are moving means of g and g^2, u_t = beta_1 (1 - 0.96^t / 2) and U_t = u_1 ... u_t;
    w -= lr (u_{t+1} m / (1 - U_{t+1}) + (1 - u_t) g / (1 - U_t)) /
    (sqrt(v / (1 - beta_2^t)) + epsilon).

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta_1, beta_2 : float, default 0.9, 0.999
    epsilon : float, default 1e-7
    options
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Nadam(0.1).apply([np.array([5.0])], [w])
    >>> w.round(4)
    array([0.8937])
    """

    rule = "nadam"
    by_weight = 2

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, **options):
        super().__init__(learning_rate, **options)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self._product = 0, 1.0  # t and U_t, where the last step left them

    def slot_names(self):
        return ["momentum", "velocity"]

    def _weight(self, t):
        return self.beta_1 * (1 - 0.5 * 0.96**t)

    def _weights(self, t):
        """U_t, the product of the first t weights."""
        done, product = self._product if self._product[0] <= t else (0, 1.0)
        for i in range(done + 1, t + 1):
            product *= self._weight(i)
        self._product = t, product
        return product

    def derived(self):
        return {"u_product": self._weights(self.iterations)}

    def hyper(self):
        t = self.iterations + 1
        product, ahead = self._weights(t), self._weight(t + 1)
        return {
            "learning_rate": self._rate, "beta_1": self.beta_1, "beta_2": self.beta_2,
            "epsilon": self.epsilon, "ahead": ahead / (1 - product * ahead),
            "now": (1 - self._weight(t)) / (1 - product), "correction": 1 - self.beta_2**t,
        }
