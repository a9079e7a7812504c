"""Callbacks: what ``fit``, ``evaluate`` and ``predict`` call while they work.

A callback overrides the hooks that it needs; ``self.model`` and ``self.params`` are there from the
start.  ``logs`` is a dict of floats.  Hooks that nobody overrides cost nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import warnings

import numpy as np

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
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

    Attributes
    ----------
    kept : tuple of str
        The attributes that make up its state, for `get_state`.
    runs_last : bool
        Whether it is called after all others, because it looks at what they did.
    """

    kept = ()
    runs_last = False

    def __init__(self):
        self.model = None
        self.params = None

    def set_params(self, params):
        """Called with a dict: "verbose", "epochs", "steps"."""
        self.params = params

    def set_model(self, model):
        """Called with the model."""
        self.model = model

    def get_state(self):
        """What the callback goes on from, for `set_state`: a dict.

        `BackupAndRestore` keeps it, so it holds numbers, strings, None, arrays, and lists and
        dicts of them.
        """
        return {name: getattr(self, name) for name in self.kept}

    def set_state(self, state):
        """Go on from what `get_state` gave, in another run; called after ``on_train_begin``."""
        vars(self).update(state)

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
        self.callbacks = sorted(callbacks, key=lambda callback: callback.runs_last)
        self._hooks = {}
        for callback in self.callbacks:
            for name in _own_hooks(callback):
                self._hooks.setdefault(name, []).append(getattr(callback, name))

    def wants(self, name):
        """Whether some callback has a hook of that name."""
        return name in self._hooks

    def __call__(self, name, *args):
        for hook in self._hooks.get(name, ()):
            hook(*args)


def _own_hooks(callback):
    """The names of the hooks that a callback overrides, be it under their other name."""
    own = {name for name in HOOKS if _overrides(callback, name)}
    return [name for name in HOOKS if name in own or OTHER_NAME.get(name) in own]


def _overrides(callback, name):
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

    kept = "history", "epoch"

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
        ``schedule(epoch, learning_rate)`` gives the rate; so may ``schedule(epoch)``.
    verbose : {0, 1}, default 0

    Raises
    ------
    ValueError
        If the schedule gives something that is no number.
    """

    def __init__(self, schedule, verbose=0):
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        given = (epoch, optimizer.learning_rate)
        rate = self.schedule(*given) if _takes(self.schedule, *given) else self.schedule(epoch)
        if not isinstance(rate, (int, float, np.number)):
            raise ValueError(
                f"LearningRateScheduler: expected the schedule to give a number; got {rate!r}."
            )
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {optimizer.learning_rate}.")

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes(function, *arguments):
    """Whether a function can be called with these; True where it does not say."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a function without a signature
        pass
    return True


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

    kept = "wait", "stopped_epoch", "best", "best_epoch", "best_weights"

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

    kept = "best", "wait", "cooldown_counter"

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
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
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


