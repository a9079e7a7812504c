"""How a model is to be trained: the arguments of ``compile``."""

from __future__ import annotations

from numbers import Real

from fastrnn import losses, metrics, optimizers
from fastrnn.adapters import entries
from fastrnn.registry import with_own
from fastrnn.training.scores import Head, Scores

__all__ = ["Compiled"]


class Compiled:
    """What a model knows of its training: the optimizer, and a `Head` for each output."""

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None,
                weighted_metrics=None, run_eagerly=False, steps_per_execution=1,
                jit_compile="auto", auto_scale_loss=True):
        """Say how the model is to be trained.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str, Loss or callable, optional
            A function of (y_true, y_pred) is one of operators and `fastrnn.ops`.  Without a loss
            the model can predict, not train.  For several outputs: one for all, or a
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
        self._scores = self._scores_for(given)
        self.optimizer = optimizer_object
        self.loss = loss
        self._compiled = given
        self._store = None

    def _scores_for(self, given):
        """`Scores` of the arguments of `compile`."""
        loss, order = given["loss"], self.output_names
        if isinstance(self.output, dict):  # then Keras lists losses as that of compile, or this, is
            order = list(loss if _is_by_name(loss) else self.output)
        return Scores(self._heads(given), order)

    def _heads(self, given):
        """A `Head` for each output, of the arguments of `compile`."""
        names = self.output_names
        if not self.outputs_known and _of_outputs(given["loss"]):  # they are looked at again then
            loss = given["loss"]
            names = list(loss) if isinstance(loss, dict) else [str(i) for i in range(len(loss))]
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
    def outputs_known(self):
        """Whether the model knows its outputs' names, so that what is given by them can be held
        against these."""
        return True

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


# -- arguments -------------------------------------------------------------------------------------


def _is_by_name(given):
    """Whether it is a dict by output, and not the config of one object."""
    return isinstance(given, dict) and "class_name" not in given


def _leaves(given):
    """What lists, tuples and dicts by output hold, however nested, as a list; None is nothing."""
    if _is_by_name(given):
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


def _of_outputs(given):
    """Whether an argument of ``compile`` is a list or dict by output."""
    return isinstance(given, (list, tuple)) or _is_by_name(given)


def _by_output(argument, given, names):
    """What ``compile`` was given for each output, as a list: one, a list or a dict by name."""
    if len(names) == 1:
        found = _leaves(given)
        if len(found) > 1:
            raise ValueError(f"compile: expected one {argument}, for one output; got {given!r}.")
        return found or [None]
    if _of_outputs(given):
        return entries(f"compile: {argument}", given, names, missing=True)
    return [given] * len(names)


def _metrics_by_output(argument, given, names):
    """The metrics of each output, as a list of lists."""
    flat = _metrics(argument, given)
    if len(names) == 1 or not flat:
        return [flat, *([] for _ in names[1:])]
    return [_leaves(m) for m in entries(f"compile: {argument}", given, names, missing=True)]


def _serialized(kind, value):
    if isinstance(value, (list, tuple)):
        return [_serialized(kind, v) for v in value]
    if isinstance(value, dict):
        return {k: _serialized(kind, v) for k, v in value.items()}
    if kind is None or value is None or isinstance(value, str):
        return value
    return kind.serialize(value)
