"""Models of several layers: predictions, weights after many updates, configurations."""

import json

import keras
import numpy as np
from common import (
    as_numpy,
    compiled_arguments,
    fill,
    generator,
    normal,
    padded_ids,
)
from recipes import make, models

N = 24


def data():
    """Return x and y of each model, N rows."""
    rng = generator("models")
    pre, post = (padded_ids(f"models/{side}", N, 6, 12, side) for side in ("pre", "post"))
    holes = np.where(generator("models/holes").random((N, 6)) < 0.3, 0, post).astype("int32")
    holes[:, 2] = 1  # so that no row is empty: its mean would be NaN
    empty = holes.copy()
    empty[3] = empty[10] = 0
    said, next_word = (padded_ids(f"models/target/{i}", N, 5, 12, "post") for i in range(2))
    reals = normal(rng, N, 6, 3)
    gaps = reals.copy()
    gaps[generator("models/gaps").random((N, 6)) < 0.3] = 0.0
    short = normal(rng, N, 5, 3)
    pairs = normal(rng, N, 5, 2)
    classes = rng.integers(0, 3, N).astype("int32")
    tags = rng.integers(0, 3, (N, 6)).astype("int32")
    label = (post[:, 0] > 5).astype("float32")[:, None]
    return {
        "stack": (empty, classes),
        "both_ways": (empty, label),
        "averaged": (holes, label),
        "normalized": (gaps, tags),
        "sentences": (np.stack([empty, pre], 1), label),
        "cells": (reals, pairs[:, 0]),
        "kept": (reals, pairs[:, 0]),
        "repeated": (reals, reals),
        "encoder_decoder": ([pre, said], next_word),
        "encoder_decoder_both_ways": ([gaps, pairs], pairs[:, ::-1].copy()),
        "siamese": ([pre, post], label),
        "two_outputs": (reals, [tags, pairs[:, 0, :1]]),
        "two_masks": ([post, pre], label),
        "attention": ([reals, short], pairs),
    }


def made(name):
    """Return the model of that recipe with drawn weights, and these by the layers' names."""
    keras.utils.clear_session()
    model = models[name](keras)
    weights = {
        layer.name: fill(layer, f"models/{name}/{layer.name}")
        for layer in model.layers
        if layer.weights
    }
    return model, weights


