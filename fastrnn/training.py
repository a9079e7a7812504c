"""The training loop: epoch -> batch -> step -> update.

`Trainer` is the half of a model that trains; the other half (`fastrnn.models`) says how its layers
are put together.  A step runs forward to the loss, backward into the gradients, and lets the
optimizer change the weights in place.  All checks of data are made before the first step, and an
update is never left half done, so whatever goes wrong, the weights are good ones.

Letters: N rows in all, B rows in a batch, T steps, C columns of the output.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import warnings
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines, losses, metrics, optimizers, random
from fastrnn.adapters import (
    ArrayRows,
    Data,
    JointRows,
    Outputs,
    RaggedRows,
    batches_of,
    entries,
    filled_up,
    is_ragged,
    rows_of,
    split,
    weights_of_classes,
)
from fastrnn.callbacks import CallbackList, History
from fastrnn.checks import check_finite, numbers, row_count, shown, whole
from fastrnn.graph import flatten, is_symbolic
from fastrnn.interrupts import Shield
from fastrnn.layers.operators import GetItem
from fastrnn.layers.recurrent import RNN
from fastrnn.masks import StepMask
from fastrnn.names import unused
from fastrnn.parameters import ParameterStore
from fastrnn.progress import Progress, level
from fastrnn.registry import with_own
from fastrnn.sources import JoinedOutputs, Source, Streamed, is_source
from fastrnn.truncation import Truncation

__all__ = ["Trainer"]

BATCH_SIZE = 32
# Numbers in the outputs that may wait for their scores; and of an engine that runs ahead.
MOST_WAITING, MOST_AHEAD = 1 << 12, 1 << 22


class Sums(NamedTuple):
    """What `Scores` needs of the outputs of a batch."""

    rows: int
    metrics: Any  # for each output, what each metric adds: `metrics.Mean.sums`
    size: int  # numbers that wait besides: the losses of rows and steps


class Head:
    """One output in training: what is made small of it, and what is reported.

    Parameters
    ----------
    name : str or None
        None for the only output of a model: what is reported then has plain names.
    loss : Loss or None
        None for an output that is not trained.
    factor : float
        Of the loss, in the sum over all outputs.
    unweighted, weighted : list
        Metrics as they were given to ``compile``.
    """

    def __init__(self, name, loss, factor, unweighted, weighted):
        self.name = name
        self.loss = loss
        self.factor = factor
        self._given = unweighted, weighted
        self.unweighted = self.weighted = None
        self._alike = {}
        self.joins_batches = False  # whether its metrics see the same in several batches as in one
        self.reset()

    @property
    def metrics(self):
        """All metrics but the loss; none before they are resolved."""
        return [] if self.unweighted is None else [*self.unweighted, *self.weighted]

    def target(self, y, output_shape, dtype):
        """The labels as the loss and the metrics take them, checked; they are resolved as well."""
        if self.loss is None:
            target = numbers("y", y) if any(self._given) else None
        else:
            target = self.loss.target(y, output_shape, dtype)
        if self.unweighted is None:
            ndim = 0 if target is None else target.ndim
            self.unweighted, self.weighted = (
                [metrics.resolve(m, ndim, output_shape) for m in given] for given in self._given
            )
            self.reset()
            self.joins_batches = all(metric.joins_batches for metric in self.metrics)
        return target

    def reset(self):
        self.total, self.rows = 0.0, 0
        for metric in self.metrics:
            metric.reset_state()

    def objective(self, output, logits, target, mask, weight):
        """The loss of a batch, and the gradient of the loss times its factor.

        Parameters
        ----------
        output : array (B, ..., C)
        logits : (str or None, array or None)
            See `Layer.logits`.
        target, mask, weight
            Of the batch.

        Returns
        -------
        value : float, or what ``float()`` makes one of (`Engine.weighted_sum`)
        gradient : array of the output's shape
        stable : bool
            Whether the gradient is by the logits: from there nothing overflows, and the gradient
            of a sure but wrong answer stays.
        """
        loss = self.loss
        activation, z = logits
        stable = activation is not None and activation == loss.activation
        predicted = z if stable else output
        weights = self._row_weights(predicted, loss.counted(target, mask), weight)
        factors = weights if self.factor == 1 else weights * self.factor
        values, gradient = loss.flat(target, predicted, factors, stable or loss.from_logits)
        return engines.current().weighted_sum(values, weights), gradient, stable

    def _row_weights(self, output, mask, weight):
        """`Loss.row_weights`, remembered where they are all the same."""
        shape, dtype = output.shape[:-1], output.dtype
        if mask is not None or weight is not None:
            return self.loss.row_weights(shape, dtype, weight, mask)
        engine = engines.current()
        key = shape, dtype, engine.name
        weights = self._alike.get(key)
        if weights is None:
            if len(self._alike) > 64:  # ragged batches have many shapes
                self._alike = {}
            weights = self._alike[key] = engine.staged(self.loss.row_weights(shape, dtype))
        return weights

    def update(self, values, outputs, masks, targets, weights):
        """Take in batches: of each the loss, without the factor, the output, and so on."""
        for value, output in zip(values, outputs, strict=True):
            self.total += value * len(output)
            self.rows += len(output)
        if not self.metrics:
            return
        plain = all(m is None and w is None for m, w in zip(masks, weights, strict=True))
        if len(outputs) > 1 and plain and self.joins_batches and outputs[0].ndim == 2:
            # A metric's few operations on some hundred numbers cost as much as on thousands.
            targets, outputs = [np.concatenate(targets)], [np.concatenate(outputs)]
            masks = weights = [None]
        for batch in zip(targets, outputs, masks, weights, strict=True):
            self._update_metrics(*batch)

    def add(self, value, rows, sums):
        """Take in a batch: its loss, without the factor, and what its metrics add."""
        self.total += value * rows
        self.rows += rows
        for metric, own in zip(self.metrics, sums, strict=True):
            metric.add(own)

    def _update_metrics(self, target, output, mask, weight):
        target, output = map(engines.current().to_host, (target, output))
        # Who does not leave out masked steps leaves out those that rows do not have.
        given = getattr(mask, "given", mask)
        mask, given = (None if m is None else np.asarray(m, output.dtype) for m in (mask, given))
        for metric in self.unweighted:
            metric.update_state(target, output, mask if metric.takes_mask else given)
        for metric in self.weighted:
            own = mask if metric.takes_mask else given
            metric.update_state(target, output, _weighted_mask(own, weight))

    def loss_result(self):
        """The mean of the loss so far, without its factor."""
        return self.total / self.rows if self.rows else 0.0

    def results(self):
        """The metrics so far, by name in their order."""
        results, before = {}, f"{self.name}_" if self.name else ""
        for prefix, group in (("", self.unweighted), ("weighted_", self.weighted)):
            for metric in group or ():
                name = before + metric.name
                if name in results or name == "loss":
                    name = before + prefix + metric.name
                results[unused(name, {"loss": None} | results)] = _figure(metric.result())
        return results


class Scores:
    """The loss and the metrics of an epoch.

    Parameters
    ----------
    heads : list of Head
    """

    def __init__(self, heads):
        self.heads = heads
        self._several = sum(head.loss is not None for head in heads) > 1
        self._waiting, self._size = [], 0
        self.reset()

    @property
    def metrics(self):
        """All metrics but the losses, which have seen all batches."""
        self._settle()
        return [metric for head in self.heads for metric in head.metrics]

    def reset(self):
        self.loss, self.rows = 0.0, 0
        self._waiting, self._size = [], 0
        for head in self.heads:
            head.reset()

    def summed(self, results, target, weight):
        """The `Sums` of a batch, for outputs and masks; these themselves where that does not pay.

        An engine that runs ahead would keep all outputs, and bring them to the host. Few it may;
        of many it sums up what metrics ask for, if they can be asked where the outputs are.
        """
        outputs, masks = results
        engine = engines.current()
        if not engine.runs_ahead or sum(output.size for output in outputs) <= MOST_WAITING:
            return results
        targets, weights = self._by_head(target, weight)
        if not all(part is None for part in (*masks, *weights)) or not all(
            engine.holds(output) and all(metric.works_anywhere for metric in head.metrics)
            for head, output in zip(self.heads, outputs, strict=True)
        ):
            return results
        sums = [
            [metric.sums_of(target, output) for metric in head.metrics]
            for head, target, output in zip(self.heads, targets, outputs, strict=True)
        ]
        return Sums(len(outputs[0]), sums, sum(math.prod(o.shape[:-1]) for o in outputs))

    def _by_head(self, target, weight):
        return ([target], [weight]) if len(self.heads) == 1 else (target, weight)

    def update(self, values, penalty, results, target=None, weight=None):
        """Take in a batch: the loss of each output and the penalties, `summed` results, and the
        labels and weights, which `Sums` do not need.

        It waits, with others, until somebody asks for results or there are many numbers: an engine
        may not have computed them yet, and metrics see several batches at the cost of one.
        """
        is_sums = isinstance(results, Sums)
        labels = () if is_sums else self._by_head(target, weight)
        self._waiting.append((values, penalty, results, *labels))
        self._size += results.size if is_sums else sum([output.size for output in results[0]])
        ahead = engines.current().runs_ahead
        if self._size > (MOST_AHEAD if ahead else MOST_WAITING):
            self._settle()

    def _settle(self):
        """Take in the batches that wait."""
        if not self._waiting:
            return
        waiting, self._waiting, self._size = self._waiting, [], 0
        others = []  # batches whose outputs are there
        for values, penalty, results, *labels in waiting:
            values, is_sums = [*map(float, values)], isinstance(results, Sums)
            rows = results.rows if is_sums else len(results[0][0])
            parts = [head.factor * v for head, v in zip(self.heads, values, strict=True)]
            self.loss += (sum(parts) + float(penalty)) * rows
            self.rows += rows
            if is_sums:
                for head, value, sums in zip(self.heads, values, results.metrics, strict=True):
                    head.add(value, rows, sums)
            else:
                others.append((values, *results, *labels))
        if others:
            by_head = [zip(*part, strict=True) for part in zip(*others, strict=True)]
            for head, *own in zip(self.heads, *by_head, strict=True):
                head.update(*own)

    def results(self):
        """The means so far as a dict: the loss, the loss of each output, then the metrics."""
        self._settle()
        results = {"loss": self.loss / self.rows if self.rows else 0.0}
        if len(self.heads) == 1:
            return results | self.heads[0].results()
        if self._several:
            results |= {f"{h.name}_loss": h.loss_result() for h in self.heads if h.loss}
        found = [item for head in self.heads for item in head.results().items()]
        return results | {unused(name, results): value for name, value in sorted(found)}

    def state(self):
        """The sums of the epoch so far, for `load_state`."""
        self._settle()
        sums = [
            {k: v for k, v in vars(metric).items() if isinstance(v, (int, float, np.ndarray))}
            for metric in self.metrics
        ]
        heads = [[head.total, head.rows] for head in self.heads]
        return {"loss": self.loss, "rows": self.rows, "heads": heads, "metrics": sums}

    def load_state(self, state):
        """Go on from sums that `state` gave."""
        self._waiting, self._size = [], 0
        self.loss, self.rows = state["loss"], state["rows"]
        for head, sums in zip(self.heads, state["heads"], strict=True):
            head.total, head.rows = sums
        for metric, sums in zip(self.metrics, state["metrics"], strict=True):
            vars(metric).update(sums)


class Batches:
    """The rows of each batch, pass after pass: an iterator without an end.

    The order of a pass depends on the seed and the number of the pass alone.

    Parameters
    ----------
    rows : `ArrayRows` or `RaggedRows`
    batch_size : int
    shuffle : bool
    """

    def __init__(self, rows, batch_size, shuffle):
        self.rows = rows
        self.batch_size = batch_size
        self._begin(random.draw_seed() if shuffle else None, 0, 0)

    def _begin(self, seed, passes, done):
        self.seed, self.passes, self.done = seed, passes, done
        generator = None if seed is None else random.generator(seed, passes)
        self.order = None if seed is None else self.rows.shuffled(self.batch_size, generator)

    def __iter__(self):
        return self

    @property
    def at_end(self):
        """Whether the next batch is the first of another pass."""
        return self.done * self.batch_size >= len(self.rows)

    def __next__(self):
        if self.at_end:
            self._begin(self.seed, self.passes + 1, 0)
        start = self.done * self.batch_size
        self.done += 1
        piece = slice(start, min(start + self.batch_size, len(self.rows)))
        return piece if self.order is None else self.order[piece]

    exhausted = False  # there is always another

    def tell(self, event):
        """Rows have no ears for "on_epoch_begin" and "on_epoch_end"."""

    def about(self):
        """What must be the same where a fit is taken up again, as a dict."""
        return {
            "rows": len(self.rows), "batch_size": self.batch_size,
            "shuffle": self.seed is not None,
        }

    def state(self):
        """Where the iterator stands, for `load_state`."""
        return {"seed": self.seed, "passes": self.passes, "done": self.done}

    def load_state(self, state):
        """Go on from where another stood, over the same rows."""
        self._begin(**state)


class Run:
    """Where a ``fit`` stands: with the model, all that the rest of it depends on.

    Attributes
    ----------
    epoch, step : int
        The epoch that is on, or comes next, and how many steps of it are done.
    """

    def __init__(self, model, batches, steps, epoch, hooks):
        self.model = model
        self.batches = batches
        self.steps = steps
        self.epoch, self.step = epoch, 0
        self.hooks = hooks

    def state(self):
        """All of it as a dict of numbers, strings and arrays, for `load_state`."""
        model = self.model
        return {
            "data": self._data(), "epoch": self.epoch, "step": self.step,
            "stop": model.stop_training, "batches": self.batches.state(),
            "scores": model._scores.state(),
            "weights": model.get_weights(), "optimizer": model.optimizer.state(),
            "streams": [[s.seed, s.calls] for s in random.streams_of(model)],
            "states": [engines.current().to_host(layer.states) for layer in _stateful(model)],
            "callbacks": {name: c.get_state() for name, c in self._callbacks()},
        }

    def load_state(self, state):
        """Go on from where another `Run`, of an equal model on the same data, stood.

        Raises
        ------
        ValueError
            If the model or the data differ; nothing is changed then.
        """
        model, streams = self.model, random.streams_of(self.model)
        shapes = [w.shape for w in model.weights]
        if [w.shape for w in state["weights"]] != shapes or len(streams) != len(state["streams"]):
            raise ValueError(
                f"it is that of another model: its weights have the shapes "
                f"{[w.shape for w in state['weights']]}, those of '{model.name}' are {shapes}."
            )
        if state["data"] != self._data():
            raise ValueError(
                f"it is that of a fit on other data: it was {state['data']}, and now is "
                f"{self._data()}."
            )
        model.optimizer.load_state(state["optimizer"])
        model.set_weights(state["weights"])
        self.epoch, self.step, model.stop_training = state["epoch"], state["step"], state["stop"]
        self.batches.load_state(state["batches"])
        model._scores.load_state(state["scores"])
        for stream, (seed, calls) in zip(streams, state["streams"], strict=True):
            stream.seed, stream.calls = seed, calls
        for layer, states in zip(_stateful(model), state["states"], strict=True):
            layer.states = states
        for name, callback in self._callbacks():
            if name in state["callbacks"]:
                callback.set_state(state["callbacks"][name])

    def _data(self):
        return self.batches.about() | {"steps": self.steps}

    def _callbacks(self):
        """Each callback, with a name that the callback in its place has in another run."""
        names = set()
        for callback in self.hooks.callbacks:
            name = unused(type(callback).__name__, names)
            names.add(name)
            yield name, callback


def _stateful(layer):
    """The layers inside that keep states from batch to batch."""
    return [part for part in layer.walk() if isinstance(part, RNN) and part.stateful]


def _check_batches_alike(model, parts):
    """Raise ValueError where batches of different sizes would meet layers that keep states.

    ``parts`` has pairs: a number of rows, and how many of them are in a batch.
    """
    sizes = {min(rows, size) for rows, size in parts}
    sizes |= {rows % size for rows, size in parts if rows > size and rows % size}
    if len(sizes) > 1 and (layers := _stateful(model)):
        shown_parts = ", then ".join(f"{rows} rows in batches of {size}" for rows, size in parts)
        raise ValueError(
            f"Layer '{layers[0].name}' ({type(layers[0]).__name__}): stateful=True keeps a state "
            f"for each row: expected batches of one size; got {shown_parts}: batches of "
            f"{' and '.join(map(str, sorted(sizes)))}. Choose a batch_size that divides the data."
        )


def _leaves(given):
    """What lists, tuples and dicts by output hold, however nested, as a list; None is nothing."""
    if isinstance(given, dict) and "class_name" not in given:  # a dict with one is a config
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        return [leaf for part in given for leaf in _leaves(part)]
    return [] if given is None else [given]


def _metrics(argument, given):
    if not isinstance(given, (list, tuple, dict, type(None))):
        raise ValueError(f"compile: {argument} must be a list; got {given!r}. Write [{given!r}].")
    found = _leaves(given)
    for metric in found:
        if isinstance(metric, (str, dict)) and metric != "acc":
            metrics.get(metric)  # raises for one that is not known
    return found


def _by_output(argument, given, names):
    """What ``compile`` was given for each output, as a list: one, a list or a dict by name."""
    if len(names) == 1:
        found = _leaves(given)
        if len(found) > 1:
            raise ValueError(f"compile: expected one {argument}, for one output; got {given!r}.")
        return found or [None]
    if isinstance(given, (list, tuple)) or isinstance(given, dict) and "class_name" not in given:
        return entries(f"compile: {argument}", given, names, missing=True)
    return [given] * len(names)


def _metrics_by_output(argument, given, names):
    """The metrics of each output, as a list of lists."""
    flat = _metrics(argument, given)
    if len(names) == 1 or not flat:
        return [flat, *([] for _ in names[1:])]
    return [_leaves(m) for m in entries(f"compile: {argument}", given, names, missing=True)]


class Trainer:
    """What a model that can be trained has: compile, fit, evaluate, predict."""

    def _init_trainer(self):
        self.optimizer = None
        self.loss = None
        self.history = None
        self.stop_training = False
        self._compiled = None
        self._scores = None
        self._store = None
        self._views = []
        self._regularized = self._penalised = ()
        self.current_fit = None  # the `Run` that is on

    def __getstate__(self):
        # In a copy, parameters are no views of the buffer any more: the next fit makes a new one.
        return self.__dict__ | {"_store": None, "_views": [], "current_fit": None}

    # -- compile ---------------------------------------------------------------------------------

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None,
                weighted_metrics=None, run_eagerly=False, steps_per_execution=1,
                jit_compile="auto", auto_scale_loss=True):
        """Say how the model is to be trained.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str or Loss, optional
            Without one the model can predict, not train.  For several outputs: one for all, or a
            list or a dict by output name; None for an output that is not to be trained.
        loss_weights : float, optional
            A factor of the loss.  For several outputs a list or a dict.
        metrics, weighted_metrics : list of str, Metric or callable, optional
            Reported for each epoch; sample weights count in the latter only.  For several outputs
            a list of such lists or a dict of them.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted for Keras's sake; they change nothing here.

        Raises
        ------
        ValueError
            For a name that is not known; the message gives the nearest.
        RuntimeError
            While ``fit`` is on.
        """
        if self.current_fit is not None:
            raise RuntimeError(
                f"Model '{self.name}': compile() was called by a callback, while fit() is on, "
                "which goes on with the optimizer and the loss that it began with. Compile between "
                "two calls of fit; a callback may set optimizer.learning_rate."
            )
        given = {
            "optimizer": optimizer, "loss": loss, "loss_weights": loss_weights,
            "metrics": metrics, "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly, "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile, "auto_scale_loss": auto_scale_loss,
        }
        optimizer_object = optimizers.get(optimizer)
        if not isinstance(optimizer_object, optimizers.Optimizer):
            raise TypeError(f"compile: expected an optimizer or its name; got {optimizer!r}.")
        self._scores = Scores(self._heads(given))
        self.optimizer = optimizer_object
        self.loss = loss
        self._compiled = given
        self._store = None

    def _heads(self, given):
        """A `Head` for each output, of the arguments of `compile`."""
        names = self.output_names
        found = [losses.get(loss) for loss in _by_output("loss", given["loss"], names)]
        for loss in found:
            if loss is not None and loss.reduction in ("none", None):
                raise ValueError(
                    f"compile: the loss '{loss.name}' has the reduction 'none'; training needs a "
                    "single number, such as that of 'sum_over_batch_size'."
                )
        factors = _by_output("loss weight", given["loss_weights"], names)
        for factor in factors:
            if factor is not None and not isinstance(factor, Real):
                raise TypeError(
                    "compile: loss_weights: expected a number for each output; got "
                    f"{factor!r}. Metrics are given by name: metrics=[...]."
                )
        return [
            Head(name if len(names) > 1 else None, loss, 1.0 if f is None else float(f), *group)
            for name, loss, f, *group in zip(
                names, found, factors, _metrics_by_output("metrics", given["metrics"], names),
                _metrics_by_output("weighted_metrics", given["weighted_metrics"], names),
                strict=True,
            )
        ]

    @property
    def compiled(self):
        """Whether `compile` has been called."""
        return self._compiled is not None

    @property
    def metrics(self):
        """The metrics, once the first data have told what they are."""
        return self._scores.metrics if self._scores else []

    @property
    def metrics_names(self):
        """The names of what `evaluate` returns, in its order."""
        return list(self._scores.results()) if self._scores else []

    def reset_metrics(self):
        """Let the loss and the metrics forget all batches."""
        if self._scores:
            self._scores.reset()

    def get_metrics_result(self):
        """The loss and the metrics of the batches since they were reset, as a dict."""
        return self._scores.results() if self._scores else {}

    def get_compile_config(self):
        """`compile`'s arguments as a dict fit for JSON; None before it was called."""
        if not self.compiled:
            return None
        kinds = {"loss": losses, "metrics": metrics, "weighted_metrics": metrics}
        return {
            name: _serialized(kinds.get(name), value) for name, value in self._compiled.items()
        } | {"optimizer": optimizers.serialize(self.optimizer)}

    def compile_from_config(self, config):
        """`compile` with the dict of `get_compile_config`."""
        self.compile(**with_own(config))

    def _need(self, method, loss=True):
        if not self.compiled:
            raise ValueError(
                f"Model '{self.name}': call compile(optimizer, loss) before {method}()."
            )
        if loss and not any(head.loss for head in self._scores.heads):
            raise ValueError(
                f"Model '{self.name}': there is no loss to compute; {method}() needs one: "
                "compile(optimizer, loss)."
            )

    # -- data ------------------------------------------------------------------------------------

    def _rows(self, x):
        self.move()
        names = self.input_names
        if len(names) == 1:
            x = _alone("x", x, names, lambda a: self.built and np.ndim(a) == len(self.input_shape))
            return self._rows_of_input("x", x, self.convert_input, 0)
        given = entries("x", x, names, more=True)
        parts = [
            self._rows_of_input(f"x['{name}']", own, functools.partial(self.convert_part, i), i)
            for i, (name, own) in enumerate(zip(names, given, strict=True))
        ]
        counts = [len(part) for part in parts]
        if len(set(counts)) > 1:
            counts = ", ".join(f"{c} for '{n}'" for n, c in zip(names, counts, strict=True))
            raise ValueError(
                f"Model '{self.name}': expected equally many rows for all inputs; got {counts}."
            )
        return JointRows(parts)

    def _rows_of_input(self, name, x, convert, i):
        rows = rows_of(x, convert, name)
        if not self.built:
            self.build(rows.build_shape)
        expected = self.input_shapes[i]
        if len(rows.shape) != len(expected):
            raise ValueError(
                f"Model '{self.name}': expected {name} of {len(expected)} axes, like "
                f"{shown(expected)}, with which it was built; got shape {rows.shape}."
            )
        return rows

    def _data(self, x, y, sample_weight=None):
        """x, y and weights as `Data`, checked."""
        rows = self._rows(x)
        names = self.output_names
        if len(names) != len(self._scores.heads):  # compiled before it was built
            self._scores = Scores(self._heads(self._compiled))
        heads = self._scores.heads
        if y is None:
            raise ValueError(f"Model '{self.name}': expected labels y beside x; got none.")
        if len(names) == 1:
            def fits(inside):
                return hasattr(inside, "__len__") and 1 < len(rows) == len(inside)

            ys = [_alone("y", y, names, fits)]
            weights = [_alone("sample_weight", sample_weight, names, fits)]
        else:
            ys, weights = self._labels(y, names), self._weights(sample_weight, names)
        shapes = flatten(self.compute_output_shape(rows.shape))
        by_step = self._steps_followed(rows, shapes)
        parts = rows.parts if isinstance(rows, JointRows) else [rows]
        lengths = [None if i is None else parts[i].lengths for i in by_step]
        found = [
            self._labels_of_output(*own, len(rows))
            for own in zip(heads, ys, weights, shapes, self.output_dtypes, lengths, strict=True)
        ]
        if len(names) == 1:
            return Data(rows, *found[0], by_step[0])
        targets, weights = map(list, zip(*found, strict=True))
        return Data(rows, targets, weights, by_step)

    def _labels(self, y, names):
        """The labels of each output; None for those that need none."""
        needed = [h.name for h in self._scores.heads if h.loss or any(h._given)]
        if len(needed) < len(names) and isinstance(y, (list, tuple)) and len(y) == len(needed):
            y = dict(zip(needed, y, strict=True))
        return entries("y", y, names, missing=True)

    def _weights(self, sample_weight, names):
        """The weights of the rows for each output: the same for all, or a list or dict."""
        if isinstance(sample_weight, (list, tuple, dict)):
            return entries("sample_weight", sample_weight, names, missing=True)
        return [sample_weight] * len(names)

    def _labels_of_output(self, head, y, weight, output_shape, dtype, lengths, rows):
        """Labels and weights of one output, checked; None where there are none."""
        where = f" of output '{head.name}'" if head.name else ""
        if y is None:
            if head.loss or any(head._given):
                raise ValueError(
                    f"Model '{self.name}': expected labels y{where} beside x; got none."
                )
        elif row_count("y", y) != rows:
            raise ValueError(
                f"Model '{self.name}': expected one label for each row; x has {rows} rows, "
                f"y{where} has {len(y)}."
            )
        if y is not None and len(output_shape) > 2:
            y = filled_up(f"y{where}", y, lengths)
        if weight is not None and is_ragged(weight):
            weight = filled_up(f"sample_weight{where}", weight, lengths)
        dtype = np.dtype(dtype)
        target = head.target(y, output_shape, dtype)
        if target is not None:
            target = engines.current().staged(target)
        if weight is not None:
            weight = losses.sample_weights(weight, rows, tuple(output_shape[1:-1]))
            check_finite("sample_weight", weight)
            weight = weight.astype(dtype, copy=False)
        return target, weight

    def inputs_of(self, x):
        """``(x, mask)`` of rows that make one batch; the weights are made for them if need be."""
        return self._rows(x).batch(slice(None))

    def batch_of(self, x, y, sample_weight=None, class_weight=None):
        """``(x, mask, target, weight)`` of rows that make one batch."""
        data = self._by_class(self._data(x, y, sample_weight), class_weight)
        return data.batch(slice(None))

    def _streamed(self, method, x, class_weight=None, shuffle=False, **others):
        """`Streamed` for an ``x`` that makes batches; the others have no place beside it."""
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{method}: {name} has no place beside an x that makes batches, "
                    f"{type(x).__name__}: each of them is (x, y) or (x, y, sample_weight)."
                )
        return Streamed(self, Source(x, shuffle), class_weight)

    def _steps_followed(self, rows, shapes):
        """For each output the number of the ragged input that its steps are those of, or None."""
        parts = rows.parts if isinstance(rows, JointRows) else [rows]
        ragged = [i for i, part in enumerate(parts) if isinstance(part, RaggedRows)]
        if not ragged:
            return [None] * len(shapes)
        try:
            shapes = self._output_shapes_of_steps(parts, {i: -1 - i for i in ragged})
        except ValueError:  # inputs that are merged step by step have their steps in common
            shapes = self._output_shapes_of_steps(parts, dict.fromkeys(ragged, -1 - ragged[0]))
        if any(len(shape) > 2 and shape[1] is None for shape in shapes):
            self._check_no_steps_taken()
        return [
            -1 - shape[1] if len(shape) > 2 and (shape[1] or 0) < 0 else None for shape in shapes
        ]

    def _check_no_steps_taken(self):
        """Raise if a layer takes steps of sequences of different lengths: labels do not follow.

        That one does shows in the output's shape, which does not say how many are left.
        """
        for layer in self.walk():
            if isinstance(layer, GetItem) and not layer.keeps_steps(len(layer.input_shape)):
                raise ValueError(
                    f"Layer '{layer.name}' (GetItem): takes some steps of sequences of different "
                    "lengths, where labels for the steps that are left cannot follow. Pad x to one "
                    "length (preprocessing.sequence.pad_sequences)."
                )

    def _output_shapes_of_steps(self, parts, steps):
        """The shapes of the outputs where the inputs, by number, have so many ``steps``.

        Numbers of steps that nobody has say where they come out again.
        """
        shapes = [
            (part.shape[0], steps[i], *part.shape[2:]) if i in steps else part.shape
            for i, part in enumerate(parts)
        ]
        return flatten(self.compute_output_shape(shapes if len(parts) > 1 else shapes[0]))

    def _by_class(self, data, class_weight):
        """The same data, weighted by class."""
        if class_weight is None:
            return data
        if isinstance(data.target, list):
            raise ValueError(
                f"class_weight: model '{self.name}' has {len(data.target)} outputs; give "
                "sample_weight, a list with weights for each of them."
            )
        if data.weight is not None:
            raise ValueError("Give sample_weight or class_weight, not both.")
        by_step = len(self.compute_output_shape(data.rows.shape)) > 2
        weight = weights_of_classes(data.target, class_weight, by_step)
        weight = weight.astype(self.output_dtypes[0])
        return data._replace(weight=weight)

    # -- a step ----------------------------------------------------------------------------------

    def _objective(self, x, mask, target, weight, training):
        """Run a batch forward to its loss.

        Returns ``(values, penalty, results, backward)``: the loss of each output, without its
        factor, and the penalties on weights and outputs, all of them what ``float()`` takes; lists
        of the outputs and of the masks that go with them; and a function that adds the loss's
        gradient into the parameters'.
        """
        heads = self._scores.heads
        targets, weights = ([target], [weight]) if len(heads) == 1 else (target, weight)
        for layer in self._penalised:
            layer.activity_penalty = 0.0
        outputs, masks, tape = self.run_outputs(x, mask, training)
        logits = self.output_logits(tape)
        values, gradients, from_logits = [], [], []
        for i, head in enumerate(heads):
            output = outputs[i] = self.dense(outputs[i])
            value, gradient = 0.0, None
            if head.loss is not None:
                value, gradient, stable = head.objective(
                    output, logits[i], targets[i], masks[i], weights[i]
                )
                if stable:
                    from_logits.append(i)
            values.append(value)
            gradients.append(gradient)
        penalty = sum(layer.activity_penalty for layer in self._penalised)
        for parameter in self._regularized:
            penalty += parameter.regularizer(parameter.value)
        backward = functools.partial(self.backward_outputs, tape, gradients, from_logits)
        return values, penalty, (outputs, masks), backward

    def _gradients(self, batch):
        """`_objective` in training, and then the gradients of all parameters."""
        values, penalty, results, backward = self._objective(*batch, training=True)
        backward()
        for parameter in self._regularized:
            parameter.regularizer.add_gradient(parameter.value, parameter.grad)
        return values, penalty, results

    def _updated(self, gradients, batch, shield):
        """What ``gradients(batch)`` returns, after an update by the gradients that it adds."""
        self._store.zero_grad()
        found = gradients(batch)
        if self._store.parameters:
            shield.update(self.optimizer.step)
        return found

    def _repeatable(self, data):
        """Whether training steps differ in their rows alone."""
        if isinstance(data, Streamed):
            return False
        parts = getattr(data.rows, "parts", [data.rows])
        return all(isinstance(part, ArrayRows) for part in parts) and not any(
            getattr(layer, "stateful", False) for layer in self.walk()
        )

    def _repeated_step(self, data, shield):
        """`_train_step` as a function of row numbers."""
        def gradients(index):
            batch = data.batch(index)
            values, penalty, results = self._gradients(batch)
            self._store.settle()
            return values, penalty, self._scores.summed(results, *batch[2:])

        engine = engines.current()
        repeated = engine.repeated(gradients, len(data.rows))
        labels = data._replace(target=engine.to_host(data.target))
        in_order = np.arange(len(data.rows))  # one array, of which an engine knows the parts again

        def step(index):
            index = in_order[index] if isinstance(index, slice) else index
            values, penalty, results = self._updated(repeated, index, shield)
            own = () if isinstance(results, Sums) else labels.labels(index)
            self._scores.update(values, penalty, results, *own)

        return step

    def _train_step(self, batch, shield, counted=None):
        """One update; ``counted``: the rows whose loss it is, and their weights (None: all)."""
        _, _, target, weight = batch
        values, penalty, results = self._updated(self._gradients, batch, shield)
        if counted is not None:
            rows, weight = counted
            (output,), (mask,) = results
            mask = None if mask is None else np.asarray(mask)[rows]
            target, results = target[rows], ([output[rows]], [mask])
        results = self._scores.summed(results, target, weight)
        self._scores.update(values, penalty, results, target, weight)

    def _test_step(self, batch):
        x, mask, target, weight = batch
        values, penalty, results, _ = self._objective(x, mask, target, weight, training=False)
        results = self._scores.summed(results, target, weight)
        self._scores.update(values, penalty, results, target, weight)

    def _prepare(self):
        """Bring all trainable parameters into one buffer, and the optimizer to it."""
        parameters = self.trainable_parameters
        self._find_penalties(parameters)
        # A layer that another model trains as well has its parameters in that model's buffer.
        if (
            self._store is None
            or [id(p) for p in parameters] != [id(p) for p in self._store.parameters]
            or any(p.value is not v for p, v in zip(parameters, self._views, strict=True))
        ):
            store = ParameterStore(parameters)
            self.optimizer.bind(store)
            self._store, self._views = store, [p.value for p in parameters]

    def _find_penalties(self, parameters):
        """Who adds to the loss: regularized parameters, and layers with a penalty on outputs."""
        self._regularized = [p for p in parameters if p.regularizer is not None]
        self._penalised = self.penalised_layers()

    # -- fit -------------------------------------------------------------------------------------

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1, truncate=None):
        """Train the model.

        Parameters
        ----------
        x : array (N, ...), or a list of N sequences of different lengths, or what makes batches
            Ids (N, T) for a model that starts with an Embedding, else floats (N, T, D) or (N, D).
            Sequences (L,) or (L, D) need no padding; batches are made of similar lengths.
            For several inputs a list of such, or a dict by their names, which may hold more.
            A generator (with ``steps_per_epoch``), an object with ``__len__`` and ``__getitem__``,
            as Keras's PyDataset, and a loader give batches: (x, y) or (x, y, sample_weight).
        y : array
            Labels, as the loss takes them.  For several outputs a list of such, or a dict.  Those
            of steps may be a list of sequences of different lengths, as x is.
        batch_size : int, default 32
        epochs : int, default 1
            The number of the last epoch.
        verbose : {"auto", 0, 1, 2}
            0: nothing is printed; 1, "auto": a progress bar; 2: a line for each epoch.
        callbacks : list of Callback, optional
        validation_split : float in [0, 1), default 0
            The last so many of the rows are kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), or what makes batches, optional
            Evaluated after each epoch.
        shuffle : bool, default True
            Take the rows in a new order in each epoch.
        class_weight : dict of int to float, optional
            A weight for the rows of each class; 1 for those not named.
        sample_weight : array (N,) or (N, T), or a list of sequences, optional
            For several outputs one for all, or a list or dict of them.
        initial_epoch : int, default 0
            The number of the first epoch.
        steps_per_epoch : int, optional
            So many batches are an epoch; the next goes on where it ended. One that comes to the
            end of the data ends there, as in Keras.
        validation_steps : int, optional
            Evaluate so many batches only.
        validation_batch_size : int, optional
            Default: ``batch_size``.
        validation_freq : int or list of int, default 1
            Validate every so many epochs, or after these, the first being 1.
        truncate : int, optional
            Truncated backpropagation through time: each batch is trained in pieces of so many
            steps, one update a piece.  States go on from piece to piece, gradients do not: see
            `fastrnn.truncation`.

        Returns
        -------
        History
            ``history.history["loss"]`` is a list with a float for each epoch, and so on.

        Raises
        ------
        ValueError, TypeError
            For data that do not fit; the weights are as they were.
        KeyboardInterrupt
            On Ctrl-C; the weights are those of the last whole step, ``model.history`` has all
            whole epochs.
        """
        self._need("fit")
        level(verbose)
        batch_size = _positive("batch_size", batch_size, BATCH_SIZE)
        validation_batch_size = _positive(
            "validation_batch_size", validation_batch_size, batch_size
        )
        validation_steps = _positive("validation_steps", validation_steps, None)
        _check_frequency(validation_freq)
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if not whole(value, least=0):
                raise ValueError(f"{name}: expected a whole number from 0 on; got {value!r}.")
        data = self._training_data(x, y, sample_weight, class_weight, shuffle, validation_split)
        validation = self._validation_data(validation_data)
        if validation_data is None and validation_split:
            data, validation = split(data, validation_split)
        parts = []  # pairs of rows and batch sizes
        if isinstance(data, Streamed):
            given = _positive("steps_per_epoch", steps_per_epoch, None)
            steps, shape = data.steps("steps_per_epoch", given), self.input_shape
        else:
            data = self._by_class(data, class_weight)
            rows, shape = len(data.rows), data.rows.shape
            steps = _steps_of_epoch(steps_per_epoch, rows, batch_size)
            parts += [(_reached(rows, batch_size, steps * (epochs - initial_epoch)), batch_size)]
        if isinstance(validation, Streamed):
            validation_steps = validation.steps("validation_steps", validation_steps)
        elif validation is not None and epochs > initial_epoch:
            reached = _reached(len(validation.rows), validation_batch_size, validation_steps)
            parts += [(reached, validation_batch_size)]
        _check_batches_alike(self, parts)
        truncation = None if truncate is None else Truncation(self, truncate, shape)
        self._prepare()
        self.stop_training = False
        callbacks, history = _with_history(callbacks)
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=epochs, steps=steps)
        self.history = history
        streamed = isinstance(data, Streamed)
        batches = data.source if streamed else Batches(data.rows, batch_size, shuffle)
        run = Run(self, batches, steps, initial_epoch, hooks)
        logs = {}
        with self._on(run), Shield() as shield:
            hooks("on_train_begin")
            step = None
            if engines.current().runs_ahead and truncation is None and self._repeatable(data):
                step = self._repeated_step(data, shield)
            # An epoch that was begun when training was interrupted is brought to its end.
            while (epoch := run.epoch) < epochs and (run.step or not self.stop_training):
                if level(verbose) and epochs > 1:
                    print(f"Epoch {epoch + 1}/{epochs}")
                hooks("on_epoch_begin", epoch)
                batches.tell("on_epoch_begin")
                progress = Progress(steps, verbose)
                try:
                    done = self._train_epoch(data, run, truncation, progress, shield, step)
                    if batches.exhausted:
                        data.warn(done, steps)
                        self.stop_training = True
                        if not done:
                            break
                    logs = self._scores.results()
                    if validation is not None and _due(epoch + 1, validation_freq):
                        own = self._scores_of(
                            validation, validation_batch_size, validation_steps, hooks
                        )
                        logs |= {f"val_{name}": value for name, value in own.items()}
                    logs = dict(sorted(logs.items()))
                    progress.finish(done, logs)
                finally:
                    progress.close()
                run.epoch, run.step = epoch + 1, 0
                batches.tell("on_epoch_end")
                hooks("on_epoch_end", epoch, logs)
            self.optimizer.finalize_variable_values()
            hooks("on_train_end", logs)
        return history

    def _training_data(self, x, y, sample_weight, class_weight, shuffle, validation_split):
        """What `fit` trains on: `Data`, not weighted by class yet, or `Streamed`."""
        if is_source(x):
            return self._streamed(
                "fit", x, class_weight, shuffle, y=y, sample_weight=sample_weight,
                validation_split=validation_split or None,
            )
        data = self._data(x, y, sample_weight)
        self.check_input(data.rows.values)  # all of it now, not in the middle of an epoch
        return data

    def _validation_data(self, given):
        """What `fit` validates on, if anything."""
        if given is None:
            return None
        if is_source(given):
            return self._streamed("fit", given)
        validation = self._data(*_unpacked(given))
        self.check_input(validation.rows.values)
        return validation

    @contextlib.contextmanager
    def _on(self, run):
        """Inside, ``run`` is the fit that is on."""
        self.current_fit = run
        try:
            yield
        finally:
            self.current_fit = None

    def _train_epoch(self, data, run, truncation, progress, shield, step):
        """All steps of an epoch that are left; returns how many it had.

        ``step``, if given, trains on the rows of its numbers.
        """
        hooks, scores = run.hooks, self._scores
        begin, end = hooks.wants("on_train_batch_begin"), hooks.wants("on_train_batch_end")
        if not run.step:
            scores.reset()
        # An epoch that is taken up again may have been over but for its end.
        is_over = run.step and (self.stop_training or run.batches.at_end)
        for index in itertools.islice(run.batches, 0 if is_over else run.steps - run.step):
            if begin:
                hooks("on_train_batch_begin", run.step)
            if step is not None:
                step(index)
            elif truncation is None:
                self._train_step(data.batch(index), shield)
            else:
                self._train_pieces(data.batch(index), truncation, shield)
            run.step += 1
            if end:
                hooks("on_train_batch_end", run.step - 1, scores.results())
            progress.update(run.step, scores.results)
            if self.stop_training or run.batches.at_end:
                break
        return run.step

    def _train_pieces(self, batch, truncation, shield):
        """Training steps on the pieces of a batch, one after the other."""
        with truncation.carried():
            for piece in truncation.pieces(batch, self._scores.heads[0].loss):
                if piece.trains:
                    self._train_step(piece.batch, shield, piece.counted)
                else:
                    x, mask, _, _ = piece.batch
                    with engines.without_tapes():
                        self.run(x, mask, training=True)

    # -- evaluate --------------------------------------------------------------------------------

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None,
                 steps=None, callbacks=None, return_dict=False):
        """The loss and the metrics on data.

        Parameters
        ----------
        x, y, sample_weight
            As for `fit`.
        batch_size : int, default 32
        verbose : {"auto", 0, 1, 2}
        steps : int, optional
            So many batches only.
        callbacks : list of Callback, optional
        return_dict : bool, default False

        Returns
        -------
        float, list of float or dict
            The loss; with metrics a list of the loss and each of them; or a dict of them by name.
        """
        self._need("evaluate")
        batch_size = _positive("batch_size", batch_size, BATCH_SIZE)
        steps = _positive("steps", steps, None)
        if is_source(x):
            data = self._streamed("evaluate", x, y=y, sample_weight=sample_weight)
            total = steps = data.steps("steps", steps)
        else:
            data = self._data(x, y, sample_weight)
            total = steps or -(-len(data.rows) // batch_size)
            reached = _reached(len(data.rows), batch_size, steps)
            _check_batches_alike(self, [(reached, batch_size)])
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=1, steps=total)
        progress = Progress(total, verbose)
        try:
            results = self._scores_of(data, batch_size, steps, hooks, progress)
            progress.finish(total, dict(sorted(results.items())))
        finally:
            progress.close()
        return _as_keras(results, return_dict)

    def _scores_of(self, data, batch_size, steps, hooks, progress=None):
        """Evaluate ``steps`` batches (None: all, in whatever order); the results as a dict."""
        self._find_penalties(self.trainable_parameters)
        begin, end = hooks.wants("on_test_batch_begin"), hooks.wants("on_test_batch_end")
        scores = self._scores
        scores.reset()
        hooks("on_test_begin")
        order, together = None, 1
        if isinstance(data, Streamed):
            batches = data.one_pass(steps)
        else:
            if steps is None:
                watched = begin or end or not self._rows_count_alike(data)
                order, together = self._passes(data.rows, batch_size, watched)
            batches = itertools.islice(batches_of(data.rows, together * batch_size, order), steps)
        with engines.without_tapes():
            for done, index in enumerate(batches):
                if begin:
                    hooks("on_test_batch_begin", done)
                self._test_step(data.batch(index))
                if end:
                    hooks("on_test_batch_end", done, scores.results())
                if progress is not None:
                    progress.update(min((done + 1) * together, progress.steps), scores.results)
        results = scores.results()
        hooks("on_test_end", results)
        return results

    def _passes(self, rows, batch_size, watched):
        """In which order all rows cost least, and how many batches go in one pass."""
        if _stateful(self):  # row follows row from batch to batch
            return None, 1
        return rows.sorted(), 1 if watched else batches_together(batch_size, rows.shape)

    def _rows_count_alike(self, data):
        """Whether a mean over batches, weighted by their rows, is the mean over all rows, and no
        loss and no metric may look at a batch as a whole."""
        # Not where a mask reaches the loss: a batch then counts its steps.
        shapes = flatten(self.compute_output_shape(data.rows.shape))
        means = ("sum_over_batch_size", "mean")
        return all(len(shape) < 3 for shape in shapes) and all(
            head.joins_batches and (
                head.loss is None or head.loss.joins_batches and head.loss.reduction in means
            )
            for head in self._scores.heads
        )

    # -- predict ---------------------------------------------------------------------------------

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The model's output for each row.

        Parameters
        ----------
        x
            As for `fit`.
        batch_size : int, default 32
        verbose : {"auto", 0, 1, 2}
        steps : int, optional
            So many batches only.
        callbacks : list of Callback, optional

        Returns
        -------
        array (N, ...), or a list of arrays for several outputs (a dict, if the model's are one)
            Of sequences of different lengths the outputs of steps are zero behind their ends.
        """
        batch_size = _positive("batch_size", batch_size, BATCH_SIZE)
        steps = _positive("steps", steps, None)
        if is_source(x):
            data = self._streamed("predict", x)
            steps, take, outputs = data.steps("steps", steps), data.rows, JoinedOutputs()
        else:
            rows = self._rows(x)
            steps = steps or -(-len(rows) // batch_size)
            rows = rows.part(0, _reached(len(rows), batch_size, steps))
            _check_batches_alike(self, [(len(rows), batch_size)])
            take, outputs = rows.batch, Outputs(len(rows), self.compute_output_shape(rows.shape))
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=1, steps=steps)
        progress = Progress(steps, verbose)
        hooks("on_predict_begin")
        watched = hooks.wants("on_predict_batch_begin") or hooks.wants("on_predict_batch_end")
        if is_source(x):
            batches, together = data.one_pass(steps), 1
        else:
            order, together = self._passes(rows, batch_size, watched)
            batches = batches_of(rows, together * batch_size, order)
        try:
            with engines.without_tapes():
                for done, index in enumerate(batches):
                    hooks("on_predict_batch_begin", done)
                    x_batch, mask = take(index)
                    batch = cut_off(self._to_host(self.run(x_batch, mask)[0]), mask)
                    outputs.put(index, batch)
                    hooks("on_predict_batch_end", done, {"outputs": self.as_given(batch)})
                    progress.update(min((done + 1) * together, steps), dict)
            progress.finish(steps, {})
        finally:
            progress.close()
        hooks("on_predict_end")
        return self.as_given(outputs.value)

    # -- single batches --------------------------------------------------------------------------

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One training step on these rows.

        Returns
        -------
        float, list of float or dict
            As `evaluate`, before the step.
        """
        self._need("train_on_batch")
        data = self._by_class(self._data(x, y, sample_weight), class_weight)
        self._prepare()
        self._scores.reset()
        with Shield() as shield:
            self._train_step(data.batch(slice(None)), shield)
        return _as_keras(self._scores.results(), return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """`evaluate` for these rows as one batch."""
        self._need("test_on_batch")
        data = self._data(x, y, sample_weight)
        results = self._scores_of(data, len(data.rows), None, CallbackList())
        return _as_keras(results, return_dict)

    def predict_on_batch(self, x):
        """`predict` for these rows as one batch."""
        x, mask = self.inputs_of(x)
        with engines.without_tapes():
            return self.as_given(self._to_host(self.run(x, mask)[0]))

    def __call__(self, x, mask=None, training=False):
        """The model's output for arrays, or lists of sequences, as one batch.

        Applied to symbolic tensors it is a layer of the model that they will be part of.
        """
        if is_symbolic(x, mask):
            return self.as_given(self._apply(x, mask))
        x, own = self.inputs_of(x)
        if mask is not None:
            own = [StepMask.of(m) for m in mask] if isinstance(x, list) else StepMask.of(mask)
        for layer in self.penalised_layers():
            layer.activity_penalty = 0.0
        return self.as_given(self._to_host(self.run(x, own, training)[0]))


# -- what the methods share ------------------------------------------------------------------------

# Rows and steps that go through the layers in one pass where nobody asks for single batches: what
# is done once a pass, as projecting the table of an Embedding, is then done for many rows.
PASS_ROWS, PASS_STEPS = 1024, 1 << 19


def cut_off(output, mask):
    """The outputs with zeros behind the ends of sequences, which ``mask`` knows (None: no ends).

    Of the masks of several inputs that of the last which fits counts.
    """
    if isinstance(output, list):
        return [cut_off(part, mask) for part in output]
    masks = mask if isinstance(mask, list) else [mask]
    fitting = [m for m in masks if m is not None and m.shape == output.shape[:2]]
    if output.ndim < 3 or not fitting:
        return output
    return output * np.asarray(fitting[-1])[..., None]


def batches_together(batch_size, shape):
    """How many batches of rows of this shape make one pass; rows do not depend on one another."""
    if isinstance(shape, list):  # of several inputs
        return min(batches_together(batch_size, part) for part in shape)
    steps = shape[1] if len(shape) > 1 and shape[1] else 512
    return max(1, min(PASS_ROWS, PASS_STEPS // steps) // batch_size)


def _alone(argument, given, names, fits):
    """What a model with one input (or output) was given, without a list or dict of one around it.

    ``fits`` tells whether what is inside a list is the whole: else the list is the data.
    """
    if isinstance(given, dict):
        return entries(argument, given, names, more=argument == "x")[0]
    if isinstance(given, (list, tuple)) and len(given) == 1 and fits(given[0]):
        return given[0]
    return given


def _unpacked(validation_data):
    if not isinstance(validation_data, (list, tuple)) or len(validation_data) not in (2, 3):
        raise ValueError(
            "validation_data: expected (x, y) or (x, y, sample_weight); got "
            f"{type(validation_data).__name__}."
        )
    return validation_data


def _with_history(callbacks):
    """The callbacks as a list, and the `History` among them, new if there is none."""
    callbacks = [callbacks] if not isinstance(callbacks, (list, tuple)) else list(callbacks)
    callbacks = [c for c in callbacks if c is not None]
    history = next((c for c in callbacks if isinstance(c, History)), None)
    if history is None:
        history = History()
        callbacks.append(history)
    return callbacks, history


def _check_frequency(frequency):
    several = isinstance(frequency, (list, tuple, set, range))
    if not all(map(whole, frequency if several else [frequency])):
        raise ValueError(
            "validation_freq: expected a whole number from 1 on, or a list of them; got "
            f"{frequency!r}."
        )


def _due(epoch, frequency):
    """Whether to validate after the epoch of that number, the first being 1."""
    return epoch % frequency == 0 if whole(frequency) else epoch in frequency


def _reached(rows, batch_size, steps):
    """How many of the rows are in the first ``steps`` batches (None: in all)."""
    return rows if steps is None else min(rows, steps * batch_size)


def _steps_of_epoch(given, rows, batch_size):
    """How many batches an epoch has at most; with a warning where the data have fewer than asked
    for."""
    there = -(-rows // batch_size)
    steps = _positive("steps_per_epoch", given, there)
    if steps > there > 0:
        warnings.warn(
            f"steps_per_epoch={steps}: {rows} rows make {there} batches of {batch_size}; an epoch "
            "ends with them.", stacklevel=3,
        )
        return there
    return steps


def _positive(name, value, default):
    if value is None:
        return default
    if not whole(value):
        raise ValueError(f"{name}: expected a whole number from 1 on; got {value!r}.")
    return int(value)


def _weighted_mask(mask, weight):
    """Weights of rows, or of rows and steps, where a mask (B, T) leaves steps out; None is 1."""
    if mask is None or weight is None:
        return weight if mask is None else mask
    return (mask.T * weight.T).T


def _figure(result):
    """What is reported of a metric: a float, or an array where it has several figures."""
    return float(result.item()) if isinstance(result, np.ndarray) and result.size == 1 else result


def _as_keras(results, return_dict):
    """A dict by name; else the loss alone, or a list."""
    if return_dict:
        return dict(sorted(results.items()))
    values = list(results.values())
    return values[0] if len(values) == 1 else values


def _serialized(kind, value):
    if isinstance(value, (list, tuple)):
        return [_serialized(kind, v) for v in value]
    if isinstance(value, dict):
        return {k: _serialized(kind, v) for k, v in value.items()}
    if kind is None or value is None or isinstance(value, str):
        return value
    return kind.serialize(value)
