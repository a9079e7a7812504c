"""Models: layers put together, to be trained and used as one.

A `Model` is a layer that holds others, and a `fastrnn.training.Trainer`; what it must say is how
data run through them: `run` and `backward`.  `Sequential` is the model whose layers form a chain.
"""

from __future__ import annotations

from fastrnn import layers as layer_classes
from fastrnn.layers import Input, InputLayer, Layer
from fastrnn.names import snake_case
from fastrnn.registry import Registry
from fastrnn.training import Trainer

__all__ = ["Input", "Model", "Sequential", "load_model"]

_registry = Registry("layer", "keras.layers")
for _name in layer_classes.__all__:
    if isinstance(_class := getattr(layer_classes, _name), type):
        _registry.add(snake_case(_name))(_class)


def load_model(path, compile=True):
    """A model that `Model.save` saved; see `fastrnn.saving.load_model`."""
    from fastrnn import saving

    return saving.load_model(path, compile=compile)


class Model(Trainer, Layer):
    """What every model has beside training: weights of all its layers, and a summary.

    Parameters
    ----------
    name : str, optional
    trainable : bool, default True
    dtype : {"float32", "float64"}, optional
    """

    def __init__(self, name=None, trainable=True, dtype=None):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self._init_trainer()

    # -- to be written by each kind of model -----------------------------------------------------

    def run(self, x, mask=None, training=False):
        """``(y, mask, tape)`` for engine arrays."""
        raise NotImplementedError

    # -- as a layer ------------------------------------------------------------------------------

    @property
    def output_dtype(self):
        """The float type of the output."""
        raise NotImplementedError

    def forward(self, x, mask=None, training=False):
        y, _, tape = self.run(x, mask, training)
        return y, tape

    def compute_mask(self, x, mask):
        return self.run(x, mask)[1]

    # -- looking at it, keeping it ---------------------------------------------------------------

    @property
    def layers(self):
        """The layers, in their order."""
        return list(self.sublayers)

    def get_layer(self, name=None, index=None):
        """The layer of that name, or number.

        Raises
        ------
        ValueError
            If there is none.
        """
        if (name is None) == (index is None):
            raise ValueError("get_layer: give either a name or an index.")
        found = [
            layer for i, layer in enumerate(self.layers) if layer.name == name or i == index
        ]
        if not found:
            raise ValueError(
                f"Model '{self.name}' has no layer {index if name is None else name!r}; it has "
                f"{[layer.name for layer in self.layers]}."
            )
        return found[0]

    def summary(self, line_length=None, print_fn=None):
        """Print a table of the layers, their output shapes and numbers of parameters.

        Parameters
        ----------
        line_length : int, optional
            Default: as wide as the contents need.
        print_fn : callable, default print
            Called with the text.
        """
        rows = [("Layer (type)", "Output Shape", "Param #")]
        for layer in self.layers:
            count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            shape = _shape_text(layer.output_shape) if layer.built else "?"
            rows.append((f"{layer.name} ({type(layer).__name__})", shape, count))
        trained = {id(p) for p in self.trainable_parameters}
        sizes = {True: [0, 0], False: [0, 0]}
        for p in self.parameters:
            size = sizes[id(p) in trained]
            size[0] += p.size
            size[1] += p.size * p.dtype.itemsize
        total = [sum(pair) for pair in zip(*sizes.values(), strict=True)]
        lines = [
            f'Model: "{self.name}"', *_table(rows, line_length),
            f" Total params: {_amount(*total)}",
            f" Trainable params: {_amount(*sizes[True])}",
            f" Non-trainable params: {_amount(*sizes[False])}",
        ]
        (print_fn or print)("\n".join(lines))

    def save(self, path, overwrite=True):
        """Save weights, configuration and optimizer state; see `fastrnn.saving.save_model`."""
        from fastrnn import saving

        saving.save_model(self, path, overwrite=overwrite)


