"""Models: layers put together, to be trained and used as one.

A `Model` is a `fastrnn.graph.Graph` of layers between its inputs and its outputs, a
`fastrnn.training.Trainer`, and a layer itself, so that models go into models.  `Sequential` is the
model whose graph is a chain; it makes the graph itself, as soon as it knows the shape of its input.
"""

from __future__ import annotations

import re

import numpy as np

from fastrnn.adapters import entries, rows_of
from fastrnn.graph import MaskOf, SymbolicTensor, apply, as_lists, flatten
from fastrnn.layers import Input, InputLayer, Layer, serialization
from fastrnn.layers.composite import (
    Composite,
    Drawn,
    Form,
    OwnAttributes,
    layers_in,
    made_from,
    mapped,
    of_any_rows,
    one_or_all,
    plain_arguments,
    shapes_of,
    take_form,
    tensors,
)
from fastrnn.names import snake_case, unique_name
from fastrnn.registry import custom_object_scope
from fastrnn.training import Trainer

__all__ = [
    "Input", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model",
]


# What Keras calls in training, where a class has its own.
_NOT_CALLED = (
    "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics",
    "compute_loss_and_updates", "make_train_function", "make_test_function",
    "make_predict_function",
)


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """A model that `Model.save` saved, or Keras; see `fastrnn.saving.load_model`."""
    from fastrnn import saving

    return saving.load_model(filepath, custom_objects, compile, safe_mode)


def save_model(model, filepath, overwrite=True, zipped=None, include_optimizer=True,
               save_format=None):
    """Save a model to one file; see `fastrnn.saving.save_model`."""
    model.save(filepath, overwrite, zipped, include_optimizer, save_format)


def model_from_json(json_string, custom_objects=None):
    """A model of the configuration that `Model.to_json` gave, or Keras's; its weights are new.

    Parameters
    ----------
    json_string : str
    custom_objects : dict of str to class, optional
        Layers, losses, metrics and optimizers of one's own, by name.

    Raises
    ------
    ValueError
        If it is no configuration of a model, or has a layer that fastrnn has not.

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> text = Sequential([Input((3,)), Dense(2)]).to_json()
    >>> model_from_json(text).count_params()
    8
    """
    from fastrnn.saving import configs, loading

    with custom_object_scope(custom_objects), loading.broken("json_string"):
        entry = configs.from_keras(loading.parsed(json_string, "json_string"))
        model = loading.model_from_config(entry)
        if entry.get("compile_config"):
            model.compile_from_config(entry["compile_config"])
    return model


def clone_model(model):
    """A model of the same configuration, with new weights.

    Layers of one's own are made anew by their ``from_config``.

    >>> from fastrnn.layers import Dense
    >>> model = Sequential([Input((3,)), Dense(2)])
    >>> clone_model(model).count_params()
    8
    """
    own = {type(layer).__name__: type(layer) for layer in model.walk()[1:]}
    return type(model).from_config(model.get_config(), own)


