"""fastrnn against values that Keras 3.15.1 computed.

``keras_values/make_keras_values.py`` says how they were made and stored. Every case is replayed
through the same calls as there, on both engines, and is named as in ``keras_values.json`` (and
``score_values.json``).
"""

import inspect
import json
import re
import warnings

import numpy as np
import pytest
from keras_values.reading import (
    ABSENT,
    TOLERANCE,
    check,
    check_arguments,
    each,
    engine,
    load,
    named,
)

import fastrnn

__all__ = ["engine"]  # a fixture

VALUES = load("keras_values")
SCORES = load("score_values")
FACTS = {
    topic: VALUES["facts"][topic] | SCORES["facts"][topic] for topic in ("signatures", "configs")
}
NAMES = [
    (module, name, meaning)
    for facts in (VALUES["facts"], SCORES["facts"])
    for module, names in facts["names"].items() for name, meaning in names.items()
]


def check_scores(actual, expected):
    """Compare what evaluate and its kin return: a number, a list or a dictionary of numbers."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    assert all(isinstance(score, float) for score in np.atleast_1d(np.array(actual, object)))
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)


def sequential(case):
    """Return the case's model with its weights set."""
    layers = [getattr(fastrnn.layers, name)(**config) for name, config in case["layers"]]
    model = fastrnn.Sequential(layers)
    model.build((None, *case["x"].shape[1:]))
    model.set_weights(case["weights"])
    return model


# --- layers, losses, metrics, optimizers, initializers ------------------------------------------


@each(VALUES["layers"])
def test_layer(case, engine):
    layer = getattr(fastrnn.layers, case["class"])(**case["config"])
    layer.build(case["x"].shape)
    layer.set_weights(case["weights"])
    check(layer(case["x"], **case["call"]), case["output"])


@each(VALUES["activations"])
def test_activation(case, engine):
    layer = fastrnn.layers.Activation(case["activation"])
    check(layer(case["x"]), case["output"])
    check(fastrnn.activations.get(case["activation"])(case["x"]), case["output"])


@each(VALUES["stacks"])
def test_stack(case, engine):
    model = sequential(case)
    check(model.predict(case["x"], batch_size=4, verbose=0), case["output"])
    check(model.predict_on_batch(case["x"]), case["output"])


@each(VALUES["losses"] | SCORES["losses"])
def test_loss(case, engine):
    loss = getattr(fastrnn.losses, case["class"])(**case["config"])
    value = loss(case["y_true"], case["y_pred"], sample_weight=case["sample_weight"])
    assert float(value) == pytest.approx(case["value"], rel=TOLERANCE, abs=1e-6)


@each(VALUES["metrics"] | SCORES["metrics"])
def test_metric(case):
    metric_class = getattr(fastrnn.metrics, case["class"])
    assert metric_class().name == case["default_name"]
    metric = metric_class(**case["config"])
    for _ in range(2):
        results = []
        for start, stop in case["batches"]:
            weight = case["sample_weight"]
            metric.update_state(
                case["y_true"][start:stop],
                case["y_pred"][start:stop],
                sample_weight=None if weight is None else weight[start:stop],
            )
            results.append(metric.result())
        # Keras takes the variance, in single precision, as a difference of large numbers.
        tolerance = 1e-4 if case["class"] == "R2Score" else TOLERANCE
        for found, expected in zip(results, case["results"], strict=True):
            assert type(found) is (np.ndarray if np.ndim(expected) else float)
            assert np.shape(found) == np.shape(expected)
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-6)
        metric.reset_state()


@each(VALUES["optimizers"] | SCORES["optimizers"])
def test_optimizer(case, engine):
    optimizer = getattr(fastrnn.optimizers, case["class"])(**case["config"])
    variables = [w.copy() for w in case["start"]]
    for gradients, expected in zip(case["gradients"], case["weights"], strict=True):
        with warnings.catch_warnings():
            # Keras warns of a missing gradient, and so may fastrnn.
            warnings.filterwarnings("ignore", category=UserWarning)
            optimizer.apply(gradients, variables)
        check(variables, expected, tolerance=2e-6)
    optimizer.finalize_variable_values(variables)
    check(variables, case["finalized"], tolerance=2e-6)


