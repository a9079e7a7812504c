"""The loop: epoch -> batch -> step -> update."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from typing import Any, NamedTuple

from fastrnn.adapters import split
from fastrnn.callbacks import CallbackList, History
from fastrnn.checks import whole
from fastrnn.interrupts import Shield
from fastrnn.progress import Progress, level
from fastrnn.sources import Streamed, is_source, no_batches, warn_of_end
from fastrnn.training.evaluating import Evaluator, as_keras
from fastrnn.training.passes import (
    check_batches_alike,
    positive,
    reached,
    size_of_batches,
    steps_of_epoch,
)
from fastrnn.training.run import Batches, Run
from fastrnn.truncation import Truncation

__all__ = ["Trainer"]


class Validation(NamedTuple):
    """What is evaluated after epochs, and after which.

    Attributes
    ----------
    batch_size : int or None
        None until the data are there: see `size_of_batches`.
    steps : int or None
        So many batches; None: all.
    frequency : int or collection of int
        After every so many epochs, or after these, the first being 1.
    data : `Data`, `Streamed` or None
    """

    batch_size: int | None
    steps: int | None
    frequency: Any
    data: Any = None

    def on(self, data, epochs):
        """The same of these data, in a fit of these ``epochs``."""
        if data is None:
            return self
        if isinstance(data, Streamed):
            found = self._replace(data=data, steps=data.steps(self.steps))
            if found.steps is None and data.source.once and sum(map(found.due, epochs)) > 1:
                raise ValueError(
                    "validation_steps: expected a number of batches, as a "
                    f"{type(data.source.x).__name__} can be read once, and is to validate after "
                    "several epochs; give validation_steps=..., or collect its batches into arrays "
                    "(np.concatenate)."
                )
            return found
        batch_size = size_of_batches(self.batch_size, len(data.rows), self.steps)
        return self._replace(data=data, batch_size=batch_size)

    @property
    def sizes(self):
        """What `check_batches_alike` asks for."""
        if self.data is None or isinstance(self.data, Streamed):
            return []
        return [(reached(len(self.data.rows), self.batch_size, self.steps), self.batch_size)]

    def due(self, epoch):
        """Whether to validate after the epoch of that number."""
        if self.data is None:
            return False
        often = self.frequency
        return epoch % often == 0 if whole(often) else epoch in often


class Trainer(Evaluator):
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
            A last axis of 1 may be missing or too much, as in Keras: (N, T) for (N, T, 1).
            For several inputs a list of such, or a dict by their names, which may hold more.
            A generator, an object with ``__len__`` and ``__getitem__``, as Keras's PyDataset, and
            a loader give batches: (x, y) or (x, y, sample_weight).  A generator that ends trains
            one epoch, or as many as ``steps_per_epoch`` cuts it into.
        y : array
            Labels, as the loss takes them.  For several outputs a list of such, or a dict.  Those
            of steps may be a list of sequences of different lengths, as x is.
        batch_size : int, default 32
            With ``steps_per_epoch`` alone so many rows that these are all.
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
            Default: ``batch_size``, if it is given; with ``validation_steps`` alone so many rows
            that these are all.
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
        batch_size = positive("batch_size", batch_size, None)
        validation = Validation(
            positive("validation_batch_size", validation_batch_size, batch_size),
            positive("validation_steps", validation_steps, None), _frequency(validation_freq),
        )
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if not whole(value, least=0):
                raise ValueError(f"{name}: expected a whole number from 0 on; got {value!r}.")
        data = self._training_data(x, y, sample_weight, class_weight, shuffle, validation_split)
        held_out = self._validation_data(validation_data)
        if validation_data is None and validation_split:
            data, held_out = split(data, validation_split)
        if isinstance(data, Streamed):
            given = positive("steps_per_epoch", steps_per_epoch, None)
            steps = data.steps(given)
            batches, shape, sizes = data.source, self.input_shape, []
        else:
            data = self._by_class(data, class_weight)
            rows, shape = len(data.rows), data.rows.shape
            batch_size = size_of_batches(
                batch_size, rows, positive("steps_per_epoch", steps_per_epoch, None)
            )
            steps = steps_of_epoch(steps_per_epoch, rows, batch_size)
            batches = Batches(data.rows, batch_size, shuffle)
            sizes = [(reached(rows, batch_size, steps * (epochs - initial_epoch)), batch_size)]
        validation = validation.on(held_out, range(initial_epoch + 1, epochs + 1))
        check_batches_alike(self, sizes + (validation.sizes if epochs > initial_epoch else []))
        truncation = None if truncate is None else Truncation(self, truncate, shape)
        self._prepare()
        self.stop_training = False
        callbacks, history = _with_history(callbacks)
        self.history = history
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=epochs, steps=steps)
        run = Run(self, batches, steps, initial_epoch, hooks)
        with self._on(run), Shield() as shield:
            hooks("on_train_begin")
            step = self._step_function(data, truncation, shield)
            logs = self._train_epochs(run, epochs, step, validation, verbose)
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

    def _train_epochs(self, run, epochs, step, validation, verbose):
        """Train until so many epochs are done, or somebody says stop; returns the last one's logs.

        ``step`` trains on the next of the run's batches.
        """
        hooks, batches, logs, steps = run.hooks, run.batches, {}, run.steps
        # An epoch that was begun when training was interrupted is brought to its end.
        while (epoch := run.epoch) < epochs and (run.step or not self.stop_training):
            if level(verbose) and epochs > 1:
                print(f"Epoch {epoch + 1}/{epochs}")
            hooks("on_epoch_begin", epoch)
            batches.tell("on_epoch_begin")
            with contextlib.closing(Progress(steps, verbose)) as progress:
                done = self._train_epoch(run, step, progress)
                steps = steps or done
                if batches.exhausted or not done:
                    self._end_of_data(run, done, epochs)
                    if not done:
                        break
                logs = self._scores.results()
                if validation.due(epoch + 1):
                    logs |= self._validated(validation, hooks)
                logs = dict(sorted(logs.items()))
                progress.finish(done, logs)
            run.epoch, run.step = epoch + 1, 0
            batches.tell("on_epoch_end")
            hooks("on_epoch_end", epoch, logs)
        return logs

    def _end_of_data(self, run, done, epochs):
        """Stop training where there are fewer batches than were asked for, with a warning."""
        if run.steps is None and not done:
            raise no_batches()
        if run.steps is None and run.epoch + 1 < epochs:
            warnings.warn(
                f"x: its batches are at an end after epoch {run.epoch + 1} of {epochs}, and "
                "training with them. A generator can be read once: give steps_per_epoch, or what "
                "can be read again, such as a PyDataset.", stacklevel=4,
            )
            self.stop_training = True
        elif run.steps is not None:
            warn_of_end(done, run.steps)
            self.stop_training = True

    def _validated(self, validation, hooks):
        """The scores on validation data, with ``val_`` before their names."""
        results = self._scores_of(validation.data, validation.batch_size, validation.steps, hooks)
        return {f"val_{name}": value for name, value in results.items()}

    def _train_epoch(self, run, step, progress):
        """All steps of an epoch that are left; returns how many it had."""
        hooks, scores = run.hooks, self._scores
        begin, end = hooks.wants("on_train_batch_begin"), hooks.wants("on_train_batch_end")
        if not run.step:
            scores.reset()
        # An epoch that is taken up again may have been over but for its end.
        is_over = run.step and (self.stop_training or run.batches.at_end)
        left = run.steps and run.steps - run.step  # None: all there are
        for index in itertools.islice(run.batches, 0 if is_over else left):
            if begin:
                hooks("on_train_batch_begin", run.step)
            step(index)
            run.step += 1
            if end:
                hooks("on_train_batch_end", run.step - 1, scores.results())
            progress.update(run.step, scores.results)
            if self.stop_training or run.batches.at_end:
                break
        return run.step

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
        return as_keras(self._scores.results(), return_dict)


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


def _frequency(given):
    """What was given as ``validation_freq``, checked."""
    several = isinstance(given, (list, tuple, set, range))
    if not all(map(whole, given if several else [given])):
        raise ValueError(
            "validation_freq: expected a whole number from 1 on, or a list of them; got "
            f"{given!r}."
        )
    return given
