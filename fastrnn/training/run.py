"""Where a fit stands: the batches that come next, and all else that the rest of it depends on."""

from __future__ import annotations

from fastrnn import engines, random
from fastrnn.layers.recurrent import RNN
from fastrnn.names import unused

__all__ = ["Batches", "Run", "stateful_layers"]


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
            "states": [engines.current().to_host(layer.states) for layer in stateful_layers(model)],
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
        for layer, states in zip(stateful_layers(model), state["states"], strict=True):
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


def stateful_layers(layer):
    """The layers inside that keep states from batch to batch."""
    return [part for part in layer.walk() if isinstance(part, RNN) and part.stateful]
