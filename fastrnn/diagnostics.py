"""How gradients flow back through time, seen and watched.

A recurrent layer learns from what lies k steps back only if the gradient gets there.  At each step
back it is multiplied by the Jacobian of a step: where these products shrink it vanishes, where they
grow it explodes (Bengio et al., 1994; Pascanu et al., 2013).  `gradient_flow` shows
the norm of the gradient of the loss by the state after each step; `GradientMonitor` looks at it
while a model is trained, and says in words what is wrong and what to try.

The gradients are found by running every recurrent sweep once more, one step at a time, forward and
back, so they do not depend on what an engine keeps of its sweeps.

Letters: B rows in a batch, T steps, H units.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass, field

import numpy as np

from fastrnn import engines
from fastrnn.callbacks import Callback
from fastrnn.checks import whole
from fastrnn.initializers import Identity, Orthogonal
from fastrnn.layers import RNN, StackedRNNCells
from fastrnn.names import unused
from fastrnn.recompute import mask_of_steps

__all__ = ["GradientFlow", "GradientMonitor", "GradientWarning", "LayerFlow", "gradient_flow"]

# A gradient of less than this part of the largest is as good as none: `LayerFlow.reach`.
FAINT = 1e-3


class GradientWarning(UserWarning):
    """What `GradientMonitor` warns with."""


@dataclass
class LayerFlow:
    """The gradient of the loss by the states of one recurrent layer (or cell of a stack).

    Attributes
    ----------
    name : str
    kind : str
        The class of the layer or cell: "LSTM".
    rows : list of arrays of shape (B, T)
        For each array of the state (h, of an LSTM also c) its gradient's norm for each row and
        step; zero where the step does not count.
    counts : bool array of shape (B, T)
        Which steps count.
    go_backwards : bool
        The layer reads the steps from the last to the first; columns stay the input's steps.
    orthogonal : bool
        Its recurrent kernel started orthogonal, or as the identity.
    """

    name: str
    kind: str
    rows: list
    counts: np.ndarray
    go_backwards: bool = False
    orthogonal: bool = False

    @property
    def norms(self):
        """The norm of the gradient by h_t, all rows together, for each step t: array (T,)."""
        return self.state_norms[0]

    @property
    def state_norms(self):
        """`norms` for each array of the state."""
        return [np.linalg.norm(rows, axis=0) for rows in self.rows]

    @property
    def steps_back(self):
        """The norm k steps before the last one that counts, k = 0, 1, …: array (T,) or shorter.

        The root of the mean square over the rows that have so many steps.
        """
        squares, counts = np.square(self.rows[0]), self.counts
        if not self.go_backwards:
            squares, counts = squares[:, ::-1], counts[:, ::-1]
        order = np.argsort(~counts, axis=1, kind="stable")
        rows_left = np.sort(counts, axis=1)[:, ::-1].sum(axis=0)
        total = np.take_along_axis(squares, order, axis=1).sum(axis=0)
        return np.sqrt(total[rows_left > 0] / rows_left[rows_left > 0])

    @property
    def reach(self):
        """How many steps back the gradient stays above 1/1000 of its largest norm."""
        back = self.steps_back
        (near,) = np.nonzero(back > FAINT * back.max(initial=0))
        return int(near[-1]) + 1 if len(near) else 0

    @property
    def decay(self):
        """The norm at the first step as a part of the largest one; 1 where there is none."""
        back = self.steps_back
        return float(back[-1] / back.max()) if back.any() else 1.0

    @property
    def growth(self):
        """The largest norm as a multiple of the last step's (of those that are not zero)."""
        back = self.steps_back
        return float(back.max() / back[np.nonzero(back)[0][0]]) if back.any() else 1.0

    @property
    def finite(self):
        """Whether all gradients are finite numbers."""
        return all(np.isfinite(rows).all() for rows in self.rows)


