"""Steps that each weight's own gradients scale: the more of them, the smaller."""

from __future__ import annotations

from fastrnn.optimizers.base import Optimizer, registry

__all__ = ["Adadelta", "Adagrad", "Ftrl", "RMSprop"]


@registry.add("rmsprop")
class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2; w -= lr g / sqrt(v + epsilon).

    Parameters
    ----------
    learning_rate : float, default 0.001
    rho : float, default 0.9
    momentum : float, default 0
        Of the increments, learning rate included.
    epsilon : float, default 1e-7
    centered : bool, default False
        Take the square of the mean gradient off v.
    options
        See `Optimizer`.
    """

    rule = "rmsprop"

    def __init__(self, learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False,
                 **options):
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def slot_names(self):
        names = ["velocity"]
        names += ["momentum"] if self.momentum else []
        return names + (["average_gradient"] if self.centered else [])

    def hyper(self):
        return {
            "learning_rate": self._rate, "rho": self.rho, "momentum": self.momentum,
            "epsilon": self.epsilon, "centered": self.centered,
        }


@registry.add("adagrad")
class Adagrad(Optimizer):
    """s += g^2; w -= lr g / sqrt(s + epsilon): each weight's rate falls with what it has moved.

    Parameters
    ----------
    learning_rate : float, default 0.001
    initial_accumulator_value : float, default 0.1
        What s starts from.
    epsilon : float, default 1e-7
    options
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Adagrad(0.1, initial_accumulator_value=0.0).apply([np.array([5.0])], [w])
    >>> w.round(6)
    array([0.9])
    """

    rule = "adagrad"

    def __init__(self, learning_rate=0.001, initial_accumulator_value=0.1, epsilon=1e-7,
                 **options):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def slot_names(self):
        return ["accumulator"]

    def slot_starts(self):
        return {"accumulator": self.initial_accumulator_value}

    def hyper(self):
        return {"learning_rate": self._rate, "epsilon": self.epsilon}


@registry.add("adadelta")
class Adadelta(Optimizer):
    """Steps as large as those before: d = g sqrt(u + epsilon) / sqrt(s + epsilon); w -= lr d.

    s and u are moving means of g^2 and d^2: s = rho s + (1 - rho) g^2.

    Parameters
    ----------
    learning_rate : float, default 0.001
        1 is what its inventor wrote.
    rho : float, default 0.95
    epsilon : float, default 1e-7
    options
        See `Optimizer`.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0])
    >>> Adadelta(1.0, epsilon=0.05).apply([np.array([1.0])], [w])
    >>> w.round(4)
    array([0.2929])
    """

    rule = "adadelta"
    by_weight = 2

    def __init__(self, learning_rate=0.001, rho=0.95, epsilon=1e-7, **options):
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.epsilon = epsilon

    def slot_names(self):
        return ["accumulated_grad", "accumulated_delta_var"]

    def hyper(self):
        return {"learning_rate": self._rate, "rho": self.rho, "epsilon": self.epsilon}


@registry.add("ftrl")
class Ftrl(Optimizer):
    """Follow the regularized leader: weights that rarely matter become zero.

    n' = n + g^2; z += g + 2 s w - (n'^-p - n^-p) w / lr; n = n';
    w = (clip(z, -l1, l1) - z) / ((n^-p + beta) / lr + 2 l2), s the shrinkage.

    Parameters
    ----------
    learning_rate : float, default 0.001
    learning_rate_power : float up to 0, default -0.5
        p: how the rate falls; 0 for one that does not.
    initial_accumulator_value : float from 0 on, default 0.1
        What n starts from.
    l1_regularization_strength, l2_regularization_strength : float from 0 on, default 0
    l2_shrinkage_regularization_strength : float from 0 on, default 0
        A penalty on the size of weights that does not depend on n.
    beta : float, default 0
    options
        See `Optimizer`.

    Raises
    ------
    ValueError
        For a number out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([1.0, 1.0])
    >>> Ftrl(0.1, l1_regularization_strength=5.0).apply([np.array([5.0, 0.1])], [w])
    >>> w.round(4)
    array([0.7373, 0.    ])
    """

    rule = "ftrl"
    by_weight = 2

    def __init__(self, learning_rate=0.001, learning_rate_power=-0.5,
                 initial_accumulator_value=0.1, l1_regularization_strength=0.0,
                 l2_regularization_strength=0.0, l2_shrinkage_regularization_strength=0.0,
                 beta=0.0, **options):
        super().__init__(learning_rate, **options)
        _from_zero("initial_accumulator_value", initial_accumulator_value)
        _from_zero("l1_regularization_strength", l1_regularization_strength)
        _from_zero("l2_regularization_strength", l2_regularization_strength)
        _from_zero("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength)
        if learning_rate_power > 0:
            raise ValueError(
                f"Ftrl: learning_rate_power must be 0 or less; got {learning_rate_power!r}."
            )
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta

    def slot_names(self):
        return ["accumulator", "linear"]

    def slot_starts(self):
        return {"accumulator": self.initial_accumulator_value}

    def hyper(self):
        return {
            "learning_rate": self._rate, "power": self.learning_rate_power,
            "l1": self.l1_regularization_strength, "l2": self.l2_regularization_strength,
            "shrinkage": self.l2_shrinkage_regularization_strength, "beta": self.beta,
        }


def _from_zero(argument, value):
    if value < 0:
        raise ValueError(f"Ftrl: {argument} must be 0 or more; got {value!r}.")