@each(VALUES["initializers"])
def test_initializer(case):
    module, shape = fastrnn.initializers, tuple(case["shape"])
    seeded = {} if case["std"] == 0 else {"seed": 3}
    draws = [getattr(module, case["class"])(**case["config"], **seeded)(shape)]
    if case["alias"] is not None:
        draws.append(module.get(case["alias"])(shape))
    for draw in draws:
        assert (draw.shape, draw.dtype) == (shape, np.float32)
        # Two draws of 40 000 numbers: their means lie within six standard errors.
        assert abs(draw.mean() - case["mean"]) <= 6 * case["std"] * np.sqrt(2 / draw.size)
        assert draw.std() == pytest.approx(case["std"], rel=0.025)
        if case["class"] in ("RandomUniform", "GlorotUniform", "GlorotNormal"):
            width = case["max"] - case["min"]
            assert draw.min() == pytest.approx(case["min"], abs=0.002 * width)
            assert draw.max() == pytest.approx(case["max"], abs=0.002 * width)
        if case["class"] == "Orthogonal":
            short = draw if shape[0] < shape[1] else draw.T
            gain = case["config"].get("gain", 1.0)
            np.testing.assert_allclose(short @ short.T, gain**2 * np.eye(len(short)), atol=1e-5)


# --- training -----------------------------------------------------------------------------------


def compiled(case):
    """Return the case's model, compiled."""
    model = sequential(case)
    arguments = dict(case["compile"])
    arguments["optimizer"] = named(fastrnn.optimizers, arguments["optimizer"])
    arguments["loss"] = named(fastrnn.losses, arguments["loss"])
    model.compile(**arguments)
    return model


def class_weight_of(case):
    """Return the case's class weights as the dictionary that fit takes (JSON has no int keys)."""
    pairs = case.get("class_weight")
    return None if pairs is None else {label: weight for label, weight in pairs}


@each(VALUES["training"])
def test_training(case, engine):
    model = compiled(case)
    x, y = case["x"], case["y"]
    weight = case.get("sample_weight")
    evaluation = {"batch_size": 16, "verbose": 0}
    check_scores(model.evaluate(x, y, **evaluation), case["evaluated_before"])

    validation = case.get("validation_data")
    history = model.fit(
        x,
        y,
        shuffle=False,
        verbose=0,
        sample_weight=weight,
        class_weight=class_weight_of(case),
        validation_data=None if validation is None else tuple(validation),
        **case["fit"],
    )
    assert list(history.history) == list(case["history"])
    assert (history.epoch, history.params) == (case["epochs"], case["params"])
    for name, expected in case["history"].items():
        np.testing.assert_allclose(
            history.history[name], expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )
    check(model.get_weights(), case["weights_after"])
    check_scores(model.evaluate(x, y, **evaluation), case["evaluated"])
    check_scores(
        model.evaluate(x, y, sample_weight=weight, **evaluation), case["evaluated_weighted"]
    )
    check_scores(model.evaluate(x, y, return_dict=True, **evaluation), case["evaluated_dict"])
    check(model.predict(x, batch_size=16, verbose=0), case["predicted"])


@each(VALUES["batches"])
def test_batch_methods(case, engine):
    model = compiled(case)
    for i, (start, stop) in enumerate(case["batches"]):
        x, y = case["x"][start:stop], case["y"][start:stop]
        weight = case["sample_weight"]
        weight = None if weight is None else weight[start:stop]
        scores = model.train_on_batch(
            x, y, sample_weight=weight, class_weight=class_weight_of(case)
        )
        check_scores(scores, case["trained"][i])
        check_scores(model.test_on_batch(x, y, sample_weight=weight), case["tested"][i])
        check(model.predict_on_batch(x), case["predicted"][i])
    check(model.get_weights(), case["weights_after"])


