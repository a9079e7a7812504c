"""The training loop: epoch -> batch -> step -> update.

`Trainer` is the half of a model that trains; the other half (`fastrnn.models`) says how its layers
are put together.  A step runs forward to the loss, backward into the gradients, and lets the
optimizer change the weights in place.  All checks of data are made before the first step, and an
update is never left half done, so whatever goes wrong, the weights are good ones.

Letters: N rows in all, B rows in a batch, T steps, C columns of the output.
"""

from __future__ import annotations

import itertools

import numpy as np

from fastrnn import engines, losses, metrics, optimizers, random
from fastrnn.adapters import (
    Data,
    Outputs,
    RaggedRows,
    batches_of,
    rows_of,
    split,
    weights_of_classes,
)
from fastrnn.callbacks import CallbackList, History
from fastrnn.checks import check_finite, row_count, shown
from fastrnn.interrupts import Shield
from fastrnn.masks import StepMask
from fastrnn.parameters import ParameterStore
from fastrnn.progress import Progress, level

__all__ = ["Trainer"]

BATCH_SIZE = 32


class Scores:
    """The loss and the metrics of an epoch.

    Parameters
    ----------
    unweighted, weighted : list
        Metrics as they were given to ``compile``.
    """

    def __init__(self, unweighted, weighted):
        self._given = unweighted, weighted
        self.unweighted = self.weighted = None
        self.reset()

    @property
    def metrics(self):
        """All metrics but the loss; none before they are resolved."""
        return [] if self.unweighted is None else [*self.unweighted, *self.weighted]

    def resolve(self, target_ndim, output_shape):
        """Find out what "accuracy" stands for."""
        if self.unweighted is None:
            self.unweighted, self.weighted = (
                [metrics.resolve(m, target_ndim, output_shape) for m in given]
                for given in self._given
            )
            self.reset()

    def reset(self):
        self.loss, self.rows = 0.0, 0
        for metric in self.metrics:
            metric.reset_state()

    def update(self, loss, rows, target, output, mask, weight):
        """Take in a batch whose loss is ``loss``."""
        self.loss += loss * rows
        self.rows += rows
        if mask is not None:
            mask = np.asarray(mask, output.dtype)
        for metric in self.unweighted:
            metric.update_state(target, output, mask)
        if self.weighted:
            if mask is not None:
                weight = mask if weight is None else (mask.T * weight.T).T
            for metric in self.weighted:
                metric.update_state(target, output, weight)

    def results(self):
        """The means so far as a dict, the loss first, then the metrics in their order."""
        results = {"loss": self.loss / self.rows if self.rows else 0.0}
        for prefix, group in (("", self.unweighted), ("weighted_", self.weighted)):
            for metric in group or ():
                name = metric.name if metric.name not in results else prefix + metric.name
                results[_unused(name, results)] = metric.result()
        return results


def _unused(name, taken):
    """``name``, numbered if it is taken."""
    names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
    return next(n for n in names if n not in taken)


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
        if isinstance(metric, str) and metric != "acc":
            metrics.get(metric)  # raises for a name that is not known
    return found


def _only(argument, given):
    """The one that there is, or None: models here have one output."""
    found = _leaves(given)
    if len(found) > 1:
        raise ValueError(f"compile: expected one {argument}, for one output; got {given!r}.")
    return found[0] if found else None


