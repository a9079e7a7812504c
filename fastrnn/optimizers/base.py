"""What all optimizers share: settings, the order of a step, variables given by hand, state."""

from __future__ import annotations

import inspect
import math
import re
import warnings

import numpy as np

from fastrnn import engines
from fastrnn.names import nearest, snake_case
from fastrnn.optimizers import schedules
from fastrnn.optimizers.variables import LearningRate, OptimizerVariable
from fastrnn.parameters import Parameter, ParameterStore
from fastrnn.registry import Configurable, Registry

__all__ = ["Optimizer", "registry"]

registry = Registry("optimizer", "keras.optimizers")

EVERYTHING = [slice(None)]


class Optimizer(Configurable):
    """What every optimizer has.

    Parameters
    ----------
    learning_rate : float, `schedules.LearningRateSchedule` or callable
        A schedule is given the number of steps taken so far, and so is a function of one argument.
    weight_decay : float, optional
        Every step first takes ``learning_rate * weight_decay`` of each weight away.
    clipnorm, clipvalue, global_clipnorm : float, optional
        The most that the norm of one weight's gradient may be, or one entry, or the norm of all
        gradients together.  One of them at most.
    use_ema : bool, default False
        Keep a moving average of the weights, and take it over at the end of ``fit``.
    ema_momentum : float in [0, 1], default 0.99
    ema_overwrite_frequency : int, optional
        Take the average over every so many steps, too.
    loss_scale_factor : float, optional
        `apply` divides gradients by it.  ``fit`` takes it for granted: it would multiply first.
    gradient_accumulation_steps : int, optional
        Update only every so many steps, with the mean of their gradients.
    name : str, optional

    Raises
    ------
    ValueError
        For a value that cannot be, or two kinds of clipping.
    """

    rule = None  # the engine's name for the update
    by_weight = 1  # so many slots, the first, Keras's files have weight by weight

    def __init_subclass__(cls):
        # What stands behind ``**options`` is shown by help() as if it were written out.
        own = [p for p in inspect.signature(cls.__init__).parameters.values() if p.name != "self"]
        if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD:
            shown = {p.name: p for p in own[:-1]}
            cls.__signature__ = inspect.Signature(
                [*shown.values(), *(p for p in OPTIONS if p.name not in shown)]
            )

    def __init__(self, learning_rate, weight_decay=None, clipnorm=None, clipvalue=None,
                 global_clipnorm=None, use_ema=False, ema_momentum=0.99,
                 ema_overwrite_frequency=None, loss_scale_factor=None,
                 gradient_accumulation_steps=None, name=None, **unknown):
        kind = type(self).__name__
        if unknown.pop("decay", None) is not None:
            warnings.warn(
                f"{kind}: decay changes nothing, as in Keras 3; for a learning rate that falls "
                "give a schedule, such as schedules.InverseTimeDecay.", stacklevel=3,
            )
        if unknown:
            argument = next(iter(unknown))
            known = [*inspect.signature(type(self)).parameters]
            hint = " Write learning_rate." if argument == "lr" else nearest(argument, known)
            raise TypeError(f"{kind}: there is no argument {argument!r}.{hint}")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [f"{k}={v}" for k, v in clips.items() if v is not None]
        if len(given) > 1:
            raise ValueError(f"{kind}: expected one kind of clipping; got {', '.join(given)}.")
        if not 0 <= ema_momentum <= 1:
            raise ValueError(f"{kind}: ema_momentum must lie in [0, 1]; got {ema_momentum!r}.")
        _count(kind, "ema_overwrite_frequency", ema_overwrite_frequency, 1)
        _count(kind, "gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self.name = name or snake_case(kind)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.steps = 0
        self.store = None
        self.slots = {}
        self._variables = []  # what the store's parameters stand for: themselves, or arrays
        self._saved_slots = None
        self._not_decayed = [], None

    # -- to be written by each optimizer ---------------------------------------------------------

    def slot_names(self):
        """The names of the arrays that the rule keeps beside the weights."""
        return []

    def slot_starts(self):
        """What slots start from, by name; those that are not named, from zero."""
        return {}

    def hyper(self):
        """The numbers of the rule for this step, as `Engine.update` takes them."""
        raise self.missing("hyper(self)", "gives the numbers of its rule for a step, a dict")

    def derived(self):
        """Numbers that Keras keeps beside the slots, by name, and that follow from the steps."""
        return {}

    # -- settings --------------------------------------------------------------------------------

    @property
    def learning_rate(self):
        """The learning rate now, a float; may be set at any time, unless it is a schedule.

        ``optimizer.learning_rate.assign(value)`` sets it too.
        """
        return LearningRate(self._rate, self)

    @learning_rate.setter
    def learning_rate(self, value):
        if isinstance(value, dict):
            value = schedules.deserialize(value)
        if callable(value):
            self._rate_takes_steps = _takes_an_argument(value)
        else:
            before = getattr(self, "_learning_rate", None)
            if isinstance(before, schedules.LearningRateSchedule):
                raise TypeError(
                    f"{type(self).__name__}: the learning rate is that of a schedule, {before!r}, "
                    "and cannot be set to a number; give the optimizer a float learning_rate to "
                    "change it while training."
                )
            try:
                value = float(value)
            except (TypeError, ValueError):
                value = math.nan
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"{type(self).__name__}: learning_rate must be a number from 0 on, or a "
                    f"function of the number of steps."
                )
        self._learning_rate = value

    @property
    def _rate(self):
        """The learning rate as a plain float, which kernels take."""
        rate = self._learning_rate
        if callable(rate):
            rate = rate(self.steps) if self._rate_takes_steps else rate()
        return float(rate)

    @property
    def iterations(self):
        """How many updates there have been."""
        return self.steps // (self.gradient_accumulation_steps or 1)

    @property
    def variables(self):
        """Copies of what the next step depends on, a list; see `state`."""
        return [OptimizerVariable(path, value) for path, value in self.state().items()]

    def get_config(self):
        rate = self._learning_rate
        rate = schedules.serialize(rate) if callable(rate) else rate
        return super().get_config() | {"learning_rate": rate}

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Leave some weights out of the weight decay.

        Parameters
        ----------
        var_list : list of weights, optional
        var_names : list of str, optional
            Weights whose name holds one of these, such as ``["bias"]``.
        """
        if self.store is not None:
            raise ValueError("exclude_from_weight_decay: call it before the first step.")
        pattern = re.compile("|".join(var_names)) if var_names else None
        self._not_decayed = list(var_list or ()), pattern

    def _decays(self, i):
        """Whether weight decay acts on the parameter of that number."""
        variables, pattern = self._not_decayed
        if any(v is self._variables[i] for v in variables):
            return False
        return not (pattern and pattern.search(self.store.parameters[i].path))

    # -- what is trained -------------------------------------------------------------------------

    def bind(self, store):
        """Train the parameters of this store from now on.

        Slots are kept for parameters that were in the store before.

        Raises
        ------
        ValueError
            If the optimizer has trained others.
        """
        self._take(store, store.parameters)

    def build(self, variables):
        """Train these arrays or weights from now on: those given to `apply`."""
        self._take(ParameterStore([_copy(i, v) for i, v in enumerate(variables)]), list(variables))

    def _take(self, store, variables):
        before = {id(v): i for i, v in enumerate(self._variables)}
        kept = [before.get(id(v)) for v in variables]
        if before and None in kept:
            raise ValueError(
                f"Optimizer '{self.name}' has trained other weights than these: give new weights "
                "(or weights that were frozen) a new optimizer, with compile()."
            )
        engine, old, old_slots = engines.current(), self.store, self.slots
        names = list(self.slot_names())
        names += ["average"] * self.use_ema
        names += ["gradient_accumulator"] * bool(self.gradient_accumulation_steps)
        self.slots = {n: engine.zeros(store.value.shape, store.value.dtype) for n in names}
        for name, start in self.slot_starts().items():
            self.slots[name][...] = start
        self.store, self._variables = store, variables
        self._rule_slots = {n: self.slots[n] for n in self.slot_names()}
        if before:
            for name, slot in self.slots.items():
                for where, i in zip(store.slices, kept, strict=True):
                    slot[where] = old_slots[name][old.slices[i]]
        if self._saved_slots is not None:
            slots, self._saved_slots = self._saved_slots, None
            self._load_slots(slots)

    # -- steps -----------------------------------------------------------------------------------

    def apply(self, grads, trainable_variables=None):
        """One step for a list of arrays, which are changed in place.

        Parameters
        ----------
        grads : list of arrays, or None where there is no gradient
        trainable_variables : list of float arrays or weights, optional
            Default: those of `build` or of the call before.

        Raises
        ------
        ValueError
            If the two do not match, or the variables are not those of the step before.

        Examples
        --------
        >>> from fastrnn.optimizers import SGD
        >>> w = np.array([1.0, 2.0])
        >>> SGD(learning_rate=0.5).apply([np.array([1.0, 1.0])], [w])
        >>> w
        array([0.5, 1.5])
        """
        if trainable_variables is None:
            if self.store is None:
                raise ValueError(f"Optimizer '{self.name}': apply needs the variables at first.")
            trainable_variables = self._variables
        variables, grads = list(trainable_variables), list(grads)
        if len(grads) != len(variables):
            raise ValueError(
                f"Optimizer '{self.name}': expected a gradient for each of {len(variables)} "
                f"variables; got {len(grads)}."
            )
        if all(g is None for g in grads):
            raise ValueError(f"Optimizer '{self.name}': no gradient for any variable.")
        if self.store is None:
            self.build(variables)
        places = {id(v): i for i, v in enumerate(self._variables)}
        if any(id(v) not in places for v in variables):
            raise ValueError(
                f"Optimizer '{self.name}' has trained other variables than these; make a new one "
                "for new variables."
            )
        pairs = [(places[id(v)], v, g) for v, g in zip(variables, grads, strict=True)]
        for i, variable, gradient in pairs:
            self._load(self.store.parameters[i], variable, gradient)
        present = [i for i, _, g in pairs if g is not None]
        if len(present) < len(self._variables):
            warnings.warn(
                f"Optimizer '{self.name}': no gradient for {len(self._variables) - len(present)} "
                "of its variables; they stay as they are.", stacklevel=2,
            )
        self.step(sorted(present))
        for i, variable, _ in pairs:
            self._store_back(self.store.parameters[i], variable)

    def _load(self, parameter, variable, gradient):
        if parameter is not variable:
            parameter.assign(variable)
        if gradient is None:
            return
        gradient = np.asarray(gradient)
        if gradient.shape != parameter.shape:
            raise ValueError(
                f"Optimizer '{self.name}': expected a gradient of shape {parameter.shape}; "
                f"got shape {gradient.shape}."
            )
        parameter.grad[...] = gradient / (self.loss_scale_factor or 1)

    def _store_back(self, parameter, variable):
        if isinstance(variable, np.ndarray):
            variable[...] = parameter.value
        elif variable is not parameter:
            variable.assign(parameter.value)

    def apply_gradients(self, grads_and_vars):
        """`apply` for pairs of gradient and variable."""
        grads, variables = zip(*grads_and_vars, strict=True)
        self.apply(grads, variables)
        return self.steps

    def step(self, present=None):
        """One step from the gradients in the store.

        Parameters
        ----------
        present : list of int, optional
            The numbers of the parameters that have a gradient; default: all.  The others, and
            their slots, stay as they are.
        """
        everything = present is None or len(present) == len(self.store.slices)
        present = range(len(self.store.slices)) if everything else present
        where = EVERYTHING if everything else [self.store.slices[i] for i in present]
        if self._gathered(where):
            if self.clipnorm or self.clipvalue or self.global_clipnorm:
                self._clip(where, present)
            if self.weight_decay:
                self._decay(present)
            self._update(where)
            self.store.clean = everything
        if self.use_ema:
            self._average()
        for i in present:
            parameter = self.store.parameters[i]
            if parameter.constraint is not None:
                parameter.value[...] = parameter.constraint(parameter.value)
        self.steps += 1

    def _update(self, where):
        engine, store, hyper = engines.current(), self.store, self.hyper()
        if where is EVERYTHING:
            table = store.take_table()
            engine.update(self.rule, store.value, store.grad, self._rule_slots, table, **hyper)
            return
        for part in where:
            slots = {name: slot[part] for name, slot in self._rule_slots.items()}
            engine.update(self.rule, store.value[part], store.grad[part], slots, **hyper)

    def _gathered(self, where):
        """Whether this step updates, the gradients then being the mean since the last update."""
        every = self.gradient_accumulation_steps
        if not every:
            return True
        grad, gathered = self.store.grad, self.slots["gradient_accumulator"]
        for part in where:
            gathered[part] += grad[part]
        if (self.steps + 1) % every:
            return False
        np.multiply(gathered, 1 / every, out=grad)
        gathered[...] = 0
        return True

    def _clip(self, where, present):
        engine, grad = engines.current(), self.store.grad
        if self.clipvalue:
            np.clip(grad, -self.clipvalue, self.clipvalue, out=grad)
        elif self.clipnorm:
            for i in present:
                engine.limit_norm(grad[self.store.slices[i]], EVERYTHING, self.clipnorm)
        else:
            # An infinite norm has no direction: the gradients become NaN, and show it.
            engine.limit_norm(grad, where, self.global_clipnorm, needs_direction=True)

    def _decay(self, present):
        keep = 1 - self._rate * self.weight_decay
        for i in present:
            if self._decays(i):
                self.store.value[self.store.slices[i]] *= keep

    def _average(self):
        # The first step starts from the weights, not from zero.
        momentum = self.ema_momentum if self.iterations else 0.0
        average, value = self.slots["average"], self.store.value
        average *= momentum
        average += (1 - momentum) * value
        every = self.ema_overwrite_frequency
        if every and (self.iterations + 1) % every == 0:
            value[...] = average

    def finalize_variable_values(self, trainable_variables=None):
        """Take over the moving average of the weights, if there is one: the end of training."""
        if not self.use_ema or self.store is None or not self.steps:
            return
        self.store.value[...] = self.slots["average"]
        for parameter, variable in zip(self.store.parameters, self._variables, strict=True):
            self._store_back(parameter, variable)

    # -- state -----------------------------------------------------------------------------------

    def state(self):
        """All that the next step depends on beside the weights, as a dict of new arrays.

        ``"iteration"`` and ``"learning_rate"`` (where it is a number), then ``"<slot>/<number>"``
        for each slot and weight.
        """
        state = {"iteration": np.array(self.steps, np.int64)}
        if not callable(self._learning_rate):
            state["learning_rate"] = np.array(self._learning_rate, np.float64)
        for name, slot in self.slots.items():
            for i, (where, p) in enumerate(
                zip(self.store.slices, self.store.parameters, strict=True)
            ):
                state[f"{name}/{i}"] = np.array(slot[where]).reshape(p.shape)
        return state | (self._saved_slots or {})

    def load_state(self, state):
        """Go on from a dict that `state` made.

        Before the weights are known the slots are kept until they are.

        Raises
        ------
        ValueError
            If it is that of other weights, or of an optimizer with other slots; nothing is
            changed then.
        """
        slots = {n: a for n, a in state.items() if n not in ("iteration", "learning_rate")}
        if self.store is None:
            self._saved_slots = slots
        else:
            self._load_slots(slots)
        self.steps = int(state.get("iteration", self.steps))
        if "learning_rate" in state:
            self.learning_rate = float(state["learning_rate"])

    def _load_slots(self, slots):
        expected = {
            f"{name}/{i}": p.shape
            for name in self.slots for i, p in enumerate(self.store.parameters)
        }
        given = {name: np.shape(a) for name, a in slots.items()}
        if given and given != expected:
            raise ValueError(
                f"Optimizer '{self.name}': the state is that of other weights: expected "
                f"{expected}; got {given}."
            )
        for name, array in slots.items():
            slot, i = name.rsplit("/", 1)
            self.slots[slot][self.store.slices[int(i)]] = np.asarray(array).reshape(-1)


def _count(kind, argument, value, least):
    if value is not None and (not isinstance(value, int) or value < least):
        raise ValueError(
            f"{kind}: {argument} must be a whole number from {least} on, or None; got {value!r}."
        )


def _takes_an_argument(function):
    """Whether a function must be given something."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    return False


def _copy(i, variable):
    """A parameter with a copy of an array's (or a weight's) values."""
    constraint, path = getattr(variable, "constraint", None), getattr(variable, "path", str(i))
    value = np.asarray(variable)
    if value.dtype.kind != "f":
        raise TypeError(
            f"optimizer: expected variables to be arrays of floats; got dtype {value.dtype}."
        )
    return Parameter(path, np.array(value), constraint=constraint)


OPTIONS = [
    p for p in inspect.signature(Optimizer).parameters.values()
    if p.kind is not inspect.Parameter.VAR_KEYWORD
]