@dataclass
class GradientFlow:
    """What `gradient_flow` found.

    Attributes
    ----------
    loss : float
        Penalties included.
    layers : dict of str to LayerFlow
    parameters : dict of str to float
        The norm of the gradient of each trainable parameter, by its path.
    """

    loss: float
    layers: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)

    def __getitem__(self, name):
        return self.layers[name]

    @property
    def global_norm(self):
        """The norm of all parameters' gradients as one vector: what ``global_clipnorm`` bounds."""
        return math.hypot(*self.parameters.values())

    def findings(self, vanishing=1e-4, exploding=1e2):
        """What is wrong, in words, and what to try: a list of str, empty where all is well.

        Parameters
        ----------
        vanishing : float, default 1e-4
            The least part of the largest norm that must arrive at the first step.
        exploding : float, default 1e2
            The most that a norm may grow on its way back.
        """
        found = {name: _finding(f, vanishing, exploding) for name, f in self.layers.items()}
        return [text for _, text in filter(None, found.values())]

    def summary(self, print_fn=None):
        """Print the text of ``str(flow)``: a table of the layers and one of the parameters.

        Parameters
        ----------
        print_fn : callable, default print
        """
        (print_fn or print)(str(self))

    def __str__(self):
        layers = [("layer", "steps", "|dL/dh| first", "last", "largest", "reach")]
        for flow in self.layers.values():
            back = flow.steps_back
            ends = (back[-1], back[0], back.max()) if len(back) else (0.0, 0.0, 0.0)
            numbers = [f"{norm:.2e}" for norm in ends]
            layers.append((f"{flow.name} ({flow.kind})", str(len(back)), *numbers, str(flow.reach)))
        parameters = [("parameter", "|dL/dw|")]
        parameters += [(path, f"{norm:.2e}") for path, norm in self.parameters.items()]
        parameters.append(("all", f"{self.global_norm:.2e}"))
        tables = [*_aligned(layers), "", *_aligned(parameters)]
        return "\n".join([f"loss {self.loss:.4g}", "", *tables])

    def plot(self, target):
        """Draw the norm of the gradient by h_t over the steps t, a line for each layer.

        Parameters
        ----------
        target : str, path or matplotlib axes
            A file to write, or the axes to draw in.

        Raises
        ------
        ImportError, ValueError
            As `fastrnn.plotting.check_plot_file`.
        """
        from fastrnn.plotting import plot_gradient_flow

        plot_gradient_flow({f.name: f.norms for f in self.layers.values()}, target)


def gradient_flow(model, x, y, sample_weight=None):
    """Gradients of the loss by the states of all recurrent layers, step by step.

    Nothing is changed by it: neither weights, gradients, states, the optimizer nor random numbers.
    Dropout is off, as in ``evaluate``; stateful layers start from zeros.

    Parameters
    ----------
    model : Model
        Compiled with a loss.
    x, y, sample_weight
        A batch, as for ``fit``; all rows go through the model at once.

    Returns
    -------
    GradientFlow
        ``flow["lstm"].norms`` is the array (T,) of the norms of dL/dh_t, the total derivative by
        the output of step t: through that output itself and through all steps after it.

    Raises
    ------
    ValueError
        If the model is not compiled, has no recurrent layer, or the data do not fit.

    Examples
    --------
    >>> from fastrnn import Input, Sequential
    >>> from fastrnn.layers import Dense, LSTM
    >>> model = Sequential([Input((None, 2)), LSTM(4, name="memory"), Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> flow = gradient_flow(model, np.ones((3, 10, 2)), np.zeros((3, 1)))
    >>> flow["memory"].norms.shape
    (10,)
    """
    model._need("gradient_flow")
    data = model._data(x, y, sample_weight)
    watches = [watch for layer in _recurrent_layers(model) for watch in _watches(layer)]
    if not watches:
        raise ValueError(
            f"gradient_flow: model '{model.name}' has no recurrent layer; it has "
            f"{[layer.name for layer in model.layers]}."
        )
    trained = model.trainable_parameters
    model._regularized = [p for p in trained if p.regularizer is not None]
    with contextlib.ExitStack() as stack, np.errstate(over="ignore", invalid="ignore"):
        stack.enter_context(_fresh_gradients(model.parameters))
        for watch in watches:
            stack.enter_context(watch.on())
        values, penalty, _, backward = model._objective(*data.batch(slice(None)), training=False)
        backward()
        heads = model._scores.heads
        parts = [head.factor * float(v) for head, v in zip(heads, values, strict=True)]
        flow = GradientFlow(sum(parts) + penalty)
        for parameter in trained:
            if parameter.regularizer is not None:
                parameter.regularizer.add_gradient(parameter.value, parameter.grad)
            norm = math.sqrt(engines.current().sum_squares(parameter.grad))
            flow.parameters[unused(parameter.path, flow.parameters)] = norm
    for watch in watches:
        for layer_flow in watch.flows():
            layer_flow.name = unused(layer_flow.name, flow.layers)
            flow.layers[layer_flow.name] = layer_flow
    return flow


