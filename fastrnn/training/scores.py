"""What is made small, and what is reported: the loss and the metrics of each output.

Letters: B rows in a batch, T steps, C columns of the output.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines, metrics
from fastrnn.checks import numbers
from fastrnn.names import unused

__all__ = ["Head", "Scores", "Sums"]

# Numbers in the outputs that may wait for their scores; and of an engine that runs ahead.
MOST_WAITING, MOST_AHEAD = 1 << 12, 1 << 22
SUMS = int, float, np.generic, np.ndarray  # what attributes of a metric may sum up in


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
            See `Layer.last_activation`.
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
    order : list of str, optional
        The names of outputs in the order in which their losses are told; default: that of heads.
    """

    def __init__(self, heads, order=()):
        self.heads = heads
        self._told = sorted(heads, key=lambda h: order.index(h.name) if h.name in order else 0)
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
            results |= {f"{h.name}_loss": h.loss_result() for h in self._told if h.loss}
        found = [item for head in self.heads for item in head.results().items()]
        return results | {unused(name, results): value for name, value in sorted(found)}

    def state(self):
        """The sums of the epoch so far, for `load_state`."""
        self._settle()
        sums = [_sums_of(metric) for metric in self.metrics]
        variables = [[v.numpy() for v in metric.variables] for metric in self.metrics]
        heads = [[head.total, head.rows] for head in self.heads]
        return {
            "loss": self.loss, "rows": self.rows, "heads": heads, "metrics": sums,
            "variables": variables,
        }

    def load_state(self, state):
        """Go on from sums that `state` gave."""
        self._waiting, self._size = [], 0
        self.loss, self.rows = state["loss"], state["rows"]
        for head, sums in zip(self.heads, state["heads"], strict=True):
            head.total, head.rows = sums
        for metric, sums in zip(self.metrics, state["metrics"], strict=True):
            _set_sums(metric, sums)
        for metric, values in zip(self.metrics, state["variables"], strict=True):
            for variable, value in zip(metric.variables, values, strict=True):
                variable.assign(value)


def _sums_of(metric):
    """What a metric has summed up in attributes; that of metrics in it is a dict in turn."""
    sums = {}
    for name, value in vars(metric).items():
        if isinstance(value, metrics.Metric):
            sums[name] = _sums_of(value)
        elif isinstance(value, list) and all(isinstance(part, SUMS) for part in value):
            sums[name] = list(value)
        elif isinstance(value, SUMS):
            sums[name] = value
    return sums


def _set_sums(metric, sums):
    for name, value in sums.items():
        if isinstance(value, dict):
            _set_sums(getattr(metric, name), value)
        else:
            vars(metric)[name] = value


def _weighted_mask(mask, weight):
    """Weights of rows, or of rows and steps, where a mask (B, T) leaves steps out; None is 1."""
    if mask is None or weight is None:
        return weight if mask is None else mask
    return (mask.T * weight.T).T


def _figure(result):
    """What is reported of a metric: a float, or an array where it has several figures."""
    if isinstance(result, metrics.MetricVariable):
        result = result.numpy()
    one = isinstance(result, (np.ndarray, np.generic)) and result.size == 1
    return float(result.item()) if one else result