class Model(Trainer, Composite):
    """The layers between some symbolic tensors and others, to be trained and used as one.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor, or a list or dict of them
        Outputs must come from the inputs.  The inputs may be any tensors, those inside of another
        model too: the new one then begins there, and shares the layers.  Inputs that lead to no
        output are asked for all the same.
    name : str, optional
    trainable : bool, optional
        Sets ``trainable`` of all layers.

    Attributes
    ----------
    inputs, outputs : list of SymbolicTensor
    input, output
        The same as they were given.
    input_names, output_names : list of str
        By which ``fit`` takes and reports several: the keys of a dict, else the names of the
        layers.
    input_shapes, output_dtypes : list
        One for each.

    Raises
    ------
    ValueError
        If the outputs do not come from the inputs alone, or names of layers are not unique.
    TypeError
        If inputs or outputs are no symbolic tensors.

    Examples
    --------
    An encoder hands its state over to a decoder:

    >>> from fastrnn.layers import GRU, Dense
    >>> source, target = Input((None, 3)), Input((None, 2))
    >>> _, state = GRU(8, return_state=True)(source)
    >>> y = Dense(2)(GRU(8, return_sequences=True)(target, initial_state=state))
    >>> model = Model([source, target], y)
    >>> model.compile("adam", "mse")
    >>> import numpy as np
    >>> x = np.ones((4, 5, 3)), np.ones((4, 7, 2))
    >>> history = model.fit(x, np.ones((4, 7, 2)), verbose=0)
    >>> model.predict(x, verbose=0).shape
    (4, 7, 2)
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if found := [name for name in _NOT_CALLED if hasattr(cls, name)]:
            raise TypeError(
                f"class {cls.__name__}: {', '.join(found)}: expected none of this name, as nothing "
                "calls it here: fit, evaluate and predict have steps of their own. Give compile a "
                "loss or metrics of your own, a layer an activity_regularizer, or fit callbacks; "
                "or write the loop yourself, around train_on_batch."
            )

    def __init__(self, inputs=None, outputs=None, name=None, trainable=None):
        if inputs is None or outputs is None:
            raise TypeError(
                f"{type(self).__name__}: expected inputs and outputs, symbolic tensors, as in "
                "Model(inputs, outputs). A class of one's own has a call(self, inputs) instead."
            )
        self._start(name or unique_name("functional"))
        self.input = tensors("Model: inputs", inputs)
        self.output = tensors("Model: outputs", outputs)
        self._connect(flatten(as_lists(self.input)), flatten(as_lists(self.output)))
        self.built = True
        if trainable is not None:
            self.trainable = trainable

    def _start(self, name, trainable=True, dtype=None):
        """What every model begins with."""
        Layer.__init__(self, name=name, trainable=trainable, dtype=dtype)
        self._init_trainer()
        self.graph = self.training_graph = None

    # -- what goes in and comes out --------------------------------------------------------------

    @property
    def inputs(self):
        return self._built_graph.inputs

    @property
    def outputs(self):
        return self._built_graph.outputs

    @property
    def input_shape(self):
        """The shape of the input; of several a list."""
        return one_or_all(self.input_shapes) if self.graph else None

    @input_shape.setter
    def input_shape(self, value):
        """It is the graph's affair."""

    def expect(self, x):
        """Hear of data for a model that is not built yet; it will be, for its input's rows."""

    @property
    def output_shape(self):
        return one_or_all([tensor.shape for tensor in self.outputs])

    @property
    def input_dtype(self):
        """The type of the first input where it is "string", texts; else None."""
        return "string" if self.graph and self.inputs[0].dtype == "string" else None

    def takes_texts(self, i):
        """Whether the input of that number has texts, not numbers."""
        return self.inputs[i].dtype == "string" if self.graph else self.input_dtype == "string"

    @property
    def _built_graph(self):
        if self.graph is None:
            raise ValueError(
                f"Model '{self.name}' is not built yet: its inputs and outputs are known once it "
                "has an Input, or after model.build(input_shape)."
            )
        return self.graph

    def _apply(self, x, mask, training=None):
        """The model as a layer of another."""
        if isinstance(x, dict):
            x = entries(f"Model '{self.name}'", x, self.input_names, more=True)
        elif isinstance(x, (list, tuple)) and len(x) == 1:
            x = x[0]
        if self.graph is not None and len(x if isinstance(x, (list, tuple)) else [x]) != len(
            self.inputs
        ):
            x = entries(f"Model '{self.name}'", x, self.input_names)  # says what is missing
        return apply(self, x, mask, training=training)

    # -- looking at it, keeping it ---------------------------------------------------------------

    @property
    def layers(self):
        """The layers, in their order; the input layers too."""
        return list(self.sublayers)

    @property
    def shows_connections(self):
        """Whether a summary says what each layer is applied to."""
        return self.graph is not None

    # Models inside may share layers: each weight counts once.

    @property
    def parameters(self):
        return list(dict.fromkeys(super().parameters))

    @property
    def trainable_parameters(self):
        return list(dict.fromkeys(super().trainable_parameters))

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

    def summary(self, line_length=None, positions=None, print_fn=None, expand_nested=False,
                show_trainable=False, layer_range=None):
        """Print a table of the layers, their output shapes and numbers of parameters.

        Parameters
        ----------
        line_length : int, optional
            Default: as wide as the contents need.
        positions
            Accepted for Keras's sake; it changes nothing here.
        print_fn : callable, default print
            Called with the text.
        expand_nested : bool, default False
            Show the layers of models inside, too, below these.
        show_trainable : bool, default False
            Say of each layer whether it is trained: Y, N, or - without weights.
        layer_range : pair of str, optional
            Regular expressions: only from the first layer whose name one matches to the last whose
            name the other does.

        Raises
        ------
        ValueError
            If no layer has such a name.
        """
        connected = self.shows_connections and not _is_chain(self.graph)
        rows = [("Layer (type)", "Output Shape", "Param #")]
        rows[0] += ("Connected to",) * connected + ("Trainable",) * show_trainable
        for depth, layer in _in_range(self.layers, layer_range, expand_nested):
            count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            shape = _shape_text(layer.output_shape) if layer.built else "?"
            row = (f"{'  ' * depth}{layer.name} ({type(layer).__name__})", shape, count)
            if connected:
                read = [] if depth else self._sources(layer)
                row += (", ".join("{}[{}][{}]".format(*place) for place in read) or "-",)
            if show_trainable:
                row += ("-" if not layer.weights else "Y" if layer.trainable else "N",)
            rows.append(row)
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

    # -- configuration ---------------------------------------------------------------------------

    def get_config(self):
        """The layers, and what each is applied to, as a dict in the form that Keras writes."""
        return {
            "name": self.name,
            "trainable": self.trainable,
            "layers": [
                _entry(layer) | {
                    "name": layer.name,
                    "inbound_nodes": [self._node_config(node) for node in self._uses(layer)],
                }
                for layer in self.layers
            ],
            "input_layers": mapped(self._place, self.input),
            "output_layers": mapped(self._output_place, self.output),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A new model, with new weights, from `get_config`'s dict.

        Parameters
        ----------
        config : dict
        custom_objects : dict of str to class, optional
            Layers of one's own, by name.

        Raises
        ------
        ValueError
            If layers are not known, or refer to one another in a loop or to what is not there.
        """
        if "input_layers" not in config:
            return Sequential.from_config(config, custom_objects)
        tensor = _Rebuilt(config, custom_objects).tensor
        inputs = _places(tensor, config["input_layers"])
        outputs = _places(tensor, config["output_layers"])
        return cls(inputs, outputs, name=config.get("name"), trainable=config.get("trainable"))

    def _uses(self, layer):
        """The nodes of the model in which ``layer`` is applied, those made first first."""
        nodes = [n for n in self.graph.nodes if n.layer is layer and n.inputs is not None]
        return sorted(nodes, key=lambda node: node.serial)

    def _place(self, tensor):
        """[layer, number of its use in this model, number of the output], as Keras has it."""
        tensor = self.graph.source(tensor)
        uses = self._uses(tensor.node.layer)
        return [tensor.name, uses.index(tensor.node) if uses else 0, tensor.index]

    def _output_place(self, tensor):
        name, use, i = self._place(tensor)
        # Keras counts from 1 here for models inside, but for chains.
        return [name, use + _counts_from_one(tensor.node.layer), i]

    def _sources(self, layer):
        return [self._place(tensor) for node in self._uses(layer) for tensor in node.parents]

    def _node_config(self, node):
        def tensor_config(tensor):
            return {
                "class_name": "__keras_tensor__",
                "config": {
                    "shape": list(tensor.shape), "dtype": tensor.dtype,
                    "keras_history": self._place(tensor),
                },
            }

        kwargs = {}
        if node.initial_state is not None:
            kwargs["initial_state"] = [tensor_config(t) for t in node.initial_state]
        if node.mask is not None:
            kwargs["mask"] = (
                {"class_name": _MASK_OF, "config": tensor_config(node.mask.tensor)}
                if isinstance(node.mask, MaskOf) else tensor_config(node.mask)
            )
        return {"args": [mapped(tensor_config, node.inputs)], "kwargs": kwargs}

    def get_build_config(self):
        """The shape of the inputs, for `build_from_config`; None before it is known."""
        return {"input_shape": self.input_shape} if self.built else None

    def build_from_config(self, config):
        """`build` with the dict of `get_build_config`, if the model is not built yet."""
        if config and not self.built:
            self.build(config["input_shape"])

    def stream(self, batch_size=1):
        """A `fastrnn.streaming.Stream`: feeds the model one step at a time, the state in hand.

        Parameters
        ----------
        batch_size : int, default 1
            How many rows go on side by side.

        Raises
        ------
        ValueError
            If a layer needs later steps too, or the model is not built.
        """
        from fastrnn.streaming import Stream

        return Stream(self, batch_size)

    def to_json(self, **kwargs):
        """The configuration as JSON in the form that Keras reads, for `model_from_json`.

        ``kwargs`` go to `json.dumps`, such as ``indent=2``.
        """
        from fastrnn.saving import configs, loading

        return loading.as_json(configs.described(self), **kwargs)

    def save(self, filepath, overwrite=True, zipped=None, include_optimizer=True,
             save_format=None):
        """Save weights, configuration and optimizer state; see `fastrnn.saving.save_model`."""
        from fastrnn import saving

        saving.save_model(
            self, filepath, overwrite, include_optimizer=include_optimizer,
            save_format=save_format, zipped=zipped,
        )

    def save_weights(self, filepath, overwrite=True):
        """Save the weights alone; see `fastrnn.saving.save_weights`."""
        from fastrnn import saving

        saving.save_weights(self, filepath, overwrite=overwrite)

    def load_weights(self, filepath, skip_mismatch=False):
        """Load the weights in a file; see `fastrnn.saving.load_weights`."""
        from fastrnn import saving

        saving.load_weights(self, filepath, skip_mismatch)


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
        self._start(name, trainable, dtype)
        self._layers = []
        self._input = None
        self._chain = []  # once built: the input, then the output of each layer
        self.input_names, self.output_names = ["x"], ["y"]  # until they are known
        for layer in layers or ():
            self.add(layer)

    # -- putting together ------------------------------------------------------------------------

    def expect(self, x):
        # A first layer that is written as a `call` knows what it reads once it is drawn.
        if self._layers and isinstance(self._layers[0], (Drawn, DrawnModel)):
            self.build(rows_of(x, np.asarray).build_shape)

    def add(self, layer, rebuild=True):
        """Append a layer (or, at first, an `Input`).

        Parameters
        ----------
        layer : Layer, or what `Input` gives
        rebuild : bool
            Accepted for Keras's sake: the layer is built as soon as its input's shape is known.

        Raises
        ------
        TypeError
            If it is no layer.
        ValueError
            If there is a layer of its name, an input is not the first, or a model would be inside
            itself.
        """
        if isinstance(layer, SymbolicTensor) and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
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
        if self in layer.walk():
            raise ValueError(f"Model '{self.name}': a model cannot be a layer of itself.")
        if self.built:
            self._chain.append(apply(layer, self._chain[-1]))
            self._layers.append(layer)
            self._connect_chain()
            return
        self._layers.append(layer)
        shape = self._input.batch_shape if self._input else self._layers[0].declared_input_shape
        if shape is not None:
            self.build(shape)

    def pop(self, rebuild=True):
        """Take the last layer off, and return it."""
        if not self._layers:
            raise ValueError(f"Model '{self.name}' has no layer to take off.")
        if self.built:
            self._forget(self._chain.pop())
            self._connect_chain()
        return self._layers.pop()

    @property
    def sublayers(self):
        return self._layers

    @property
    def input_dtype(self):
        if self.graph is None and self._input is None and self._layers:
            return self._layers[0].input_dtype
        return super().input_dtype if self._input is None or self.graph else self._input.dtype

    def create(self, input_shape):
        if not self._layers:
            raise ValueError(f"Model '{self.name}' has no layers; add some first.")
        fresh = list(_unbuilt(self._layers))
        first = self._input
        if first is None or first.batch_shape != input_shape:
            first = InputLayer(batch_shape=input_shape, dtype=self.input_dtype)
        self._chain = [first.output]
        try:
            for layer in self._layers:
                self._chain.append(apply(layer, self._chain[-1]))
            self._connect_chain()
        except Exception:
            # Nothing is left of a shape that did not fit: the next may.
            self._drop_chain()
            for layer in fresh:
                layer.unbuild()
            raise

    def unbuild(self):
        super().unbuild()
        self._drop_chain()
        self.graph = None

    def _drop_chain(self):
        for made in self._chain[1:]:
            self._forget(made)
        self._chain = []

    def _forget(self, made):
        """The layer that made this is not applied here any more."""
        flatten(made)[0].node.remove()

    def _connect_chain(self):
        """The graph from the chain."""
        outputs = flatten(self._chain[-1])
        self.input, self.output = self._chain[0], one_or_all(outputs)
        self._connect(self._chain[:1], outputs)

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

    def convert_input(self, x):
        # Before there is a graph, too: its shape follows from the data.
        if not self._layers:
            raise ValueError(f"Model '{self.name}' has no layers; add some first.")
        return self._layers[0].convert_input(x)

    # -- configuration -----------------------------------------------------------------------------

    def get_config(self):
        entries = [] if self._input is None else [self._input]
        return Layer.get_config(self) | {
            "layers": [_entry(layer) for layer in (*entries, *self._layers)],
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
        config["layers"] = [
            serialization.deserialize(entry, custom_objects) for entry in config["layers"]
        ]
        model = cls(**config)
        if shape is not None:
            model.build(shape)
        return model


class DrawnModel(OwnAttributes, Model):
    """What a class of models with a `call` of its own is: see `fastrnn.layers.composite`.

    The `call` is run once, when the shapes of the inputs are known, for training and once more
    for all else if it asks for ``training``.
    """

    drawn_by = None
    _form = None

    def __init__(self, inputs=None, outputs=None, name=None, trainable=True, dtype=None):
        if inputs is not None:  # the graph is given, and there is nothing to draw
            super().__init__(inputs, outputs, name, trainable)
            return
        self._start(name or unique_name(snake_case(type(self).__name__)), trainable, dtype)
        self.input_names, self.output_names = ["x"], ["y"]  # until they are known

    def build(self, input_shape):
        """Make the weights, for inputs of this shape; a list or dict of shapes for several."""
        if self.built:
            return
        self._shapes = shapes = shapes_of(input_shape)
        if isinstance(shapes, dict):
            shapes = [shapes[name] for name in sorted(shapes)]
        super().build(shapes)

    def create(self, input_shape):
        self._form = self._form or Form.of_one(self._shapes)
        self._owner = self
        self.draw(self.call, of_any_rows(self._shapes), self._form)

    @property
    def is_drawn(self):
        return self.graph is not None

    def finish_build(self, input_shape):
        self.built = False
        DrawnModel.build(self, input_shape)

    def unbuild(self):
        super().unbuild()
        self.graph = self.training_graph = self._form = None

    def __call__(self, *arguments, mask=None, training=None, **options):
        if len(arguments) > 1 or options:
            arguments = [take_form(self, arguments, options)]
        return super().__call__(*arguments, mask, training)

    @property
    def outputs_known(self):
        return self.built

    def expect(self, x):
        """Build the model for data like x.

        Several inputs are a dict, a tuple, or a list of arrays that have equally many rows; any
        other list has a sequence for each row.
        """
        if isinstance(x, dict):
            shapes = {name: self._shape_of(f"x['{name}']", x[name]) for name in sorted(x)}
        elif _are_several(x):
            shapes = [self._shape_of(f"x[{i}]", part) for i, part in enumerate(x)]
        else:
            shapes = self._shape_of("x", x)
        self.build(shapes)

    @staticmethod
    def _shape_of(name, x):
        return rows_of(x, np.asarray, name).build_shape

    @property
    def layers(self):
        """The layers that are attributes of the model, or in lists there."""
        return [*layers_in(vars(self))]

    @property
    def sublayers(self):
        if self.graph is None:
            return self.layers
        drawn = [*self.graph.layers, *self.training_graph.layers]
        return [*dict.fromkeys([*self.layers, *drawn])]

    shows_connections = False

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        """The arguments of ``__init__`` that the model has as attributes, where those are plain."""
        return Layer.get_config(self) | plain_arguments(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A new model, without weights, from `get_config`'s dict."""
        return made_from(cls, config)

    def get_build_config(self):
        return {"input_shape": self._shapes} if self.built else None


Composite.drawn_by = staticmethod(lambda cls: DrawnModel)


def _are_several(x):
    """Whether x holds several inputs, and is not one with a sequence for each row."""
    if not isinstance(x, (list, tuple)) or not all(
        hasattr(part, "shape") and part.ndim > 1 for part in x
    ):
        return False
    return isinstance(x, tuple) or len(x) > 1 and len({len(part) for part in x}) == 1


for _class, _name in ((Sequential, "sequential"), (Model, "functional")):
    serialization.registry.add(_name)(_class)


# -- from configurations ---------------------------------------------------------------------------

# How a node's config says that a mask is the one that travels with a tensor.
_MASK_OF = "__mask_of__"


def _entry(layer):
    """A layer in the config of a model."""
    entry = serialization.serialize(layer)
    if isinstance(layer, Sequential):
        entry["module"] = "keras"
    elif isinstance(layer, Model) and not isinstance(layer, DrawnModel):
        entry |= {
            "module": "keras.src.models.functional", "class_name": "Functional",
            "registered_name": "Functional",
        }
    return entry


def _counts_from_one(layer):
    return isinstance(layer, Model) and not isinstance(layer, (Sequential, DrawnModel))


def _places(tensor_at, given):
    """`_mapped` for places: lists of a name and two numbers."""
    if isinstance(given, dict):
        return {key: _places(tensor_at, value) for key, value in given.items()}
    if len(given) == 3 and isinstance(given[0], str):
        return tensor_at(*given)
    return [_places(tensor_at, part) for part in given]


class _Rebuilt:
    """The layers of a config, made anew and applied to one another as it says."""

    def __init__(self, config, custom_objects):
        # What Keras computes masks with stands among the layers: ours travel by themselves.
        self._operations = {
            entry["name"]: entry["class_name"] for entry in config["layers"]
            if str(entry.get("module")).startswith("keras.src.ops")
        }
        entries_ = [e for e in config["layers"] if e["name"] not in self._operations]
        self.layers = {
            e["name"]: serialization.deserialize(e, custom_objects) for e in entries_
        }
        self.made = {
            name: [layer.nodes[0]] if isinstance(layer, InputLayer) else []
            for name, layer in self.layers.items()
        }
        waiting = {e["name"]: list(e["inbound_nodes"]) for e in entries_}
        while any(waiting.values()):
            before = sum(map(len, waiting.values()))
            for name, nodes in waiting.items():
                while nodes and self._ready(nodes[0]):
                    self._apply(name, nodes.pop(0))
            if sum(map(len, waiting.values())) == before:
                stuck = ", ".join(repr(name) for name, nodes in waiting.items() if nodes)
                raise ValueError(
                    f"Model '{config.get('name')}': the configuration of its layers {stuck} is a "
                    "loop, or refers to outputs that there are not."
                )

    def tensor(self, name, use, i):
        """The tensor at a place of ``input_layers`` or ``output_layers``."""
        return self._tensor(name, use - _counts_from_one(self.layers.get(name)), i)

    def _tensor(self, name, use, i):
        if name in self._operations:
            raise ValueError(
                f"layer '{name}' is the operation {self._operations[name]} of keras.ops "
                "(keras.src.ops), which fastrnn does not have as a layer: save the model with a "
                "layer in its place."
            )
        if name not in self.made:
            raise ValueError(f"The configuration refers to a layer '{name}' that is not there.")
        return self.made[name][use].outputs[i]

    def _ready(self, node):
        return all(
            name in self._operations or name in self.made and use < len(self.made[name])
            for name, use, _ in _histories(node)
        )

    def _apply(self, name, node):
        (x, *positional), kwargs = node["args"], dict(node["kwargs"])
        if positional:
            kwargs["initial_state"] = positional[0]
        x, states = self._given(x), self._given(kwargs.get("initial_state"))
        mask = self._mask(kwargs.get("mask"), x, states)
        structure = apply(self.layers[name], x, mask, states)
        self.made[name].append(flatten(structure)[0].node)

    def _given(self, config):
        """Tensors, from their configs."""
        if isinstance(config, (list, tuple)):
            return [self._given(part) for part in config]
        if not isinstance(config, dict):
            return None
        return self._tensor(*config["config"]["keras_history"])

    def _mask(self, config, x, states):
        if not isinstance(config, dict):
            return None
        if config["class_name"] == _MASK_OF:
            return MaskOf(self._given(config["config"]))
        if config["config"]["keras_history"][0] in self._operations:
            # Computed from ids or features: the mask that x has here too, and takes along unless
            # there is a state.
            return MaskOf(x) if states is not None else None
        return self._given(config)


def _histories(config):
    """All places that the config of a node refers to."""
    if isinstance(config, dict):
        if "keras_history" in config:
            yield config["keras_history"]
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from _histories(part)


def _unbuilt(layers):
    """The layers without weights yet, and those inside them."""
    for layer in layers:
        if not layer.built:
            yield layer
            yield from _unbuilt(layer.sublayers)


# -- the table of a summary ------------------------------------------------------------------------


def _in_range(layers, names, nested):
    """Pairs of a depth and a layer: those between two names, with those inside models or not."""
    if names is not None:
        if len(names) != 2:
            raise ValueError(f"summary: layer_range: expected two names; got {names!r}.")
        found = [[i for i, la in enumerate(layers) if re.match(n, la.name)] for n in names]
        if not all(found):
            raise ValueError(
                f"summary: layer_range: no layer is named like {names[bool(found[0])]!r}; there "
                f"are {[layer.name for layer in layers]}."
            )
        layers = layers[found[0][0] : found[1][-1] + 1]
    for layer in layers:
        yield 0, layer
        if nested and isinstance(layer, Model):
            yield from ((depth + 1, inner) for depth, inner in _in_range(layer.layers, None, True))


def _shape_text(shape):
    return ", ".join(map(_shape_text, shape)) if isinstance(shape, list) else str(tuple(shape))


def _is_chain(graph):
    """Whether each layer is applied once, to the output of the one before."""
    nodes = graph.nodes
    return len(graph.inputs) == len(graph.outputs) == 1 and all(
        len(node.parents) == 1 and graph.source(node.parents[0]).node is before
        for before, node in zip(nodes, nodes[1:], strict=False)
    )


def _amount(count, size):
    """A number of parameters, with their size in memory."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"


def _table(rows, line_length):
    """Lines of a table, the third column aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if line_length is not None:
        widths[0] += max(0, line_length - sum(widths) - 3 * len(widths) - 1)

    def line(cells):
        cells = [
            f"{cell:{'>' if i == 2 else '<'}{width}}"
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"│ {' │ '.join(cells)} │"

    def rule(left, middle, right):
        return left + middle.join("─" * (width + 2) for width in widths) + right

    lines = [rule("┌", "┬", "┐"), line(rows[0])]
    for row in rows[1:]:
        lines += [rule("├", "┼", "┤"), line(row)]
    return [*lines, rule("└", "┴", "┘")]
