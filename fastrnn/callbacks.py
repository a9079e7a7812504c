"""Callbacks: what ``fit``, ``evaluate`` and ``predict`` call while they work.

A callback overrides the hooks that it needs; ``self.model`` and ``self.params`` are there from the
start.  ``logs`` is a dict of floats.  Hooks that nobody overrides cost nothing.
"""

from __future__ import annotations

import math
import warnings

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]


class Callback:
    """What every callback has: a hook for each moment, which does nothing.

    Examples
    --------
    >>> class Announce(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(f"epoch {epoch}: loss {logs['loss']:.2f}")
    """

    def __init__(self):
        self.model = None
        self.params = None

    def set_params(self, params):
        """Called with a dict: "verbose", "epochs", "steps"."""
        self.params = params

    def set_model(self, model):
        """Called with the model."""
        self.model = model

    def on_train_begin(self, logs=None):
        """Before the first epoch."""

    def on_train_end(self, logs=None):
        """After the last epoch; not if training was broken off by an error."""

    def on_epoch_begin(self, epoch, logs=None):
        """Before an epoch; the first is 0."""

    def on_epoch_end(self, epoch, logs=None):
        """After an epoch and its validation; what is added to ``logs`` goes into the history."""

    def on_batch_begin(self, batch, logs=None):
        """Another name of `on_train_batch_begin`."""

    def on_batch_end(self, batch, logs=None):
        """Another name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch, logs=None):
        """Before a training step; the first of an epoch is 0."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        """After a training step; ``logs`` are the means over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs=None):
        """Before ``evaluate``, or validation."""

    def on_test_end(self, logs=None):
        """After ``evaluate``, or validation."""

    def on_test_batch_begin(self, batch, logs=None):
        """Before a step of ``evaluate``."""

    def on_test_batch_end(self, batch, logs=None):
        """After a step of ``evaluate``."""

    def on_predict_begin(self, logs=None):
        """Before ``predict``."""

    def on_predict_end(self, logs=None):
        """After ``predict``."""

    def on_predict_batch_begin(self, batch, logs=None):
        """Before a step of ``predict``."""

    def on_predict_batch_end(self, batch, logs=None):
        """After a step of ``predict``; ``logs["outputs"]`` is what it gave."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
# A batch hook that is overridden under its other name.
OTHER_NAME = {
    "on_train_batch_begin": "on_batch_begin",
    "on_train_batch_end": "on_batch_end",
}


class CallbackList:
    """Several callbacks as one: ``callbacks("on_epoch_end", epoch, logs)`` calls each.

    Parameters
    ----------
    callbacks : Callback, list of Callback or None
    model : Model
    params : dict
    """

    def __init__(self, callbacks=None, model=None, **params):
        if callbacks is None:
            callbacks = []
        elif not isinstance(callbacks, (list, tuple)):
            callbacks = [callbacks]
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks: expected callbacks of fastrnn.callbacks; got {callback!r}."
                )
            callback.set_params(params)
            callback.set_model(model)
        self.callbacks = list(callbacks)
        self._hooks = {name: self._overridden(name) for name in HOOKS}

    def _overridden(self, name):
        names = (name, OTHER_NAME.get(name, name))
        return [
            getattr(c, name) for c in self.callbacks if any(_own_method(c, n) for n in names)
        ]

    def wants(self, name):
        """Whether some callback has a hook of that name."""
        return bool(self._hooks[name])

    def __call__(self, name, *args):
        for hook in self._hooks[name]:
            hook(*args)


def _own_method(callback, name):
    method = getattr(callback, name)
    return getattr(method, "__func__", method) is not getattr(Callback, name)


class History(Callback):
    """The figures of each epoch; ``fit`` returns one.

    Attributes
    ----------
    history : dict of lists of float
        "loss" and the metrics, and the same with "val_" before.
    epoch : list of int
    params : dict
    """

    def __init__(self):
        super().__init__()
        self.history = {}
        self.epoch = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end, on_train_batch_begin, ... : callable, optional
        Any of the hooks, by name.

    Examples
    --------
    >>> losses = []
    >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))
    """

    def __init__(self, **hooks):
        super().__init__()
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback: there is no hook {name!r}; there are {HOOKS}.")
            if function is not None:
                setattr(self, name, function)