class BatchCount:
    """Says when so many batches have been trained since the last time.

    Parameters
    ----------
    callback : str
        Its name, for messages.
    save_freq : "epoch" or int
    """

    def __init__(self, callback, save_freq):
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
        if save_freq != "epoch" and not whole:
            raise ValueError(
                f"{callback}: save_freq: expected 'epoch' or a number of batches from 1 on; "
                f"got {save_freq!r}."
            )
        self.every = None if save_freq == "epoch" else save_freq
        self.seen = 0

    def due(self):
        """Count one more batch; whether it is the one."""
        if self.every is None:
            return False
        self.seen = (self.seen + 1) % self.every
        return self.seen == 0


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, while it is trained.

    Parameters
    ----------
    filepath : str or path
        May have fields in braces, filled with the number of the epoch (the first being 1), the
        figures of the logs and, with a number for ``save_freq``, that of the batch:
        ``"{epoch:02d}-{val_loss:.2f}.keras"``.  The name's end says which kind of file it is: see
        `fastrnn.saving`.  Folders are made as needed.
    monitor : str, default "val_loss"
    verbose : {0, 1}, default 0
    save_best_only : bool, default False
        Save only when the figure is better than it ever was.
    save_weights_only : bool, default False
        ``model.save_weights`` in place of ``model.save``.
    mode : {"auto", "min", "max"}
    save_freq : "epoch" or int, default "epoch"
        Save after each epoch, or after every so many batches.
    initial_value_threshold : float, optional
        What the figure must be better than at first.

    Raises
    ------
    ValueError
        For a ``save_freq`` that cannot be.
    KeyError
        If the path has a field that the logs do not have.

    Examples
    --------
    >>> checkpoint = ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True)
    """

    def __init__(self, filepath, monitor="val_loss", verbose=0, save_best_only=False,
                 save_weights_only=False, mode="auto", save_freq="epoch",
                 initial_value_threshold=None):
        super().__init__(monitor, mode, 0)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._epoch = 0
        self._batches = BatchCount("ModelCheckpoint", save_freq)

    def get_state(self):
        return {"best": self.best, "seen": self._batches.seen}

    def set_state(self, state):
        self.best, self._batches.seen = state["best"], state["seen"]

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self._batches.due():
            self._save({"batch": batch + 1} | logs)

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save(logs)

    def _save(self, logs):
        path = self._path(logs)
        if self.save_best_only and not self._improved(logs):
            return
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        self._say(f"saved to {path}.")

    def _path(self, logs):
        try:
            return self.filepath.format(**{"epoch": self._epoch + 1} | logs)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: filepath {self.filepath!r} has the field {error}; there are: "
                f"epoch, {', '.join(logs)}."
            ) from None

    def _improved(self, logs):
        """Whether the figure is the best so far; where there is none, it counts as one."""
        value = self.watched(logs)
        if value is None:
            return True
        if not self.better(value, self.best):
            self._say(f"{self.monitor} is {value:.5f}, no better than {self.best:.5f}.")
            return False
        before = "" if self.best is None else f" from {self.best:.5f}"
        self._say(f"{self.monitor} improved{before} to {value:.5f}.")
        self.best = value
        return True

    def _say(self, text):
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: {text}")


class BackupAndRestore(Callback):
    """Takes up a ``fit`` that was interrupted, where it was interrupted.

    While the model is trained its state is written to a folder, again and again, each time all at
    once.  When the same script runs again, whatever ended it, ``fit`` goes on from the last state:
    in the end the weights are, bit for bit, those of a run without interruption.  So are the
    history and what other callbacks know (see `Callback.get_state`).

    The model, the data and the arguments of ``fit`` must be those of the interrupted run;
    ``epochs`` may be more.

    Parameters
    ----------
    backup_dir : str or path
        A folder for this run alone; made if need be.
    save_freq : "epoch" or int, default "epoch"
        Write after each epoch, or after every so many batches, wherever they fall in an epoch.
    double_checkpoint : bool, default False
        Keep the state before the last as well, for when the last cannot be read.
    delete_checkpoint : bool, default True
        Delete the states when training has come to its end.

    Raises
    ------
    ValueError
        When training begins: if the states in the folder cannot be read, or are of another model
        or other data.  The model is as it was.

    Examples
    --------
    >>> import tempfile
    >>> import fastrnn
    >>> model = fastrnn.Sequential([fastrnn.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = model.fit([[1.0], [2.0]], [[2.0], [4.0]], epochs=2, verbose=0,
    ...                         callbacks=[BackupAndRestore(folder + "/backup")])
    """

    runs_last = True  # it keeps what the others have just done

    def __init__(self, backup_dir, save_freq="epoch", double_checkpoint=False,
                 delete_checkpoint=True):
        super().__init__()
        if not backup_dir:
            raise ValueError("BackupAndRestore: backup_dir: expected a folder; got none.")
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = BatchCount("BackupAndRestore", save_freq)
        self._paths = [
            os.path.join(self.backup_dir, name) for name in ("latest.state", "previous.state")
        ]
        self._begun = None

    def get_state(self):
        return {"seen": self._batches.seen}

    def set_state(self, state):
        self._batches.seen = state["seen"]

    def on_train_begin(self, logs=None):
        state = self._read()
        self._begun = None
        if state is None:
            # Weights of a first epoch that is broken off are no place to start from.
            self._batches.seen = 0
            self._write()
            return
        try:
            self.model.current_fit.load_state(state)
        except ValueError as error:
            raise ValueError(
                f"BackupAndRestore: the state in {self.backup_dir} does not fit: {error} Delete "
                "the folder to begin anew."
            ) from error
        if state["step"]:
            self._begun = state

    def on_epoch_begin(self, epoch, logs=None):
        if self._begun is not None:
            # The epoch had begun before: what callbacks do then is done already.
            self.model.current_fit.load_state(self._begun)
            self._begun = None

    def on_train_batch_end(self, batch, logs=None):
        if self._batches.due():
            self._write()

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._write()

    def on_train_end(self, logs=None):
        if self.delete_checkpoint:
            for path in self._paths:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            with contextlib.suppress(OSError):  # somebody else's files are in it
                os.rmdir(self.backup_dir)

    def _write(self):
        from fastrnn import backup

        os.makedirs(self.backup_dir, exist_ok=True)
        latest, previous = self._paths
        if self.double_checkpoint and os.path.exists(latest):
            os.replace(latest, previous)
        backup.write(latest, self.model.current_fit.state())

    def _read(self):
        """The last state that can be read; None if there is none at all."""
        from fastrnn import backup

        errors = []
        for path in self._paths:
            try:
                return backup.read(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                warnings.warn(f"BackupAndRestore: {error}", stacklevel=4)
                errors.append(str(error))
        if errors:
            raise ValueError(
                f"BackupAndRestore: no state in {self.backup_dir} can be read: {' '.join(errors)} "
                "Delete the folder to begin anew."
            )
        return None


class CSVLogger(Callback):
    """Writes the figures of each epoch into a CSV file.

    Parameters
    ----------
    filename : str or path
    separator : str, default ","
    append : bool, default False
        Add to the file, instead of starting it anew.
    """

    kept = "names", "size"

    def __init__(self, filename, separator=",", append=False):
        super().__init__()
        self.filename = filename
        self.separator = separator
        self.append = append
        self.names = None
        self.size = None  # of the file, after the last epoch of this run

    def on_train_begin(self, logs=None):
        self.names = self.size = None

    def on_epoch_end(self, epoch, logs=None):
        import csv

        new = self.size is None and not self.append
        with open(self.filename, "w" if new else "a+", newline="") as file:
            if self.size is not None and self.size < file.tell():
                file.truncate(self.size)  # lines of epochs that are run again
                file.seek(self.size)
            writer = csv.writer(file, delimiter=self.separator)
            if self.names is None:
                self.names = sorted(logs)
                if not any(name.startswith("val_") for name in self.names):
                    # Validation may come in a later epoch only (validation_freq).
                    self.names += [f"val_{name}" for name in self.names]
                if file.tell() == 0:
                    writer.writerow(["epoch", *self.names])
            writer.writerow([epoch, *(_cell(logs.get(name, "NA")) for name in self.names)])
            self.size = file.tell()


def _cell(value):
    """A figure as it stands in a table; several of them as Keras writes them."""
    return f'"[{", ".join(map(str, value))}]"' if isinstance(value, np.ndarray) else value