def weights_by_name(model):
    """Return the weights of each layer that has any."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def model_cases():
    """What each model predicts, in batches and at once."""
    cases = {}
    for name, (x, _) in data().items():
        model, weights = made(name)
        cases[name] = {
            "weights": weights,
            "layers": [layer.name for layer in model.layers],
            "x": x,
            "output": as_numpy(model.predict(x, batch_size=4, verbose=0)),
            "parameters": model.count_params(),
        }
    return cases


def training_cases():
    """Three dozen updates from the same start, with the same batches in the same order."""

    def optimizer(class_name, **config):
        return {"class": class_name, "config": config}

    sgd = optimizer("SGD", learning_rate=0.1, momentum=0.9, clipnorm=0.5)
    rmsprop = optimizer("RMSprop", learning_rate=0.005)
    adam = optimizer("Adam", learning_rate=0.01)
    bce, scce = "binary_crossentropy", "sparse_categorical_crossentropy"
    plans = {
        "stack/rmsprop": ("stack", rmsprop, scce),
        "stack/sgd": ("stack", sgd, scce),
        "both_ways/adam": ("both_ways", adam, bce),
        "both_ways/sgd": ("both_ways", sgd, bce),
        "averaged/rmsprop": ("averaged", rmsprop, bce),
        "normalized/adam": ("normalized", adam, scce),
        "sentences/adam": ("sentences", adam, bce),
        "cells/rmsprop": ("cells", rmsprop, "mse"),
        "kept/adam": ("kept", adam, "mse"),
        "repeated/adam": ("repeated", adam, "mse"),
        "encoder_decoder/rmsprop": ("encoder_decoder", rmsprop, scce),
        "encoder_decoder/adam": ("encoder_decoder", adam, scce),
        "encoder_decoder_both_ways/sgd": ("encoder_decoder_both_ways", sgd, "mse"),
        "siamese/adam": ("siamese", adam, bce),
        "two_outputs/adam": ("two_outputs", adam, [scce, "mse"]),
        "two_masks/rmsprop": ("two_masks", rmsprop, bce),
        "attention/adam": ("attention", adam, "mse"),
    }
    cases = {}
    for case, (name, optimizer, loss) in plans.items():
        x, y = data()[name]
        model, _ = made(name)
        arguments = {"optimizer": optimizer, "loss": loss}
        if isinstance(loss, list):
            arguments["loss_weights"] = [0.7, 2.0]
            compiled = compiled_arguments({"optimizer": optimizer, "loss": None})
            model.compile(**{**arguments, "optimizer": compiled["optimizer"]})
        else:
            model.compile(**compiled_arguments(arguments))
        fit = {"batch_size": 4, "epochs": 6}
        history = model.fit(x, y, shuffle=False, verbose=0, **fit)
        cases[case] = {
            "model": name,
            "y": y,
            "compile": arguments,
            "fit": fit,
            "history": history.history,
            "weights_after": weights_by_name(model),
            "predicted": as_numpy(model.predict(x, batch_size=4, verbose=0)),
        }
    return cases


# --- configurations -------------------------------------------------------------------------------


def config_cases():
    """The dict that Keras writes for each layer, and the shapes of its weights."""
    units = {"units": 2}
    cells = [["LSTMCell", {"units": 3, "dropout": 0.1}], ["GRUCell", {"units": 2, "seed": 4}]]
    everything = {
        "units": 3,
        "activation": "relu",
        "use_bias": False,
        "kernel_initializer": "glorot_normal",
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "kernel_constraint": "max_norm",
        "dropout": 0.2,
        "recurrent_dropout": 0.3,
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "zero_output_for_mask": True,
        "name": "reader",
    }
    sequence = (None, 5, 3)
    layers = {
        "simple_rnn": (["SimpleRNN", units], sequence),
        "simple_rnn/everything": (["SimpleRNN", everything], sequence),
        "lstm": (["LSTM", units], sequence),
        "lstm/everything": (
            ["LSTM", {**everything, "unit_forget_bias": False, "seed": 3}],
            sequence,
        ),
        "gru": (["GRU", units], sequence),
        "gru/everything": (["GRU", {**everything, "reset_after": False, "seed": 3}], sequence),
        "gru/gates": (["GRU", {**units, "recurrent_activation": "hard_sigmoid"}], sequence),
        "simple_rnn_cell": (["SimpleRNNCell", units], (None, 3)),
        "lstm_cell": (["LSTMCell", units], (None, 3)),
        "gru_cell": (["GRUCell", units], (None, 3)),
        "stacked_rnn_cells": (["StackedRNNCells", {"cells": cells}], (None, 3)),
        "rnn": (["RNN", {"cell": cells[0], "go_backwards": True}], sequence),
        "rnn/stack": (["RNN", {"cell": cells, "return_sequences": True}], sequence),
        "bidirectional": (["Bidirectional", {"layer": ["LSTM", units]}], sequence),
        "bidirectional/own_backward_layer": (
            [
                "Bidirectional",
                {
                    "layer": ["LSTM", {**units, "return_sequences": True}],
                    "backward_layer": [
                        "GRU",
                        {"units": 3, "return_sequences": True, "go_backwards": True},
                    ],
                    "merge_mode": None,
                    "name": "both",
                },
            ],
            sequence,
        ),
        "bidirectional/cells": (["Bidirectional", {"layer": ["RNN", {"cell": cells}]}], sequence),
        "time_distributed": (["TimeDistributed", {"layer": ["Dense", units]}], sequence),
        "embedding": (
            ["Embedding", {"input_dim": 9, "output_dim": 2, "mask_zero": True}],
            (None, 5),
        ),
        "dense": (
            ["Dense", {**units, "activation": "tanh", "kernel_regularizer": "l2"}],
            (None, 3),
        ),
        "masking": (["Masking", {"mask_value": -1.0}], sequence),
        "activation": (["Activation", {"activation": "softmax"}], sequence),
        "dropout": (["Dropout", {"rate": 0.25, "seed": 1}], sequence),
        "spatial_dropout_1d": (["SpatialDropout1D", {"rate": 0.25}], sequence),
        "global_average_pooling": (["GlobalAveragePooling1D", {"keepdims": True}], sequence),
        "global_max_pooling": (["GlobalMaxPooling1D", {}], sequence),
        "repeat_vector": (["RepeatVector", {"n": 3}], (None, 3)),
        "flatten": (["Flatten", {}], sequence),
        "reshape": (["Reshape", {"target_shape": [3, 5]}], sequence),
        "layer_normalization": (["LayerNormalization", {"epsilon": 0.01}], sequence),
        "batch_normalization": (["BatchNormalization", {"momentum": 0.9}], sequence),
        "concatenate": (["Concatenate", {"axis": 1}], [sequence, sequence]),
        "dot": (["Dot", {"axes": 2}], [sequence, sequence]),
        **{
            name.lower(): ([name, {}], [sequence, sequence])
            for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
        },
    }
    cases = {}
    for name, (specification, shape) in layers.items():
        keras.utils.clear_session()
        layer = make(keras.layers, specification)
        # As when a model is saved: through JSON, where a tuple becomes a list.
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        layer.build(shape)
        cases[name] = {
            "config": config,
            "input_shape": shape,
            "weights": [list(w.shape) for w in layer.weights],
        }
    return cases


def model_config_cases():
    """What Keras writes of each model."""
    return {
        name: {
            "class": type(made(name)[0]).__name__,
            "config": json.loads(made(name)[0].to_json())["config"],
        }
        for name in models
    }
