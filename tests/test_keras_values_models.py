"""Whole models of gated layers, and configurations, against what Keras 3.15.1 made of them.

The models are those of ``keras_values/recipes.py``, made here and there by the same lines.
"""

import json

import numpy as np
import pytest
from keras_values.reading import ABSENT, check, each, engine, load, named
from keras_values.recipes import models

import fastrnn
from fastrnn.layers.serialization import deserialize
from fastrnn.saving.configs import from_keras

__all__ = ["engine"]  # a fixture

VALUES = load("model_values")

# 36 updates multiply what rounding does to one.
TRAINED = 1e-4


def made(name):
    """Return a model of that recipe with the weights that Keras started from."""
    return with_weights(models[name](fastrnn), VALUES["models"][name]["weights"])


def with_weights(model, weights):
    """Return the model with weights given by the names of its layers."""
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    return model


def weights_of(model):
    """Return the weights of each layer that has any, by its name."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.parameters}


def layer_names(names):
    """Return the names without those of inputs, which a Sequential does not list."""
    return [name for name in names if not name.startswith("input_layer")]


@pytest.mark.parametrize("name", VALUES["models"])
def test_model(name, engine):
    case = VALUES["models"][name]
    model = made(name)
    assert layer_names(layer.name for layer in model.layers) == layer_names(case["layers"])
    assert model.count_params() == case["parameters"]
    check(model.predict(case["x"], batch_size=4, verbose=0), case["output"])


@each(VALUES["training"])
def test_training(case, engine):
    model = made(case["model"])
    x = VALUES["models"][case["model"]]["x"]
    compiled = dict(
        case["compile"], optimizer=named(fastrnn.optimizers, case["compile"]["optimizer"])
    )
    model.compile(**compiled)
    history = model.fit(x, case["y"], shuffle=False, verbose=0, **case["fit"])
    for key, losses in case["history"].items():
        np.testing.assert_allclose(history.history[key], losses, rtol=TRAINED, err_msg=key)
    assert list(history.history) == list(case["history"])
    weights = weights_of(model)
    assert set(weights) == set(case["weights_after"])
    for name, expected in case["weights_after"].items():
        check(weights[name], expected, TRAINED, name)
    check(model.predict(x, batch_size=4, verbose=0), case["predicted"], TRAINED, "predict")


# --- configurations -------------------------------------------------------------------------------

# What Keras's configurations say that changes nothing here, or that only one value is known of.
UNUSED = ABSENT | {"dtype", "renorm", "renorm_clipping", "renorm_momentum", "synchronized"}
UNUSED |= {"rms_scaling", "input_axes", "output_axes"}


def check_config(ours, keras):
    """Compare the arguments that both know; layers inside by their own configurations."""
    for key in set(keras) - UNUSED:
        if isinstance(keras[key], dict) and "class_name" in keras[key]:
            assert ours[key]["class_name"] == keras[key]["class_name"], key
            check_config(ours[key]["config"], keras[key]["config"])
        elif isinstance(keras[key], list) and keras[key] and isinstance(keras[key][0], dict):
            for mine, other in zip(ours[key], keras[key], strict=True):
                assert mine["class_name"] == other["class_name"]
                check_config(mine["config"], other["config"])
        elif isinstance(keras[key], float):
            assert ours[key] == pytest.approx(keras[key]), key
        else:
            assert ours[key] == keras[key], key


@each(VALUES["configs"])
def test_layer_from_config(case):
    layer = deserialize(from_keras({"layer": case["config"]})["layer"])
    shape = case["input_shape"]
    layer.build([tuple(s) for s in shape] if isinstance(shape[0], list) else tuple(shape))
    assert [list(w.shape) for w in layer.get_weights()] == case["weights"]
    check_config(json.loads(json.dumps(layer.get_config())), case["config"]["config"])


@pytest.mark.parametrize("name", VALUES["model_configs"])
def test_model_from_config(name):
    case, known = VALUES["model_configs"][name], VALUES["models"][name]
    model_class = fastrnn.Sequential if case["class"] == "Sequential" else fastrnn.Model
    config = from_keras({"class_name": case["class"], "config": case["config"]})["config"]
    model = with_weights(model_class.from_config(config), known["weights"])
    check(model.predict(known["x"], batch_size=4, verbose=0), known["output"])


@pytest.mark.parametrize("name", models)
def test_config_goes_round(name):
    model = made(name)
    config = json.loads(json.dumps(model.get_config()))
    again = with_weights(type(model).from_config(config), weights_of(model))
    known = VALUES["models"][name]
    check(again.predict(known["x"], batch_size=4, verbose=0), known["output"])
