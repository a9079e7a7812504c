"""What a model says of data: its scores, its outputs."""

from __future__ import annotations

import itertools

import numpy as np

from fastrnn import engines
from fastrnn.adapters import Outputs, batches_of
from fastrnn.callbacks import CallbackList
from fastrnn.graph import flatten, is_symbolic
from fastrnn.masks import StepMask
from fastrnn.progress import Progress, level
from fastrnn.sources import JoinedOutputs, Streamed, is_source
from fastrnn.training.passes import (
    batches_together,
    check_batches_alike,
    positive,
    reached,
    size_of_batches,
)
from fastrnn.training.run import stateful_layers
from fastrnn.training.steps import Stepper

__all__ = ["Evaluator", "as_keras"]


class Evaluator(Stepper):
    """What a model does with data that it does not learn from."""

    # -- evaluate --------------------------------------------------------------------------------

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None,
                 steps=None, callbacks=None, return_dict=False):
        """The loss and the metrics on data.

        Parameters
        ----------
        x, y, sample_weight
            As for `fit`.
        batch_size : int, default 32
            With ``steps`` alone so many rows that these are all.
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
        batch_size = positive("batch_size", batch_size, None)
        steps = positive("steps", steps, None)
        if is_source(x):
            data = self._streamed("evaluate", x, y=y, sample_weight=sample_weight)
            total = steps = data.steps(steps)
        else:
            data = self._data(x, y, sample_weight)
            batch_size = size_of_batches(batch_size, len(data.rows), steps)
            total = steps or -(-len(data.rows) // batch_size)
            check_batches_alike(self, [(reached(len(data.rows), batch_size, steps), batch_size)])
        hooks = CallbackList(callbacks, self, verbose=level(verbose), epochs=1, steps=total)
        progress = Progress(total, verbose)
        try:
            results = self._scores_of(data, batch_size, steps, hooks, progress)
            progress.finish(total or progress.done, dict(sorted(results.items())))
        finally:
            progress.close()
        return as_keras(results, return_dict)

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
                    progress.update((done + 1) * together, scores.results)
        results = scores.results()
        hooks("on_test_end", results)
        return results

    def _passes(self, rows, batch_size, watched):
        """In which order all rows cost least, and how many batches go in one pass."""
        if stateful_layers(self) or not rows.go_together:  # row follows row from batch to batch
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
            With ``steps`` alone so many rows that these are all.
        verbose : {"auto", 0, 1, 2}
        steps : int, optional
            So many batches only.
        callbacks : list of Callback, optional

        Returns
        -------
        array (N, ...), or a list of arrays for several outputs (a dict, if the model's are one)
            Of sequences of different lengths the outputs of steps are zero behind their ends.
        """
        batch_size = positive("batch_size", batch_size, None)
        steps = positive("steps", steps, None)
        if is_source(x):
            data = self._streamed("predict", x)
            steps, take, outputs = data.steps(steps), data.rows, JoinedOutputs()
        else:
            rows = self._rows(x)
            batch_size = size_of_batches(batch_size, len(rows), steps)
            steps = steps or -(-len(rows) // batch_size)
            rows = rows.part(0, reached(len(rows), batch_size, steps))
            check_batches_alike(self, [(len(rows), batch_size)])
            take, shape = rows.batch, self.compute_output_shape(rows.shape)
            outputs = Outputs(len(rows), shape)
            if any(None in own for own in flatten(shape)):  # texts: their steps show later
                outputs = JoinedOutputs()
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
                    progress.update((done + 1) * together, dict)
            progress.finish(steps or progress.done, {})
        finally:
            progress.close()
        hooks("on_predict_end")
        return self.as_given(outputs.value)

    # -- single batches --------------------------------------------------------------------------

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """`evaluate` for these rows as one batch."""
        self._need("test_on_batch")
        data = self._data(x, y, sample_weight)
        results = self._scores_of(data, len(data.rows), None, CallbackList())
        return as_keras(results, return_dict)

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


def as_keras(results, return_dict):
    """A dict by name; else the loss alone, or a list."""
    if return_dict:
        return dict(sorted(results.items()))
    values = list(results.values())
    return values[0] if len(values) == 1 else values