class TerminateOnNaN(Callback):
    """Ends training when the loss is no longer a finite number.

    Parameters
    ----------
    raise_error : bool, default False
        Raise RuntimeError, instead of ending the training as usual.
    """

    def __init__(self, raise_error=False):
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        message = f"The loss is {logs['loss']} after batch {batch}: training ends."
        if self.raise_error:
            raise RuntimeError(message)
        print(message)
        self.model.stop_training = True


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate)`` gives the rate.
    verbose : {0, 1}, default 0
    """

    def __init__(self, schedule, verbose=0):
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.schedule(epoch, optimizer.learning_rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {optimizer.learning_rate}.")

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self.model.optimizer.learning_rate


class MonitorCallback(Callback):
    """Watches one figure of the logs.

    Parameters
    ----------
    monitor : str
    mode : {"auto", "min", "max"}
        Whether less or more is better; "auto" asks the metric of that name.
    min_delta : float
        The least change that counts.
    """

    def __init__(self, monitor, mode, min_delta):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"{type(self).__name__}: mode must be 'auto', 'min' or 'max'; got {mode!r}."
            )
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)

    def better(self, value, than):
        """Whether ``value`` improves on ``than``, which may be None."""
        if than is None:
            return True
        if self._upwards():
            return value - self.min_delta > than
        return value + self.min_delta < than

    def _upwards(self):
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        directions = {m.name: m.direction for m in self.model.metrics} | {"loss": "down"}
        if directions.get(name) is None:
            raise ValueError(
                f"{type(self).__name__}: whether more or less of '{self.monitor}' is better is "
                "not known; say mode='max' or mode='min'."
            )
        return directions[name] == "up"

    def watched(self, logs):
        """The figure, or None, with a warning, if the logs do not have it."""
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__}: there is no '{self.monitor}' to watch; there are: "
                f"{', '.join(logs)}.", stacklevel=3,
            )
        return logs.get(self.monitor)


class EarlyStopping(MonitorCallback):
    """Ends training when a figure no longer improves.

    Parameters
    ----------
    monitor : str, default "val_loss"
    min_delta : float, default 0
        The least change that counts as an improvement.
    patience : int, default 0
        So many epochs without improvement are let pass.
    verbose : {0, 1}, default 0
    mode : {"auto", "min", "max"}
    baseline : float, optional
        Until the figure is better than this, no improvement counts.
    restore_best_weights : bool, default False
        At the end, go back to the weights of the best epoch.
    start_from_epoch : int, default 0
        Epochs before this one are not watched.
    """

    def __init__(self, monitor="val_loss", min_delta=0, patience=0, verbose=0, mode="auto",
                 baseline=None, restore_best_weights=False, start_from_epoch=0):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs=None):
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights = None

    def on_epoch_end(self, epoch, logs=None):
        value = self.watched(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping.")
        if self.best_weights is not None:
            if self.verbose:
                print(f"The weights are those of epoch {self.best_epoch + 1}, the best.")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a figure no longer improves.

    Parameters
    ----------
    monitor : str, default "val_loss"
    factor : float below 1, default 0.1
        What the rate is multiplied by.
    patience : int, default 10
        So many epochs without improvement are let pass.
    verbose : {0, 1}, default 0
    mode : {"auto", "min", "max"}
    min_delta : float, default 1e-4
        The least change that counts as an improvement.
    cooldown : int, default 0
        For so many epochs after a change none is counted.
    min_lr : float, default 0
    """

    def __init__(self, monitor="val_loss", factor=0.1, patience=10, verbose=0, mode="auto",
                 min_delta=1e-4, cooldown=0, min_lr=0.0):
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must lie between 0 and 1; got {factor!r}.")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.on_train_begin()

    def on_train_begin(self, logs=None):
        self.best = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = self.model.optimizer.learning_rate
        value = self.watched(logs)
        if value is None:
            return
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(value, self.best):
            self.best = value
            self.wait = 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch):
        optimizer = self.model.optimizer
        if optimizer.learning_rate <= self.min_lr:
            return
        optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is now {optimizer.learning_rate}.")


class CSVLogger(Callback):
    """Writes the figures of each epoch into a CSV file.

    Parameters
    ----------
    filename : str or path
    separator : str, default ","
    append : bool, default False
        Add to the file, instead of starting it anew.
    """

    def __init__(self, filename, separator=",", append=False):
        super().__init__()
        self.filename = filename
        self.separator = separator
        self.append = append
        self.file = None
        self.names = None

    def on_train_begin(self, logs=None):
        self.on_train_end()  # a run before may have broken off
        self.file = open(self.filename, "a" if self.append else "w", newline="")
        self.names = None

    def on_epoch_end(self, epoch, logs=None):
        import csv

        writer = csv.writer(self.file, delimiter=self.separator)
        if self.names is None:
            self.names = sorted(logs)
            if not any(name.startswith("val_") for name in self.names):
                # Validation may come in a later epoch only (validation_freq).
                self.names += [f"val_{name}" for name in self.names]
            if self.file.tell() == 0:
                writer.writerow(["epoch", *self.names])
        writer.writerow([epoch, *(logs.get(name, "NA") for name in self.names)])
        self.file.flush()

    def on_train_end(self, logs=None):
        if self.file is not None:
            self.file.close()
            self.file = None
