"""A step: forward to the loss, backward into the gradients, and the update of the weights."""

from __future__ import annotations

import functools

import numpy as np

from fastrnn import engines
from fastrnn.adapters import ArrayRows
from fastrnn.parameters import ParameterStore
from fastrnn.sources import Streamed
from fastrnn.training.feeding import Fed
from fastrnn.training.scores import Sums

__all__ = ["Stepper"]


class Stepper(Fed):
    """What a model does with a batch."""

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
            output = outputs[i] = engines.dense(outputs[i])
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

    # -- of an epoch -----------------------------------------------------------------------------

    def _step_function(self, data, truncation, shield):
        """A function that trains on the next of the batches of ``data``."""
        if truncation is not None:
            return lambda index: self._train_pieces(data.batch(index), truncation, shield)
        if engines.current().runs_ahead and self._repeatable(data):
            return self._repeated_step(data, shield)
        return lambda index: self._train_step(data.batch(index), shield)

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
