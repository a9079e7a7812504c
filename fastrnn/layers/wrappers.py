"""Layers around other layers: Bidirectional and TimeDistributed.

Letters: B rows in a batch, T steps, D input width, H units.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.layers import serialization
from fastrnn.layers.base import Layer
from fastrnn.layers.core import ActivityRegularized, check_mask
from fastrnn.masks import NestedMask
from fastrnn.registry import custom_object_scope
from fastrnn.values import GradientSum, Lookup, RowGradient, add_gradients

__all__ = ["Bidirectional", "TimeDistributed"]

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


class Wrapper(ActivityRegularized):
    """What the two have in common: a penalty on the output, which is in the config if there is one,
    as Keras has it."""

    def get_config(self):
        own = super().get_config()
        return {k: v for k, v in own.items() if k != "activity_regularizer" or v is not None}


class Bidirectional(Wrapper):
    """Reads a sequence in both directions and merges the two outputs.

    Both directions are made anew from the layer's configuration, named ``forward_…`` and
    ``backward_…``; the output of the backward one is turned round, so that its entries stand at the
    steps that they belong to.

    Parameters
    ----------
    layer : recurrent layer
        Such as `LSTM`; any layer will do that has ``go_backwards``, ``return_sequences``,
        ``return_state`` and ``stateful`` and takes an ``initial_state``.
    merge_mode : {"concat", "sum", "mul", "ave", None}, default "concat"
        How the outputs become one; with None they stay two.
    weights : list of arrays, optional
        To start from, those of the forward layer first.
    backward_layer : recurrent layer, optional
        Reads backwards in place of a copy of ``layer``; used as it is.
    activity_regularizer : default None
        Of what comes out, besides those of the two layers.

    Notes
    -----
    ``initial_state`` is the list of the forward layer's states, then the backward layer's; with
    ``return_state`` the last states follow the output in the same order.  Where sequences are
    returned, masked steps are zero.

    Raises
    ------
    ValueError
        If the layer is not recurrent, the two layers do not fit together, or the merge mode is
        unknown.

    Examples
    --------
    >>> from fastrnn.layers import SimpleRNN
    >>> x = np.ones((2, 5, 3))
    >>> Bidirectional(SimpleRNN(4, return_sequences=True))(x).shape
    (2, 5, 8)
    >>> Bidirectional(SimpleRNN(4), merge_mode="sum")(x).shape
    (2, 4)
    """

    supports_masking = True

    def __init__(self, layer, merge_mode="concat", weights=None, backward_layer=None, **kwargs):
        check_layer("Bidirectional", "layer", layer, RECURRENT)
        if backward_layer is not None:
            check_layer("Bidirectional", "backward_layer", backward_layer, RECURRENT)
        if merge_mode not in MERGE_MODES:
            raise ValueError(
                f"Bidirectional: merge_mode must be one of {MERGE_MODES}; got {merge_mode!r}."
            )
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        self.merge_mode = merge_mode
        self.forward_layer = renamed(layer, "forward_")
        if backward_layer is None:
            backward_layer = renamed(layer, "backward_", go_backwards=True)
        self.backward_layer = backward_layer
        self._check_pair()
        for direction in self.sublayers:
            if hasattr(direction, "zero_output_for_mask"):
                direction.zero_output_for_mask = direction.return_sequences
        self.initial_weights = weights

    def _check_pair(self):
        """Raise ValueError unless the two layers differ in their direction, and in nothing else
        that shapes the output."""
        forward, backward = self.sublayers
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): one layer must read forwards and the other "
                f"backwards; both have go_backwards={forward.go_backwards}."
            )
        for option in ("stateful", "return_sequences", "return_state"):
            values = getattr(forward, option), getattr(backward, option)
            if values[0] != values[1]:
                raise ValueError(
                    f"Layer '{self.name}' (Bidirectional): {option} must be the same in both "
                    f"layers; got {values[0]} forwards and {values[1]} backwards."
                )

    @property
    def sublayers(self):
        return self.forward_layer, self.backward_layer

    @property
    def return_sequences(self):
        return self.forward_layer.return_sequences

    @property
    def return_state(self):
        return self.forward_layer.return_state

    # -- states that stay from batch to batch ----------------------------------------------------

    @property
    def stateful(self):
        return self.forward_layer.stateful

    @property
    def states(self):
        """The states of both layers, the forward one's first; None before the first batch."""
        parts = [layer.states for layer in self.sublayers]
        return None if None in parts else [state for part in parts for state in part]

    def reset_state(self):
        """Set the states of both layers to zero."""
        for layer in self.sublayers:
            layer.reset_state()

    reset_states = reset_state  # Keras keeps the older name too

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        self.compute_output_shape(input_shape)  # raises if the outputs do not fit
        for layer in self.sublayers:
            build_inside(self, layer, input_shape)
        if self.initial_weights is not None:
            self.set_weights(self.initial_weights)

    def compute_output_shape(self, input_shape):
        (first, *states), (second, *others) = (
            as_list(layer.compute_output_shape(input_shape)) for layer in self.sublayers
        )
        if self.merge_mode == "concat":
            outputs = [(*first[:-1], first[-1] + second[-1])]
        elif self.merge_mode is None:
            outputs = [first, second]
        elif first == second:
            outputs = [first]
        else:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): merge_mode={self.merge_mode!r} needs "
                f"outputs of one shape; got {first} forwards and {second} backwards."
            )
        return one_or_list([*outputs, *states, *others])

    def compute_mask(self, x, mask=None):
        mask = mask if self.return_sequences else None
        outputs = 2 if self.merge_mode is None else 1
        states = 0
        if self.return_state:
            states = sum(len(layer.compute_output_shape(x.shape)) - 1 for layer in self.sublayers)
        return one_or_list([mask] * outputs + [None] * states)

    def convert_input(self, x):
        return self.forward_layer.convert_input(x)

    # -- the layer's work ----------------------------------------------------------------------

    def forward(self, x, mask=None, training=False, initial_state=None):
        initial_state = self._split_states(initial_state)
        tapes, outputs, last = [], [], []
        mask = mask and mask.bare()  # outputs are turned round whole, filling and all
        for layer, given in zip(self.sublayers, initial_state, strict=True):
            y, tape = layer.forward(x, mask=mask, training=training, initial_state=given)
            y, *states = as_list(y)
            tapes.append((tape, len(states), given and len(given)))
            outputs.append(y)
            last += states
        if self.return_sequences:
            outputs[1] = outputs[1][:, ::-1]
        merged = self._merge(*outputs)
        kept = outputs if self.merge_mode == "mul" else [y.shape for y in outputs]
        results = [*merged, *last]
        for part in results:
            self.penalise(part)
        penalised = None if self.activity_regularizer is None else results
        return one_or_list(results), (tapes, kept, penalised)

    def backward(self, tape, dy):
        tapes, kept, penalised = tape
        dy = as_list(dy)
        if penalised is not None:
            dy = [self.penalised(d, y) for d, y in zip(dy, penalised, strict=True)]
        outputs = 2 if self.merge_mode is None else 1
        doutputs, dlast = self._merge_backward(dy[:outputs], kept), dy[outputs:]
        if self.return_sequences and doutputs[1] is not None:
            doutputs[1] = doutputs[1][:, ::-1]
        dx, dstates, had_states = None, [], False
        for layer, doutput, (own, states, given) in zip(
            self.sublayers, doutputs, tapes, strict=True
        ):
            if doutput is not None:
                doutput = engines.current().asarray(doutput)
            d, dlast = [doutput, *dlast[:states]], dlast[states:]
            had_states = given is not None
            if all(part is None for part in d):  # nobody used what came out this way
                dstates += [None] * (given or 0)
                continue
            dx_own, *dinitial = as_list(layer.backward(own, one_or_list(d)))
            dx = add_gradients(dx, dx_own)
            dstates += dinitial
        return [dx, *dstates] if had_states else dx

    def _split_states(self, initial_state):
        """The initial states of the forward and of the backward layer; None for none."""
        if initial_state is None:
            return None, None
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [None]
        if not states or len(states) % 2:
            raise ValueError(
                f"Layer '{self.name}' (Bidirectional): initial_state: expected a list of the "
                f"states of the forward layer, then as many of the backward layer; got "
                f"{len(states)} array{'s' * (len(states) != 1)}."
            )
        return halves(states)

    def _merge(self, first, second):
        """The outputs of both directions as a list of one, or of two where they stay apart."""
        if self.merge_mode == "concat":
            return [np.concatenate([first, second], axis=-1)]
        if self.merge_mode == "mul":
            return [first * second]
        if self.merge_mode is None:
            return [first, engines.current().asarray(second)]
        total = first + second
        return [total if self.merge_mode == "sum" else total / 2]

    def _merge_backward(self, dmerged, kept):
        """The gradients of both outputs; entries may be None."""
        if self.merge_mode is None or dmerged[0] is None:
            return [*dmerged, None][:2]
        [d] = dmerged
        if self.merge_mode == "concat":
            width = kept[0][-1]
            return [d[..., :width], d[..., width:]]
        if self.merge_mode == "mul":
            first, second = kept
            return [d * second, d * first]
        d = d if self.merge_mode == "sum" else d / 2
        return [d, d]

    def __call__(self, x, initial_state=None, mask=None, training=None):
        return super().__call__(x, mask, training, initial_state=initial_state)

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        return super().get_config() | {
            "merge_mode": self.merge_mode,
            "layer": serialization.serialize(self.forward_layer),
            "backward_layer": serialization.serialize(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for argument in ("layer", "backward_layer"):
            if config.get(argument) is not None:
                config[argument] = serialization.deserialize(config[argument], custom_objects)
        return cls(**config)


class TimeDistributed(Wrapper):
    """Applies a layer to every step by itself: (B, T, ...) -> (B, T, ...).

    All steps of all rows go through the layer at once, as B * T rows.

    Parameters
    ----------
    layer : Layer
        Also a whole model, such as one that encodes the words of each of T sentences.
    activity_regularizer : default None
        Of the output.

    Notes
    -----
    A mask says which steps count: it passes on to the next layer, and does not reach the inner one.
    Where ids (B, S, T) went through ``Embedding(mask_zero=True)``, each of the B * S sequences has
    a mask, which the inner layer is given; if it makes one output of a sequence, those count for
    the next layer that had a step that counts.
    What the inner layer computes over rows, as `BatchNormalization` does in training, it computes
    over the rows of all steps.

    Raises
    ------
    ValueError
        If it is no layer, or one with several outputs.

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> TimeDistributed(Dense(4))(np.ones((2, 5, 3))).shape
    (2, 5, 4)
    """

    supports_masking = True

    def __init__(self, layer, **kwargs):
        check_layer("TimeDistributed", "layer", layer)
        kwargs.setdefault("dtype", layer.dtype)
        super().__init__(**kwargs)
        self.layer = layer

    @property
    def sublayers(self):
        return (self.layer,)

    # -- shapes ------------------------------------------------------------------------------

    def _inner_shape(self, shape):
        if len(shape) < 3:
            raise ValueError(
                f"Layer '{self.name}' (TimeDistributed): expected inputs of shape (batch, steps, "
                f"…), 3 axes or more; got shape {tuple(shape)}."
            )
        return shape[0], *shape[2:]

    def create(self, input_shape):
        self.compute_output_shape(input_shape)
        build_inside(self, self.layer, self._inner_shape(input_shape))

    def compute_output_shape(self, input_shape):
        inner = self.layer.compute_output_shape(self._inner_shape(input_shape))
        if isinstance(inner, list):
            raise ValueError(
                f"Layer '{self.name}' (TimeDistributed): expected a layer with one output; "
                f"'{self.layer.name}' has {len(inner)}."
            )
        return inner[0], input_shape[1], *inner[1:]

    def convert_input(self, x):
        return self.layer.convert_input(x)

    def check_input(self, x):
        self.layer.check_input(x)

    # -- the layer's work ----------------------------------------------------------------------

    def run(self, x, mask=None, training=False):
        self._inner_shape(x.shape)
        shape = x.shape[:2]
        if isinstance(mask, NestedMask):
            check_mask(self, mask, x.shape[:3])
            y, inner, tape = self.layer.run(fold(x), mask.inner, training)
            y, tape = self._unfolded(y, tape, shape)
            return y, mask.after(inner), tape
        check_mask(self, mask, shape)
        y, tape = self._unfolded(*self.layer.forward(fold(x), training=training), shape)
        return y, self.output_mask(x, mask, y), tape

    def _unfolded(self, y, tape, shape):
        """The output and the tape, from those of the inner layer."""
        y = unfold(y, shape)
        if self.activity_regularizer is None:
            return y, (tape, shape, None)
        y = engines.dense(y)
        self.penalise(y)
        return y, (tape, shape, y)

    def forward(self, x, mask=None, training=False):
        y, _, tape = self.run(x, mask, training)
        return y, tape

    def backward(self, tape, dy):
        y = tape[2]
        if y is not None:
            dy = self.penalised(dy, y)
        return self._backward(self.layer.backward, tape, dy)

    def last_activation(self, tape):
        inner, shape, y = tape
        if y is not None:  # the penalty is on what comes out
            return None, None
        activation, z = self.layer.last_activation(inner)
        return activation, None if z is None else unfold(z, shape)

    def backward_logits(self, tape, dz):
        return self._backward(self.layer.backward_logits, tape, dz)

    def _backward(self, backward, tape, gradient):
        inner, shape, _ = tape
        return unfold(backward(inner, fold(gradient)), shape)

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        return super().get_config() | {"layer": serialization.serialize(self.layer)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls(serialization.deserialize(config.pop("layer"), custom_objects), **config)


# -- what they share ------------------------------------------------------------

RECURRENT = ("go_backwards", "return_sequences", "return_state", "stateful")


def check_layer(wrapper, argument, layer, options=()):
    """Raise ValueError unless ``layer`` is a layer with these options."""
    if isinstance(layer, type) or not isinstance(layer, Layer):
        hint = f" Write {layer.__name__}(...)." if isinstance(layer, type) else ""
        raise ValueError(f"{wrapper}: {argument}: expected a layer; got {layer!r}.{hint}")
    missing = [option for option in options if not hasattr(layer, option)]
    if missing:
        raise ValueError(
            f"{wrapper}: {argument}: expected a recurrent layer, such as LSTM(32); "
            f"{layer!r} has no {missing[0]}."
        )


def renamed(layer, prefix, **changes):
    """A new layer of the same configuration but for its name and ``changes``."""
    name = prefix + layer.name.removeprefix(prefix)
    own = {type(part).__name__: type(part) for part in layer.walk()}
    with custom_object_scope(own):  # cells of one's own
        return type(layer).from_config(layer.get_config() | {"name": name} | changes)


def build_inside(wrapper, layer, shape):
    """Build a layer whose weights shall be known by the wrapper's name too."""
    if layer.built:
        return
    layer.build(shape)
    for parameter in layer.parameters:
        parameter.path = f"{wrapper.name}/{parameter.path}"


def as_list(value):
    """``value`` if it is a list, else a list of it."""
    return value if isinstance(value, list) else [value]


def one_or_list(values):
    """The only one of ``values``, or all of them."""
    return values[0] if len(values) == 1 else values


def halves(values):
    """The first and the second half of a list."""
    middle = len(values) // 2
    return values[:middle], values[middle:]


def fold(x):
    """(B, T, ...) as (B * T, ...): an array, a `Lookup` or a gradient of either."""
    if isinstance(x, Lookup):
        return x._replace(ids=fold(x.ids))
    if isinstance(x, GradientSum):
        return x._replace(steps=fold(x.steps))
    if x is None or isinstance(x, RowGradient):
        return x
    return x.reshape(-1, *x.shape[2:])


def unfold(y, shape):
    """The way back from `fold`, for a shape of (B, T)."""
    if isinstance(y, Lookup):
        return y._replace(ids=unfold(y.ids, shape))
    if isinstance(y, GradientSum):
        return y._replace(steps=unfold(y.steps, shape))
    if y is None or isinstance(y, RowGradient):
        return y
    return y.reshape(*shape, *y.shape[1:])
