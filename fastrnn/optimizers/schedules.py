"""Learning-rate schedules: the rate as a function of the number of steps taken.

Any optimizer takes one as its ``learning_rate``:

>>> from fastrnn.optimizers import SGD
>>> optimizer = SGD(ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5))
>>> optimizer.learning_rate
0.1

Rates are computed in double precision, from the whole number of steps: a long training does not
drift, and one that is taken up again goes on as it would have.
"""

from __future__ import annotations

import math

from fastrnn.registry import Configurable, Registry

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]

_registry = Registry("learning-rate schedule", "keras.optimizers.schedules")
serialize, deserialize = _registry.serialize, _registry.deserialize


class LearningRateSchedule(Configurable):
    """What every schedule has: ``schedule(step)`` is the rate of the step of that number.

    One of one's own derives from this class and writes ``__call__``; arguments that are kept as
    attributes of the same names make up its config.

    Examples
    --------
    >>> class Halving(LearningRateSchedule):
    ...     def __init__(self, rate):
    ...         self.rate = rate
    ...
    ...     def __call__(self, step):
    ...         return self.rate / 2**step
    >>> Halving(1.0)(3), Halving(1.0).get_config()
    (0.125, {'rate': 1.0})
    """

    def __call__(self, step):
        """The learning rate, a float, after ``step`` steps."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step).")

    def _positive(self, argument):
        value = getattr(self, argument)
        if not value > 0:
            raise ValueError(f"{type(self).__name__}: {argument} must be above 0; got {value!r}.")


@_registry.add("ExponentialDecay")
class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool, default False
        Count whole ``decay_steps`` only.
    name : str

    Examples
    --------
    >>> [ExponentialDecay(0.8, 10, 0.25)(step) for step in (0, 5, 10)]
    [0.8, 0.4, 0.2]
    """

    def __init__(self, initial_learning_rate, decay_steps, decay_rate, staircase=False,
                 name="ExponentialDecay"):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name
        self._positive("decay_steps")

    def __call__(self, step):
        return self.initial_learning_rate * self.decay_rate ** _periods(self, step)


@_registry.add("InverseTimeDecay")
class InverseTimeDecay(LearningRateSchedule):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    decay_rate : float
    staircase : bool, default False
        Count whole ``decay_steps`` only.
    name : str

    Examples
    --------
    >>> [InverseTimeDecay(0.5, 10, 1.0, staircase=True)(step) for step in (0, 9, 10)]
    [0.5, 0.5, 0.25]
    """

    def __init__(self, initial_learning_rate, decay_steps, decay_rate, staircase=False,
                 name="InverseTimeDecay"):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name
        self._positive("decay_steps")

    def __call__(self, step):
        return self.initial_learning_rate / (1 + self.decay_rate * _periods(self, step))


def _periods(schedule, step):
    """How many times ``decay_steps`` steps there have been."""
    periods = step / schedule.decay_steps
    return math.floor(periods) if schedule.staircase else periods


@_registry.add("PiecewiseConstantDecay")
class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and with step ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : list of int
        Ascending.
    values : list of float
        One more than there are boundaries.
    name : str

    Examples
    --------
    >>> schedule = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> [schedule(step) for step in (10, 11, 20, 21)]
    [1.0, 0.5, 0.5, 0.1]
    """

    def __init__(self, boundaries, values, name="PiecewiseConstant"):
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay: expected one more value than boundaries; got "
                f"{len(boundaries)} boundaries and {len(values)} values."
            )
        if any(b <= a for a, b in zip(boundaries, boundaries[1:], strict=False)):
            raise ValueError(
                f"PiecewiseConstantDecay: expected boundaries in ascending order; got {boundaries}."
            )
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step):
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@_registry.add("PolynomialDecay")
class PolynomialDecay(LearningRateSchedule):
    """From one rate to another: ``(initial - end) * (1 - step / decay_steps) ** power + end``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
    end_learning_rate : float, default 0.0001
        The rate from ``decay_steps`` on.
    power : float, default 1
    cycle : bool, default False
        Stretch ``decay_steps`` to the next of its multiples each time the steps pass it: the rate
        rises again, each time less.
    name : str

    Examples
    --------
    >>> [PolynomialDecay(1.0, 10, 0.5)(step) for step in (0, 5, 10, 99)]
    [1.0, 0.75, 0.5, 0.5]
    """

    def __init__(self, initial_learning_rate, decay_steps, end_learning_rate=0.0001, power=1.0,
                 cycle=False, name="PolynomialDecay"):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name
        self._positive("decay_steps")

    def __call__(self, step):
        steps = self.decay_steps
        if self.cycle:
            steps *= max(1, math.ceil(step / steps))
        left = 1 - min(step, steps) / steps
        end = self.end_learning_rate
        return (self.initial_learning_rate - end) * left**self.power + end


@_registry.add("CosineDecay")
class CosineDecay(LearningRateSchedule):
    """Half a cosine wave down from the rate, after a straight line up to it if that is wanted.

    Loshchilov and Hutter, 2017; the way up ("warmup"): Goyal et al., 2017.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        How long the way down is.
    alpha : float, default 0
        Where it ends, as a fraction of where it begins.
    name : str
    warmup_target : float, optional
        Climb to this rate first.
    warmup_steps : int, default 0
        How long the way up is.

    Examples
    --------
    >>> schedule = CosineDecay(0.0, 100, warmup_target=1.0, warmup_steps=10)
    >>> [round(schedule(step), 3) for step in (0, 5, 10, 60, 110)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(self, initial_learning_rate, decay_steps, alpha=0.0, name="CosineDecay",
                 warmup_target=None, warmup_steps=0):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps
        self._positive("decay_steps")

    def __call__(self, step):
        start = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return start + (self.warmup_target - start) * step / self.warmup_steps
            start, step = self.warmup_target, step - self.warmup_steps
        wave = _half_wave(min(step, self.decay_steps) / self.decay_steps)
        return start * ((1 - self.alpha) * wave + self.alpha)


@_registry.add("CosineDecayRestarts")
class CosineDecayRestarts(LearningRateSchedule):
    """Half a cosine wave down, again and again (Loshchilov and Hutter, 2017).

    Parameters
    ----------
    initial_learning_rate : float
    first_decay_steps : int
        How long the first way down is.
    t_mul : float from 1 on, default 2
        So many times longer is each than the one before.
    m_mul : float, default 1
        So many times higher does it begin.
    alpha : float, default 0
        Where each ends, as a fraction of the initial rate.
    name : str

    Examples
    --------
    >>> schedule = CosineDecayRestarts(1.0, 10, m_mul=0.5)
    >>> [round(schedule(step), 3) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(self, initial_learning_rate, first_decay_steps, t_mul=2.0, m_mul=1.0, alpha=0.0,
                 name="SGDRDecay"):
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name
        self._positive("first_decay_steps")
        if t_mul < 1:
            raise ValueError(f"CosineDecayRestarts: t_mul must be from 1 on; got {t_mul!r}.")

    def __call__(self, step):
        restarts, done = 0, step / self.first_decay_steps
        if self.t_mul == 1:
            restarts, done = divmod(done, 1)
        else:
            while done >= 1:  # in periods, each t_mul times as long as the one before
                done = (done - 1) / self.t_mul
                restarts += 1
        wave = self.m_mul**restarts * _half_wave(done)
        return self.initial_learning_rate * ((1 - self.alpha) * wave + self.alpha)


def _half_wave(done):
    """From 1 at 0 down to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * done))
