"""Facts of the API that are no arrays: arguments, configurations, names, the summary."""

import inspect

import keras
import numpy as np


def signature_facts():
    """Arguments of the public calls in order, with their defaults where these are plain values."""
    calls = {
        "layers": ("SimpleRNN", "Embedding", "Dense", "Dropout", "Masking", "Activation"),
        "losses": (
            "BinaryCrossentropy",
            "CategoricalCrossentropy",
            "SparseCategoricalCrossentropy",
            "MeanSquaredError",
            "MeanAbsoluteError",
        ),
        "metrics": ("BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy"),
        "optimizers": ("SGD", "RMSprop", "Adam", "AdamW"),
        "initializers": (
            "GlorotUniform",
            "GlorotNormal",
            "Orthogonal",
            "RandomUniform",
            "RandomNormal",
            "Constant",
        ),
    }
    methods = (
        "compile fit evaluate predict train_on_batch test_on_batch predict_on_batch add".split()
    )
    functions = {
        f"{module}.{name}": getattr(getattr(keras, module), name)
        for module, names in calls.items()
        for name in names
    }
    functions |= {f"Sequential.{name}": getattr(keras.Sequential, name) for name in methods}
    functions["preprocessing.sequence.pad_sequences"] = keras.utils.pad_sequences
    functions["datasets.imdb.load_data"] = keras.datasets.imdb.load_data
    functions["datasets.imdb.get_word_index"] = keras.datasets.imdb.get_word_index

    return {name: arguments_of(function) for name, function in functions.items()}


def arguments_of(function):
    """Return the arguments of a call in order, with those defaults that are plain values."""

    def plain(default):
        if default is inspect.Parameter.empty:
            return {"required": True}
        if default is None or isinstance(default, (bool, int, float, str)):
            return {"default": default}
        return {}

    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [
        [p.name, plain(p.default)]
        for p in inspect.signature(function).parameters.values()
        if p.name != "self" and p.kind not in skipped
    ]


def config_facts():
    """get_config() of each layer and optimizer, keys and those values that are plain."""
    layers = {
        "SimpleRNN": {"units": 4},
        "Embedding": {"input_dim": 9, "output_dim": 3},
        "Dense": {"units": 2},
        "Dropout": {"rate": 0.25},
        "Masking": {},
        "Activation": {"activation": "relu"},
    }
    optimizers = {name: {} for name in ("SGD", "RMSprop", "Adam", "AdamW")}
    return described_configs({"layers": layers, "optimizers": optimizers})


def described_configs(tables):
    """get_config() of objects, by module and class; of each its arguments."""
    facts = {}
    for module, table in tables.items():
        for class_name, arguments in table.items():
            keras.utils.clear_session()
            config = getattr(getattr(keras, module), class_name)(**arguments).get_config()
            plain = {k: v for k, v in config.items() if v is None or isinstance(v, (int, str))}
            floats = {k: round(v, 7) for k, v in config.items() if isinstance(v, float)}
            facts[f"{module}.{class_name}"] = {
                "arguments": arguments,
                "keys": sorted(config),
                "values": {**plain, **floats},
            }
    return facts


def name_facts():
    """Names that stand for a function or class."""
    names = {
        "losses": "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy "
        "mean_squared_error mean_absolute_error bce BCE mse MSE mae MAE",
        "metrics": "binary_accuracy categorical_accuracy sparse_categorical_accuracy "
        "BinaryAccuracy mse MSE mae MAE mean_squared_error mean_absolute_error",
        "optimizers": "sgd rmsprop adam adamw SGD RMSprop Adam AdamW",
        "initializers": "glorot_uniform glorot_normal uniform random_uniform normal random_normal "
        "zeros ones zero one orthogonal GlorotUniform RandomUniform Zeros Orthogonal",
    }

    return meant_by(names)


def meant_by(names):
    """What each of the listed names stands for, by module."""

    def title(found):
        return found.__name__ if inspect.isfunction(found) else type(found).__name__

    return {
        module: {name: title(getattr(keras, module).get(name)) for name in listed.split()}
        for module, listed in names.items()
    }


def accuracy_facts():
    """Which accuracy "acc" and "accuracy" stand for, by the shapes of labels and output."""
    shapes = {
        "one_unit": ((6,), (6, 1)),
        "one_unit_column": ((6, 1), (6, 1)),
        "one_hot": ((6, 3), (6, 3)),
        "class_numbers": ((6,), (6, 3)),
        "class_numbers_column": ((6, 1), (6, 3)),
        "steps_one_hot": ((6, 4, 3), (6, 4, 3)),
        "steps_class_numbers": ((6, 4), (6, 4, 3)),
        "steps_one_unit": ((6, 4, 1), (6, 4, 1)),
    }
    from keras.src.trainers.compile_utils import get_metric

    return {
        name: {
            "y_true": list(true),
            "y_pred": list(pred),
            "class": type(get_metric("acc", np.zeros(true), np.zeros(pred))).__name__,
        }
        for name, (true, pred) in shapes.items()
    }


def summary_facts():
    """Parameters and shapes of the sentiment model, and the names its parts get by themselves."""
    keras.utils.clear_session()
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Embedding(10000, 32),
            layers.SimpleRNN(32, return_sequences=True),
            layers.SimpleRNN(32),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.build((None, 500))
    lines = []
    model.summary(print_fn=lines.append)
    return {
        "model_name": model.name,
        "layer_names": [layer.name for layer in model.layers],
        "parameters": [layer.count_params() for layer in model.layers],
        "total": model.count_params(),
        "weight_names": [w.name for w in model.weights],
        "weight_shapes": [list(w.shape) for w in model.weights],
        "output_shape": list(model.output_shape),
        "numbers_in_summary": ["320,000", "2,080", "33", f"{model.count_params():,}"],
    }


def fact_cases():
    """Facts of the API that are no arrays."""
    return {
        "signatures": signature_facts(),
        "configs": config_facts(),
        "names": name_facts(),
        "accuracy": accuracy_facts(),
        "summary": summary_facts(),
    }