class GradientMonitor(Callback):
    """Looks at the gradient flow while a model is trained, and warns where it is ill.

    It looks at a batch that it is given, always the same, so that what it sees can be compared; a
    few dozen rows of the training data will do.  A look costs about as much as three training
    steps, taken one time step at a time.

    Parameters
    ----------
    x, y, sample_weight
        The batch, as for `gradient_flow`.
    every : int, default 100
        It looks after the first batch, and then after every so many.
    vanishing, exploding : float, default 1e-4 and 1e2
        As in `GradientFlow.findings`.

    Attributes
    ----------
    history : list of (int, GradientFlow)
        After how many batches, and what was there.

    Notes
    -----
    Each layer is warned of once a ``fit`` for each kind of trouble, with a `GradientWarning`.

    Examples
    --------
    >>> from fastrnn import Input, Sequential
    >>> from fastrnn.layers import Dense, SimpleRNN
    >>> x, y = np.ones((8, 5, 1)), np.zeros((8, 1))
    >>> model = Sequential([Input((None, 1)), SimpleRNN(4), Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> monitor = GradientMonitor(x, y, every=2)
    >>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[monitor])
    >>> [batches for batches, flow in monitor.history]
    [1, 3]
    """

    def __init__(self, x, y, sample_weight=None, every=100, vanishing=1e-4, exploding=1e2):
        super().__init__()
        if not whole(every):
            raise ValueError(
                "GradientMonitor: every must be a whole number of batches from 1 on; "
                f"got {every!r}."
            )
        self.data = x, y, sample_weight
        self.every = int(every)
        self.vanishing = vanishing
        self.exploding = exploding
        self.on_train_begin()

    def on_train_begin(self, logs=None):
        self.history = []
        self._batches = 0
        self._warned = set()

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        if (self._batches - 1) % self.every:
            return
        flow = gradient_flow(self.model, *self.data)
        self.history.append((self._batches, flow))
        for name, layer_flow in flow.layers.items():
            finding = _finding(layer_flow, self.vanishing, self.exploding)
            if finding is not None and (name, finding[0]) not in self._warned:
                self._warned.add((name, finding[0]))
                text = f"After {self._batches} batches: {finding[1]}"
                warnings.warn(text, GradientWarning, stacklevel=2)


# -- in words --------------------------------------------------------------------------------------

_GATED = ("LSTM", "GRU")


def _finding(flow, vanishing, exploding):
    """``(kind, text)`` of what is wrong with a layer's flow, or None."""
    steps = len(flow.steps_back)
    if not flow.finite or flow.growth > exploding:
        kind, seen = "explodes", "|dL/dh_t| is no finite number any more."
        if flow.finite:
            seen = f"|dL/dh_t| grows to {flow.growth:.1e} times what it is at the last step."
    elif flow.decay < vanishing:
        kind, seen = "vanishes", (
            f"|dL/dh_t| is below 1/1000 of its largest beyond {flow.reach} steps, and "
            f"{flow.decay:.1e} of it at the first. What lies further back is hardly learned."
        )
    else:
        return None
    return kind, (
        f"Layer '{flow.name}' ({flow.kind}): the gradient {kind} on its way back through {steps} "
        f"steps: {seen} What to try: {'; '.join(_advice(kind, flow))}."
    )