# --- facts --------------------------------------------------------------------------------------


def find(path):
    """Return what a dotted path below the package names."""
    found = fastrnn
    for part in path.split("."):
        found = getattr(found, part)
    return found


def unnumbered(name):
    """Return a default name without the number that keeps it unique."""
    return re.sub(r"_\d+$", "", name)


@pytest.mark.parametrize("name", FACTS["signatures"])
def test_arguments_and_their_order(name):
    check_arguments(find(name), FACTS["signatures"][name])


@pytest.mark.parametrize("name", FACTS["configs"])
def test_config(name):
    fact = FACTS["configs"][name]
    config = find(name)(**fact["arguments"]).get_config()
    assert set(fact["keys"]) - ABSENT <= set(config)
    for key in set(fact["values"]) - ABSENT - {"name"}:
        value = fact["values"][key]
        assert config[key] == (pytest.approx(value) if isinstance(value, float) else value), key
    assert unnumbered(config["name"]) == fact["values"]["name"]
    assert find(name).from_config(config).get_config() == config
    json.dumps(config)


@pytest.mark.parametrize(("module", "name", "expected"), NAMES)
def test_names_that_stand_for_objects(module, name, expected):
    found = getattr(fastrnn, module).get(name)
    title = found.__name__ if inspect.isfunction(found) else type(found).__name__
    assert title.lower().replace("_", "") == expected.lower().replace("_", "")


@pytest.mark.parametrize("name", SCORES["facts"]["directions"])
def test_which_way_a_metric_is_better(name):
    expected = SCORES["facts"]["directions"][name]
    found = getattr(fastrnn.metrics, name)().direction
    assert found == expected or expected is None  # where Keras does not say we may


@each(VALUES["facts"]["accuracy"])
@pytest.mark.parametrize("word", ["acc", "accuracy"])
def test_which_accuracy(word, case):
    losses = {
        "BinaryAccuracy": "binary_crossentropy",
        "CategoricalAccuracy": "categorical_crossentropy",
        "SparseCategoricalAccuracy": "sparse_categorical_crossentropy",
    }
    rng = np.random.default_rng(5)
    *shape, width = case["y_pred"]
    classes = rng.integers(0, max(width, 2), shape)
    y = np.eye(width)[classes] if case["class"] == "CategoricalAccuracy" else classes
    y = y.reshape(case["y_true"])
    x = rng.standard_normal((*shape, 4)).astype("float32")
    model = fastrnn.Sequential([fastrnn.layers.Dense(width, activation="sigmoid")])
    model.compile("sgd", losses[case["class"]], metrics=[word])
    scores = model.evaluate(x, y, verbose=0, return_dict=True)
    metric = getattr(fastrnn.metrics, case["class"])()
    metric.update_state(y, model.predict(x, verbose=0))
    assert list(scores) == [word, "loss"] or list(scores) == ["loss", word]
    assert scores[word] == pytest.approx(float(metric.result()))


def test_summary(capsys):
    fact = VALUES["facts"]["summary"]
    layers = fastrnn.layers
    model = fastrnn.Sequential(
        [
            layers.Embedding(10000, 32),
            layers.SimpleRNN(32, return_sequences=True),
            layers.SimpleRNN(32),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.build((None, 500))
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    assert [unnumbered(n) for n in names] == [unnumbered(n) for n in fact["layer_names"]]
    assert unnumbered(model.name) == fact["model_name"]
    assert [layer.count_params() for layer in model.layers] == fact["parameters"]
    assert model.count_params() == fact["total"]
    assert [w.name for w in model.weights] == fact["weight_names"]
    assert [list(w.shape) for w in model.weights] == fact["weight_shapes"]
    assert list(model.output_shape) == fact["output_shape"]

    model.summary()
    printed = capsys.readouterr().out
    assert all(text in printed for text in [*names, *fact["numbers_in_summary"]])
    lines = []
    model.summary(print_fn=lines.append)
    assert "\n".join(lines).strip() == printed.strip()