class Trainer:
    """What a model that can be trained has: compile, fit, evaluate, predict."""

    def _init_trainer(self):
        self.optimizer = None
        self.loss = None
        self.history = None
        self.stop_training = False
        self._compiled = None
        self._loss = None
        self._loss_weight = 1.0
        self._scores = None
        self._store = None
        self._views = []
        self._factors = {}

    def __getstate__(self):
        # In a copy, parameters are no views of the buffer any more: the next fit makes a new one.
        return self.__dict__ | {"_store": None, "_views": []}

    # -- compile ---------------------------------------------------------------------------------

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None,
                weighted_metrics=None, run_eagerly=False, steps_per_execution=1,
                jit_compile="auto", auto_scale_loss=True):
        """Say how the model is to be trained.

        Parameters
        ----------
        optimizer : str or Optimizer, default "rmsprop"
        loss : str or Loss, optional
            Without one the model can predict, not train.
        loss_weights : float, optional
            A factor of the loss.
        metrics, weighted_metrics : list of str, Metric or callable, optional
            Reported for each epoch; sample weights count in the latter only.
        run_eagerly, steps_per_execution, jit_compile, auto_scale_loss
            Accepted for Keras's sake; they change nothing here.

        Raises
        ------
        ValueError
            For a name that is not known; the message gives the nearest.
        """
        given = {
            "optimizer": optimizer, "loss": loss, "loss_weights": loss_weights,
            "metrics": metrics, "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly, "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile, "auto_scale_loss": auto_scale_loss,
        }
        optimizer_object = optimizers.get(optimizer)
        if not isinstance(optimizer_object, optimizers.Optimizer):
            raise TypeError(f"compile: expected an optimizer or its name; got {optimizer!r}.")
        loss_object = losses.get(_only("loss", loss))
        if loss_object is not None and loss_object.reduction in ("none", None):
            raise ValueError(
                f"compile: the loss '{loss_object.name}' has the reduction 'none'; training needs "
                "a single number, such as that of 'sum_over_batch_size'."
            )
        factor = _only("loss weight", loss_weights)
        self._scores = Scores(
            _metrics("metrics", metrics), _metrics("weighted_metrics", weighted_metrics)
        )
        self.optimizer = optimizer_object
        self.loss = loss
        self._loss = loss_object
        self._loss_weight = 1.0 if factor is None else float(factor)
        self._compiled = given
        self._store = None
        self._factors = {}

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
        self.compile(**config)

    def _need(self, method, loss=True):
        if not self.compiled:
            raise ValueError(
                f"Model '{self.name}': call compile(optimizer, loss) before {method}()."
            )
        if loss and self._loss is None:
            raise ValueError(
                f"Model '{self.name}': there is no loss to compute; {method}() needs one: "
                "compile(optimizer, loss)."
            )

    # -- data ------------------------------------------------------------------------------------

    def _rows(self, x):
        rows = rows_of(x, self.convert_input)
        if not self.built:
            self.build(rows.build_shape)
        if len(rows.shape) != len(self.input_shape):
            raise ValueError(
                f"Model '{self.name}': expected x of {len(self.input_shape)} axes, like "
                f"{shown(self.input_shape)}, with which it was built; got shape {rows.shape}."
            )
        return rows

    def _data(self, x, y, sample_weight=None):
        """x, y and weights as `Data`, checked."""
        rows = self._rows(x)
        if y is None:
            raise ValueError(f"Model '{self.name}': expected labels y beside x; got none.")
        if row_count("y", y) != len(rows):
            raise ValueError(
                f"Model '{self.name}': expected one label for each row; x has {len(rows)} rows, "
                f"y has {len(y)}."
            )
        output_shape = self.compute_output_shape(rows.shape)
        if isinstance(output_shape, list):
            raise ValueError(
                f"Model '{self.name}': training needs a model with one output; the last layer "
                f"gives {len(output_shape)} (return_state=True)."
            )
        target_dtype = np.dtype(self.output_dtype)
        target = self._loss.target(y, output_shape, target_dtype)
        self._scores.resolve(target.ndim, output_shape)
        steps = tuple(output_shape[1:-1])
        if sample_weight is not None:
            sample_weight = losses.sample_weights(sample_weight, len(rows), steps)
            check_finite("sample_weight", sample_weight)
            sample_weight = sample_weight.astype(target_dtype, copy=False)
        by_step = isinstance(rows, RaggedRows) and bool(steps)
        return Data(rows, target, sample_weight, by_step)

    def _by_class(self, data, class_weight):
        """The same data, weighted by class."""
        if class_weight is None:
            return data
        if data.weight is not None:
            raise ValueError("Give sample_weight or class_weight, not both.")
        weight = weights_of_classes(data.target, class_weight).astype(self.output_dtype)
        return data._replace(weight=weight)

    # -- a step ----------------------------------------------------------------------------------

    def _objective(self, x, mask, target, weight, training):
        """Run a batch forward to its loss.

        Returns ``(loss, output, mask, backward)``: the loss with penalties, the output, the mask
        that goes with it, and a function that adds the loss's gradient into the parameters'.
        """
        loss = self._loss
        output, mask, tape = self.run(x, mask, training)
        output = self.dense(output)
        activation, z = self.logits(tape)
        # From the logits nothing overflows, and the gradient of a sure but wrong answer stays.
        stable = activation is not None and activation == loss.activation
        predicted = z if stable else output
        factors = self._row_factors(predicted, mask, weight)
        values, gradient = loss.flat(target, predicted, factors, stable or loss.from_logits)
        value = float((values * factors).sum(dtype=np.float64))
        for parameter in self._regularized:
            value += parameter.regularizer(parameter.value)
        backward = self.backward_logits if stable else self.backward
        return value, output, mask, lambda: backward(tape, gradient)

    def _row_factors(self, output, mask, weight):
        """`Loss.row_weights`, remembered where they are all the same."""
        shape, dtype = output.shape[:-1], output.dtype
        if mask is not None or weight is not None:
            return self._loss.row_weights(shape, dtype, weight, mask) * self._loss_weight
        factors = self._factors.get((shape, dtype))
        if factors is None:
            if len(self._factors) > 64:  # ragged batches have many shapes
                self._factors = {}
            factors = self._loss.row_weights(shape, dtype) * self._loss_weight
            self._factors[shape, dtype] = factors
        return factors

    def _train_step(self, batch, shield):
        x, mask, target, weight = batch
        self._store.zero_grad()
        loss, output, mask, backward = self._objective(x, mask, target, weight, training=True)
        backward()
        for parameter in self._regularized:
            parameter.regularizer.add_gradient(parameter.value, parameter.grad)
        if self._store.parameters:
            shield.update(self.optimizer.step)
        self._count(loss, target, output, mask, weight)

    def _test_step(self, batch):
        x, mask, target, weight = batch
        loss, output, mask, _ = self._objective(x, mask, target, weight, training=False)
        self._count(loss, target, output, mask, weight)

    def _count(self, loss, target, output, mask, weight):
        host = engines.current().to_host(output)
        self._scores.update(loss, len(target), target, host, mask, weight)

    def _prepare(self):
        """Bring all trainable parameters into one buffer, and the optimizer to it."""
        parameters = self.trainable_parameters
        self._regularized = [p for p in parameters if p.regularizer is not None]
        # A layer that another model trains as well has its parameters in that model's buffer.
        if (
            self._store is None
            or [id(p) for p in parameters] != [id(p) for p in self._store.parameters]
            or any(p.value is not v for p, v in zip(parameters, self._views, strict=True))
        ):
            store = ParameterStore(parameters)
            self.optimizer.bind(store)
            self._store, self._views = store, [p.value for p in parameters]

    # -- fit -------------------------------------------------------------------------------------

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
            sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
            validation_batch_size=None, validation_freq=1):
        """Train the model.

        Parameters
        ----------
        x : array (N, ...), or a list of N sequences of different lengths
            Ids (N, T) for a model that starts with an Embedding, else floats (N, T, D) or (N, D).
            Sequences (L,) or (L, D) need no padding; batches are made of similar lengths.
        y : array
            Labels, as the loss takes them.
        batch_size : int, default 32
        epochs : int, default 1
            The number of the last epoch.
        verbose : {"auto", 0, 1, 2}
            0: nothing is printed; 1, "auto": a progress bar; 2: a line for each epoch.
        callbacks : list of Callback, optional
        validation_split : float in [0, 1), default 0
            The last so many of the rows are kept for validation.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch.
        shuffle : bool, default True
            Take the rows in a new order in each epoch.
        class_weight : dict of int to float, optional
            A weight for the rows of each class; 1 for those not named.
        sample_weight : array (N,) or (N, T), optional
        initial_epoch : int, default 0
            The number of the first epoch.
        steps_per_epoch : int, optional
            So many batches are an epoch; the next goes on where it ended.
        validation_steps : int, optional
            Evaluate so many batches only.
        validation_batch_size : int, optional
            Default: ``batch_size``.
        validation_freq : int or list of int, default 1
            Validate every so many epochs, or after these, the first being 1.

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
        data, validation = self._data(x, y, sample_weight), None
        self.check_input(data.rows.values)  # all of it now, not in the middle of an epoch
        if validation_data is not None:
            validation = self._data(*_unpacked(validation_data))
            self.check_input(validation.rows.values)
        elif validation_split:
            data, validation = split(data, validation_split)
        data = self._by_class(data, class_weight)
        rows = len(data.rows)
        steps = _positive("steps_per_epoch", steps_per_epoch, -(-rows // batch_size))
        self._prepare()
        self.stop_training = False
        callbacks, history = _with_history(callbacks)
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=epochs, steps=steps)
        self.history = history
        batches = self._training_batches(data.rows, batch_size, shuffle)
        logs = {}
        with Shield() as shield:
            hooks("on_train_begin")
            for epoch in range(initial_epoch, epochs):
                if level(verbose) and epochs > 1:
                    print(f"Epoch {epoch + 1}/{epochs}")
                hooks("on_epoch_begin", epoch)
                progress = Progress(steps, verbose)
                try:
                    done = self._train_epoch(
                        data, itertools.islice(batches, steps), hooks, progress, shield
                    )
                    logs = self._scores.results()
                    if validation is not None and _due(epoch + 1, validation_freq):
                        own = self._scores_of(
                            validation, validation_batch_size or batch_size, validation_steps, hooks
                        )
                        logs |= {f"val_{name}": value for name, value in own.items()}
                    logs = dict(sorted(logs.items()))
                    progress.finish(done, logs)
                finally:
                    progress.close()
                hooks("on_epoch_end", epoch, logs)
                if self.stop_training:
                    break
            self.optimizer.finalize_variable_values()
            hooks("on_train_end", logs)
        return history

    def _training_batches(self, rows, batch_size, shuffle):
        """The rows of each batch, epoch after epoch."""
        generator = random.generator(random.draw_seed()) if shuffle else None
        while True:
            order = rows.shuffled(batch_size, generator) if shuffle else None
            yield from batches_of(rows, batch_size, order)

    def _train_epoch(self, data, batches, hooks, progress, shield):
        """All steps of an epoch; returns how many there were."""
        begin, end = hooks.wants("on_train_batch_begin"), hooks.wants("on_train_batch_end")
        scores, done = self._scores, 0
        scores.reset()
        for index in batches:
            if begin:
                hooks("on_train_batch_begin", done)
            self._train_step(data.batch(index), shield)
            if end:
                hooks("on_train_batch_end", done, scores.results())
            done += 1
            progress.update(done, scores.results)
            if self.stop_training:
                break
        return done

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
        data = self._data(x, y, sample_weight)
        batch_size = _positive("batch_size", batch_size, BATCH_SIZE)
        total = _positive("steps", steps, -(-len(data.rows) // batch_size))
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
        self._regularized = [p for p in self.trainable_parameters if p.regularizer is not None]
        begin, end = hooks.wants("on_test_batch_begin"), hooks.wants("on_test_batch_end")
        scores = self._scores
        scores.reset()
        hooks("on_test_begin")
        # Rows that are all evaluated may come in the order that costs least.
        order = data.rows.sorted() if steps is None else None
        together = 1
        if steps is None and not (begin or end) and self._rows_count_alike(data):
            together = batches_together(batch_size, data.rows.shape)
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

    def _rows_count_alike(self, data):
        """Whether a mean over batches, weighted by their rows, is the mean over all rows."""
        # Not where a mask reaches the loss: a batch then counts its steps.
        has_steps = len(self.compute_output_shape(data.rows.shape)) > 2
        return not has_steps and self._loss.reduction in ("sum_over_batch_size", "mean")

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
        array (N, ...), or a list of arrays where the last layer gives several
            Of sequences of different lengths the outputs of steps are zero behind their ends.
        """
        rows = self._rows(x)
        batch_size = _positive("batch_size", batch_size, BATCH_SIZE)
        steps = _positive("steps", steps, -(-len(rows) // batch_size))
        rows = rows.part(0, min(len(rows), steps * batch_size))
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=1, steps=steps)
        progress = Progress(steps, verbose)
        outputs = Outputs(len(rows), self.compute_output_shape(rows.shape))
        hooks("on_predict_begin")
        watched = hooks.wants("on_predict_batch_begin") or hooks.wants("on_predict_batch_end")
        together = 1 if watched else batches_together(batch_size, rows.shape)
        try:
            with engines.without_tapes():
                passes = batches_of(rows, together * batch_size, rows.sorted())
                for done, index in enumerate(passes):
                    hooks("on_predict_batch_begin", done)
                    x_batch, mask = rows.batch(index)
                    batch = cut_off(self._to_host(self.run(x_batch, mask)[0]), mask)
                    outputs.put(index, batch)
                    hooks("on_predict_batch_end", done, {"outputs": batch})
                    progress.update(min((done + 1) * together, steps), dict)
            progress.finish(steps, {})
        finally:
            progress.close()
        hooks("on_predict_end")
        return outputs.value

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
        rows = self._rows(x)
        return self._to_host(self.run(*rows.batch(slice(None)))[0])

    def __call__(self, x, mask=None, training=False):
        """The model's output for arrays, or lists of sequences, as one batch."""
        x, own = self._rows(x).batch(slice(None))
        mask = own if mask is None else StepMask.of(mask)
        return self._to_host(self.run(x, mask, training)[0])


# -- what the methods share ------------------------------------------------------------------------

# Rows and steps that go through the layers in one pass where nobody asks for single batches: what
# is done once a pass, as projecting the table of an Embedding, is then done for many rows.
PASS_ROWS, PASS_STEPS = 1024, 1 << 19


def cut_off(output, mask):
    """The outputs with zeros behind the ends of sequences, which ``mask`` knows (None: no ends)."""
    if isinstance(output, list):
        return [cut_off(part, mask) for part in output]
    if mask is None or output.ndim < 3 or output.shape[:2] != mask.shape:
        return output
    return output * np.asarray(mask)[..., None]


def batches_together(batch_size, shape):
    """How many batches of rows of this shape make one pass; rows do not depend on one another."""
    steps = shape[1] if len(shape) > 1 and shape[1] else 512
    return max(1, min(PASS_ROWS, PASS_STEPS // steps) // batch_size)


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


def _due(epoch, frequency):
    """Whether to validate after the epoch of that number, the first being 1."""
    if isinstance(frequency, int):
        return epoch % frequency == 0
    return epoch in frequency


def _positive(name, value, default):
    if value is None:
        return default
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(f"{name}: expected a whole number from 1 on; got {value!r}.")
    return int(value)


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