def _advice(kind, flow):
    """What to try, a list of str, the likeliest to help first."""
    gated = flow.kind.startswith(_GATED)
    advice = []
    if kind == "explodes":
        advice += ["clip the gradient (clipnorm=1.0 in the optimizer)", "a lower learning rate"]
    if not gated:
        advice.append("LSTM or GRU in its place")
    elif kind == "vanishes":
        advice.append("gates that start more open (a larger bias of an LSTM's forget gate)")
    if not flow.orthogonal:
        advice.append("an orthogonal start (recurrent_initializer='orthogonal')")
    if kind == "vanishes":
        return [*advice, "shorter sequences", "pooling over the outputs of all steps"]
    return [*advice, "shorter truncation (fit(..., truncate=k))"]


def _aligned(rows):
    """Lines of a table whose first column is text and whose others are numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


# -- watching --------------------------------------------------------------------------------------


def _recurrent_layers(layer):
    """The recurrent layers among a layer and all inside it, each once."""
    found = [layer] if isinstance(layer, RNN) else []
    for part in layer.sublayers:
        found += [inner for inner in _recurrent_layers(part) if inner not in found]
    return found


def _leaf_cells(cell):
    """A cell, or the cells of a stack."""
    if isinstance(cell, StackedRNNCells):
        return [leaf for part in cell.cells for leaf in _leaf_cells(part)]
    return [cell]


def _watches(layer):
    """A `_Watch` for each cell of a recurrent layer."""
    cells = _leaf_cells(layer.cell)
    if cells == [layer.cell]:
        return [_Watch(layer, layer.cell, layer.name, type(layer).__name__)]
    return [
        _Watch(layer, cell, f"{layer.name}/{cell.name}", type(cell).__name__) for cell in cells
    ]


@contextlib.contextmanager
def _fresh_gradients(parameters):
    """Inside, the parameters have other gradients, which start from zero."""
    own = [p.grad for p in parameters]
    for p in parameters:
        p.grad = engines.current().zeros(p.shape, p.dtype)
    try:
        yield
    finally:
        for p, grad in zip(parameters, own, strict=True):
            p.grad = grad


@contextlib.contextmanager
def _replaced(owner, **values):
    """Inside, an object has other attributes."""
    before = {name: vars(owner)[name] for name in values if name in vars(owner)}
    vars(owner).update(values)
    try:
        yield
    finally:
        for name in values:
            vars(owner).pop(name, None)
        vars(owner).update(before)


class _Watch:
    """Takes note of every sweep of a cell, and of its gradients."""

    def __init__(self, layer, cell, name, kind):
        self.layer, self.cell, self.name, self.kind = layer, cell, name, kind
        self.mask = None
        self.calls = []

    @contextlib.contextmanager
    def on(self):
        """Inside, the layer is watched; its own states are put aside."""
        self._forward, self._sweep = self.layer.forward, self.cell.sweep
        self._sweep_backward = self.cell.sweep_backward
        ours = {"sweep": self.sweep, "sweep_backward": self.sweep_backward}
        with (
            _replaced(self.layer, forward=self.forward, states=None, recompute=False),
            _replaced(self.cell, **ours),
        ):
            yield

    # What stands in the places of the layer's and the cell's own methods:

    def forward(self, x, mask=None, **kwargs):
        self.mask = mask
        return self._forward(x, mask=mask, **kwargs)

    def sweep(self, x, states, mask=None, return_sequences=False, zero_output_for_mask=False,
              training=False):
        output, last, tape = self._sweep(
            x, states, mask, return_sequences, zero_output_for_mask, training
        )
        shows_again = return_sequences and not zero_output_for_mask
        call = _Call(self.cell, x, states, mask, self.mask, shows_again)
        self.calls.append(call)
        return output, last, (call, tape)

    def sweep_backward(self, tape, doutput, dstates):
        call, tape = tape
        with _fresh_gradients(self.cell.parameters):  # those of the run step by step are not wanted
            call.norms = call.step_by_step(
                self._sweep, self._sweep_backward, call.by_step(doutput), dstates
            )
        return self._sweep_backward(tape, doutput, dstates)

    def flows(self):
        """A `LayerFlow` for each time that the cell was used."""
        backwards = self.layer.go_backwards
        initializer = getattr(self.cell, "recurrent_initializer", None)
        orthogonal = isinstance(initializer, (Orthogonal, Identity))
        return [
            LayerFlow(self.name, self.kind, *call.rows(backwards), backwards, orthogonal)
            for call in self.calls
        ]


class _Call:
    """One sweep: what it was given, and the norms of its gradients.

    ``mask`` is the sweep's, without holes; ``seen`` the layer's, in the order of the input.
    """

    def __init__(self, cell, x, states, mask, seen, shows_again):
        self.cell, self.x, self.states, self.mask = cell, x, states, mask
        self.seen = seen
        self.shows_again = shows_again
        self.norms = np.zeros((len(cell.state_sizes), *x.shape[:2]))

    def by_step(self, doutput):
        """The gradient of the sweep's output by the step that made it: (B, T, output_size)."""
        rows, steps = self.x.shape[:2]
        own = np.zeros((rows, steps, self.cell.output_size), self.cell.dtype)
        if doutput is None:
            return own
        if self.mask is None:
            own[:, -1 if doutput.ndim == 2 else slice(None)] = doutput
            return own
        filled = np.nonzero(self.mask.any)[0]
        last = self.mask.stop[filled] - 1
        if doutput.ndim == 2:
            own[filled, last] = doutput[filled]
            return own
        own[...] = np.where(np.asarray(self.mask)[..., None], doutput, 0)
        if self.shows_again:
            behind = np.arange(steps) >= self.mask.stop[:, None]
            late = np.where(behind[..., None], doutput, 0).sum(axis=1)
            own[filled, last] += late[filled]
        return own

    def step_by_step(self, sweep, sweep_backward, doutputs, dstates):
        """The norms of the gradients by the states after each step: (states, B, T)."""
        cell, x = self.cell, engines.dense(self.x)
        rows, steps, _ = x.shape
        states = cell.get_initial_state(rows) if self.states is None else self.states
        tapes = []
        for t in range(steps):
            step = slice(t, t + 1)
            x_t = engines.current().asarray(x[:, step])
            mask = mask_of_steps(self.mask, step)
            y, states, tape = sweep(x_t, states, mask, return_sequences=True)
            counts = slice(None) if mask is None else mask.any
            tapes.append((tape, np.array_equal(y[counts, 0], states[0][counts])))
        norms = np.zeros((len(states), rows, steps))
        dstates = [
            np.zeros_like(s) if d is None else d for s, d in zip(states, dstates, strict=True)
        ]
        for t in reversed(range(steps)):
            tape, shown = tapes.pop()
            doutput = engines.current().asarray(doutputs[:, t : t + 1])
            total = [d + doutput[:, 0] if i == 0 and shown else d for i, d in enumerate(dstates)]
            norms[:, :, t] = [np.linalg.norm(np.asarray(d, float), axis=1) for d in total]
            _, dstates = sweep_backward(tape, doutput, dstates)
        return norms

    def rows(self, go_backwards):
        """The norms at the steps of the input, and which of these count."""
        norms, counts = self.norms, np.ones(self.norms.shape[1:], bool)
        if self.seen is not None:
            counts = np.asarray(self.seen.flip() if go_backwards else self.seen)
            norms = np.zeros_like(self.norms)
            norms[:, counts] = self.norms[:, np.asarray(self.mask)]
        if go_backwards:
            norms, counts = norms[..., ::-1], counts[:, ::-1]
        return list(norms), counts