class Sequential(Model):
    """Layers in a chain: each takes what the one before gives.

    Parameters
    ----------
    layers : list of Layer, optional
        The first entry may be an `Input`, which tells the shape; without it the weights are made
        when the first data come, or by ``build``.
    name : str, optional

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> model = Sequential([Input((3,)), Dense(2)])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit([[1.0, 2.0, 3.0]], [[0.0, 1.0]], verbose=0)
    >>> sorted(history.history)
    ['loss']
    """

    def __init__(self, layers=None, trainable=True, name=None, dtype=None):
        super().__init__(name, trainable, dtype)
        self._layers = []
        self._input = None
        for layer in layers or ():
            self.add(layer)

    # -- putting together ------------------------------------------------------------------------

    def add(self, layer, rebuild=True):
        """Append a layer (or, at first, an `Input`).

        Parameters
        ----------
        layer : Layer or Input
        rebuild : bool
            Accepted for Keras's sake: the layer is built as soon as its input's shape is known.

        Raises
        ------
        TypeError
            If it is no layer.
        ValueError
            If there is a layer of its name, or an input is not the first.
        """
        if isinstance(layer, InputLayer):
            if self._input is not None or self._layers:
                raise ValueError(f"Model '{self.name}': an Input must be its first entry.")
            self._input = layer
            return
        if isinstance(layer, type) or not isinstance(layer, Layer):
            hint = f" Write {layer.__name__}(...)." if isinstance(layer, type) else ""
            raise TypeError(f"Model '{self.name}': expected a layer; got {layer!r}.{hint}")
        if layer.name in (other.name for other in self._layers):
            raise ValueError(
                f"Model '{self.name}' has a layer '{layer.name}' already; names must differ."
            )
        if self.built:
            layer.build(self.compute_output_shape(self.input_shape))
        self._layers.append(layer)
        shape = self._input.batch_shape if self._input else self._layers[0].declared_input_shape
        if not self.built and shape is not None:
            self.build(shape)

    def pop(self, rebuild=True):
        """Take the last layer off, and return it."""
        if not self._layers:
            raise ValueError(f"Model '{self.name}' has no layer to take off.")
        return self._layers.pop()

    @property
    def sublayers(self):
        return self._layers

    def create(self, input_shape):
        self._need_layers()
        fresh = list(_unbuilt(self._layers))
        try:
            for layer in self._layers:
                layer.build(input_shape)
                input_shape = layer.compute_output_shape(input_shape)
        except Exception:
            # Nothing is left of a shape that did not fit: the next may.
            for layer in fresh:
                layer.unbuild()
            raise

    def build(self, input_shape=None):
        """Make the weights, for inputs of this shape, batch included: ``(None, 500)``."""
        if input_shape is None:
            if self._input is None:
                raise ValueError(
                    f"Model '{self.name}': build needs the shape of the input, such as (None, 500)."
                )
            input_shape = self._input.batch_shape
        super().build(input_shape)

    def compute_output_shape(self, input_shape):
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    @property
    def output_dtype(self):
        return self._layers[-1].dtype

    def _need_layers(self):
        if not self._layers:
            raise ValueError(f"Model '{self.name}' has no layers; add some first.")

    # -- running ---------------------------------------------------------------------------------

    def convert_input(self, x):
        self._need_layers()
        return self._layers[0].convert_input(x)

    def check_input(self, x):
        self._layers[0].check_input(x)

    def run(self, x, mask=None, training=False):
        tapes = []
        for layer in self._layers:
            x, mask, tape = layer.run(x, mask, training)
            tapes.append(tape)
        return x, mask, tapes

    def backward(self, tape, dy):
        return self._backward(tape, self._layers[-1].backward, dy)

    def logits(self, tape):
        return self._layers[-1].logits(tape[-1])

    def backward_logits(self, tape, dz):
        return self._backward(tape, self._layers[-1].backward_logits, dz)

    def _backward(self, tape, backward_last, gradient):
        gradient = backward_last(tape[-1], gradient)
        for layer, own in zip(self._layers[-2::-1], tape[-2::-1], strict=True):
            gradient = layer.backward(own, gradient)
        return gradient

    # -- configuration -----------------------------------------------------------------------------

    def get_config(self):
        entries = [] if self._input is None else [self._input]
        return super().get_config() | {
            "layers": [_registry.serialize(layer) for layer in (*entries, *self._layers)],
            "build_input_shape": list(self.input_shape) if self.built else None,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A new model, with new weights, from `get_config`'s dict.

        Parameters
        ----------
        config : dict
        custom_objects : dict of str to class, optional
            Layers of one's own, by name.
        """
        config = dict(config)
        shape = config.pop("build_input_shape", None)
        own = custom_objects or {}
        config["layers"] = [
            own[entry["class_name"]].from_config(entry["config"])
            if entry["class_name"] in own else _registry.deserialize(entry)
            for entry in config["layers"]
        ]
        model = cls(**config)
        if shape is not None:
            model.build(shape)
        return model


_registry.add("sequential")(Sequential)


def _unbuilt(layers):
    """The layers without weights yet, and those inside them."""
    for layer in layers:
        if not layer.built:
            yield layer
            yield from _unbuilt(layer.sublayers)


# -- the table of a summary ------------------------------------------------------------------------


def _shape_text(shape):
    return ", ".join(map(_shape_text, shape)) if isinstance(shape, list) else str(tuple(shape))


def _amount(count, size):
    """A number of parameters, with their size in memory."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"


def _table(rows, line_length):
    """Lines of a table of three columns, the last one aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if line_length is not None:
        widths[0] += max(0, line_length - sum(widths) - 10)

    def line(cells):
        first, second, third = cells
        return f"│ {first:<{widths[0]}} │ {second:<{widths[1]}} │ {third:>{widths[2]}} │"

    def rule(left, middle, right):
        return left + middle.join("─" * (width + 2) for width in widths) + right

    lines = [rule("┌", "┬", "┐"), line(rows[0])]
    for row in rows[1:]:
        lines += [rule("├", "┼", "┤"), line(row)]
    return [*lines, rule("└", "┴", "┘")]
