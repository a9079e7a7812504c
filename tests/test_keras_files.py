"""Files of Keras: what Keras saved is read, what is saved for it Keras reads, and nothing harms."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn import losses, metrics
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNormalization,
    Bidirectional,
    Dense,
    Embedding,
    GRUCell,
    Input,
    LayerNormalization,
    LSTMCell,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.models import Model, Sequential, load_model
from fastrnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    Ftrl,
    Lion,
    Nadam,
    RMSprop,
)
from fastrnn.saving.hdf5 import Reader

h5py = pytest.importorskip("h5py", reason="h5py is an extra: pip install fastrnn[keras]")

HERE = Path(__file__).parent / "exchange"
FILES = [
    f"{name}{ending}"
    for name in ("sentiment", "stack", "frozen", "translation", "bare")
    for ending in (".keras", ".h5")
]


# Of classes that are written as a `call`.
CALLS = ["reader", "pair", "cells"]
_spec = importlib.util.spec_from_file_location("calls", HERE / "calls.py")
calls = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(calls)
OWN = calls.classes(fastrnn)
TEXTS = ["texts", "weighted", "looked_up"]  # which begin with a vocabulary
KERAS_SCORES = ["nadam", "adamax", "adagrad", "adadelta", "lion", "ftrl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that Keras saved."""
    folder = tmp_path_factory.mktemp("keras")
    for name in ("keras_files.zip", "keras_scores.zip", "keras_calls.zip", "keras_texts.zip"):
        with zipfile.ZipFile(HERE / name) as archive:
            archive.extractall(folder)
    return folder


def expected_of(name, folder):
    """Inputs, and what Keras computed."""
    values = dict(np.load(folder / f"{name.partition('.')[0]}.npz"))
    xs = [values[f"x{i}"] for i in range(sum(key.startswith("x") for key in values))]
    return (xs if len(xs) > 1 else xs[0]), values


# -- what Keras saved ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILES, *(f"{name}.keras" for name in CALLS + TEXTS)])
def test_outputs_of_a_model_that_keras_saved(name, folder):
    x, expected = expected_of(name, folder)
    model = load_model(folder / name, OWN)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["y"], atol=1e-5)
    assert model.compiled == ("bare" not in name)


@pytest.mark.parametrize(
    "name", [*(n for n in FILES if "bare" not in n), *(f"{name}.keras" for name in CALLS + TEXTS)]
)
def test_training_goes_on_as_in_keras(name, folder):
    x, expected = expected_of(name, folder)
    model = load_model(folder / name, OWN)
    for _ in range(2):
        model.train_on_batch(x, expected["t"])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["later"], atol=1e-4)


@pytest.mark.parametrize("name", ["sentiment", "translation", "texts", "weighted", *CALLS])
def test_weights_that_keras_saved(name, folder):
    x, expected = expected_of(name, folder)
    model = load_model(folder / f"{name}.keras", OWN)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.load_weights(folder / f"{name}.weights.h5")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["y"], atol=1e-5)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_weights_of_whole_models(ending, folder):
    x, expected = expected_of("sentiment", folder)
    model = load_model(folder / "sentiment.keras", compile=False)
    assert not model.compiled
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    model.load_weights(folder / f"sentiment{ending}")
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["y"], atol=1e-5)


def test_configuration_of_a_model_that_keras_saved(folder):
    model = load_model(folder / "sentiment.keras")
    words, both, gru, *_, out = model.layers
    assert words.name == "words" and words.mask_zero
    assert both.forward_layer.units == 3 and both.merge_mode == "concat"
    assert type(gru.cell.bias_initializer).__name__ == "RandomNormal"
    assert out.kernel_regularizer.l2 == pytest.approx(0.01)
    assert isinstance(model.optimizer, RMSprop) and model.optimizer.centered
    assert model.optimizer.learning_rate == 0.01 and model.optimizer.iterations in (0, 2)


def test_optimizer_of_weights_comes_along_once_it_trains(folder):
    x, expected = expected_of("sentiment", folder)
    model = load_model(folder / "sentiment.keras")
    for _ in range(2):
        model.train_on_batch(x, expected["t"])
    model.load_weights(folder / "sentiment.weights.h5")
    for _ in range(2):
        model.train_on_batch(x, expected["t"])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["later"], atol=1e-4)


# -- what is saved for Keras -----------------------------------------------------------------------


def many_layers():
    model = Sequential([
        Input((5,), dtype="int32"),
        Embedding(31, 4, mask_zero=True),
        Bidirectional(GRU(3, return_sequences=True)),
        Sequential([Input((5, 6)), BatchNormalization(), TimeDistributed(Dense(4, "relu"))]),
        BatchNormalization(),
        RNN([LSTMCell(3), GRUCell(3)], return_sequences=True),
        LayerNormalization(),
        SimpleRNN(3, return_sequences=True),
        LSTM(2, recurrent_activation="hard_sigmoid"),
        Dense(1, "sigmoid"),
    ])
    model.compile(Adam(0.01, amsgrad=True, use_ema=True), "binary_crossentropy", metrics=["acc"])
    return model


def handed_over():
    source, target = Input((5,), name="source"), Input((3, 2), name="target")
    _, h, c = LSTM(3, return_state=True)(Embedding(31, 3)(source))
    decoded = LSTM(3, return_sequences=True)(target, initial_state=[h, c])
    head = Sequential([Input((3,)), Dense(2, "tanh"), Dense(3)])
    merged = fastrnn.layers.Concatenate()([head(h), head(GRU(3)(decoded))])
    model = Model([source, target], Dense(1)(merged))
    model.compile(RMSprop(0.01, momentum=0.5), "mse")
    return model


def masks_handed_on():
    """A decoder that is given states takes a mask only if it is told to."""
    source, target = Input((5,), name="source"), Input((5,), name="target")
    words = Embedding(31, 3, mask_zero=True)
    _, h = GRU(3, return_state=True)(words(source))
    y = fastrnn.layers.Dropout(0.0)(words(target))
    decoded = GRU(3, return_sequences=True)(y, initial_state=h, mask=y.mask)
    model = Model([source, target], Dense(1)(LSTM(2)(decoded)))
    model.compile("sgd", "mse")
    return model


def frozen_middle():
    model = Sequential([
        Input((4, 3)), BatchNormalization(), GRU(2, return_sequences=True), LSTM(3), Dense(1)
    ])
    model.layers[1].trainable = False
    model.compile(
        SGD(0.1, momentum=0.9), "mse", metrics=["mae", fastrnn.metrics.MeanAbsoluteError()]
    )
    return model


def scored(optimizer, loss, *given):
    """A small net, compiled with these, and with weighted metrics that have several figures."""
    def make():
        model = Sequential([Input((4, 3)), GRU(2), Dense(1, activation="sigmoid")])
        weighted = [metrics.Precision([0.3, 0.5], name="each"), metrics.F1Score(threshold=0.4)]
        model.compile(optimizer(), loss, metrics=list(given), weighted_metrics=weighted)
        return model

    return make


SCORED = {
    "adagrad": scored(lambda: Adagrad(0.1), losses.Hinge(), "hinge", metrics.Hinge(name="h")),
    "adadelta": scored(
        lambda: Adadelta(1.0), losses.LogCosh(), "log_cosh_error", losses.huber, losses.log_cosh
    ),
    "adamax": scored(
        lambda: Adamax(0.05), losses.Huber(0.3), metrics.RootMeanSquaredError(), metrics.R2Score()
    ),
    "nadam": scored(
        lambda: Nadam(0.05), losses.BinaryFocalCrossentropy(True, gamma=1.5),
        metrics.AUC(num_thresholds=50, curve="PR"), metrics.Recall(0.4), "precision",
    ),
    "nadam_gathering": scored(
        lambda: Nadam(0.05, gradient_accumulation_steps=2), "msle", "cosine_similarity"
    ),
    "lion": scored(lambda: Lion(0.01), losses.mean_squared_error, "poisson", "kl_divergence"),
    "ftrl": scored(
        lambda: Ftrl(0.1), "poisson", metrics.AUC(thresholds=[0.3, 0.5]), "false_negatives"
    ),
}

MODELS = SCORED | {
    "many_layers": many_layers, "handed_over": handed_over, "frozen_middle": frozen_middle,
    "masks_handed_on": masks_handed_on,
}


def data_for(model, random):
    inputs = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    xs = [
        # No id comes twice: Keras's TensorFlow backend is mistaken about such gradients.
        random.permutation(np.arange(1, 31)).reshape(6, 5) if len(shape) == 2
        else random.normal(size=(6, *shape[1:])).astype(np.float32) for shape in inputs
    ]
    masked = any(getattr(layer, "mask_zero", False) for layer in model.layers)
    for x in xs:
        if masked and x.ndim == 2:
            x[1, :2] = x[2, 3:] = x[3, 2] = 0  # padding, before, after and between
    t = random.integers(0, 2, (6, 1)).astype(np.float32)
    return (xs if len(xs) > 1 else xs[0]), t


def scores(model, x, t):
    """What evaluate says, sorted by name."""
    found = model.evaluate(x, t, verbose=0, return_dict=True)
    return np.concatenate([np.ravel(found[name]) for name in sorted(found)])


@pytest.mark.parametrize("name", KERAS_SCORES)
def test_losses_metrics_and_optimizers_that_keras_saved(name, folder):
    x, expected = expected_of(name, folder)
    model = load_model(folder / f"{name}.keras")
    np.testing.assert_allclose(scores(model, x, expected["t"]), expected["scores"], rtol=1e-4)
    for _ in range(2):
        model.train_on_batch(x, expected["t"])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["later"], atol=1e-5)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("ending", [".keras", ".h5", ".fastrnn"])
def test_what_is_reported_is_the_same(name, ending, tmp_path):
    model = SCORED[name]()
    x, t = data_for(model, np.random.default_rng(1))
    before = model.evaluate(x, t, verbose=0, return_dict=True)
    model.save(tmp_path / f"model{ending}")  # before it has trained
    same = load_model(tmp_path / f"model{ending}")
    found = same.evaluate(x, t, verbose=0, return_dict=True)
    assert list(found) == list(before)
    for key in before:
        np.testing.assert_allclose(found[key], before[key], err_msg=key)
    for each in (model, same):
        each.train_on_batch(x, t)
    np.testing.assert_allclose(
        same.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )


@pytest.mark.parametrize("ending", [".keras", ".h5", ".hdf5"])
@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, ending, tmp_path):
    model, path = MODELS[name](), tmp_path / f"{name}{ending}"
    x, t = data_for(model, np.random.default_rng(1))
    model.train_on_batch(x, t)
    model.save(path)
    same = load_model(path)
    np.testing.assert_array_equal(same.predict(x, verbose=0), model.predict(x, verbose=0))
    for each in (model, same):
        each.train_on_batch(x, t)
    # Keras keeps the learning rate in float32.
    np.testing.assert_allclose(
        same.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )
    assert [layer.name for layer in same.layers] == [layer.name for layer in model.layers]


def test_saved_before_training_and_again_after_loading(tmp_path):
    model = many_layers()
    x, t = data_for(model, np.random.default_rng(1))
    model.train_on_batch(x, t)
    model.save(tmp_path / "a.keras")
    load_model(tmp_path / "a.keras").save(tmp_path / "b.keras")  # the state is still to be used
    first, second = load_model(tmp_path / "a.keras"), load_model(tmp_path / "b.keras")
    for each in (first, second):
        each.train_on_batch(x, t)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def keras_python():
    """A Python that has Keras: this one, or the one that FASTRNN_KERAS_PYTHON names."""
    if named := os.environ.get("FASTRNN_KERAS_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("keras") else None


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    keras_python() is None, reason="Keras is not installed, and FASTRNN_KERAS_PYTHON names none"
)
def test_keras_reads_what_is_saved_for_it(tmp_path, folder):
    for name, make in MODELS.items():
        model = make()
        x, t = data_for(model, np.random.default_rng(1))
        for _ in range(2):
            model.train_on_batch(x, t)
        y = model.predict(x, verbose=0)
        for ending in (".keras", ".h5"):
            model.save(tmp_path / f"{name}{ending}")
        model.save_weights(tmp_path / f"{name}.weights.h5")
        found = scores(model, x, t)
        for _ in range(2):
            model.train_on_batch(x, t)
        xs = {f"x{i}": part for i, part in enumerate(x if isinstance(x, list) else [x])}
        more = {"scores": found} if name in SCORED else {}
        later = model.predict(x, verbose=0)
        np.savez(tmp_path / f"{name}.npz", **xs, **more, t=t, y=y, later=later)
    for name in CALLS:
        save_call(name, folder, tmp_path)
    for name in TEXTS:
        save_call(name, folder, tmp_path, legacy=True)
    done = subprocess.run(
        [keras_python(), str(HERE / "check_in_keras.py"), str(tmp_path)],
        capture_output=True, text=True, timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(" ok") == 3 * len(MODELS) + 2 * len(CALLS) + 3 * len(TEXTS)


def save_call(name, folder, to, legacy=False):
    """A model that Keras saved, after a step, for Keras."""
    x, values = expected_of(name, folder)
    model = load_model(folder / f"{name}.keras", OWN)
    model.train_on_batch(x, values["t"])
    y = model.predict(x, verbose=0)
    model.save(to / f"{name}.keras")
    model.save_weights(to / f"{name}.weights.h5")
    if legacy:
        model.save(to / f"{name}.h5")
    for _ in range(2):
        model.train_on_batch(x, values["t"])
    xs = {key: v for key, v in values.items() if key.startswith("x")}
    np.savez(to / f"{name}.npz", **xs, t=values["t"], y=y, later=model.predict(x, verbose=0))


def test_mask_that_keras_files_cannot_tell_of(tmp_path):
    x = fastrnn.layers.Masking()(Input((4, 3)))
    h = Input((2,))
    model = Model([x.node.inputs, h], GRU(2)(x, initial_state=h, mask=x.mask))
    with pytest.raises(ValueError, match="given the mask of 'masking.*fastrnn's own have"):
        model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m")
    xs = [np.ones((2, 4, 3)), np.ones((2, 2))]
    np.testing.assert_array_equal(
        load_model(tmp_path / "m").predict(xs, verbose=0), model.predict(xs, verbose=0)
    )


def test_extra_has_no_place_in_keras_files(tmp_path):
    with pytest.raises(ValueError, match="no place for extra"):
        fastrnn.saving.save_model(many_layers(), tmp_path / "m.keras", extra={"a": 1})
    assert not list(tmp_path.iterdir())


def test_weights_have_a_name_that_says_so(tmp_path):
    for name in ("m.keras", "m.h5"):
        with pytest.raises(ValueError, match=r"ends in '\.weights\.h5'"):
            many_layers().save_weights(tmp_path / name)
    assert not list(tmp_path.iterdir())


# -- files of older versions -----------------------------------------------------------------------


def keras_2_file(path):
    """A legacy file as Keras 2 wrote it: input shapes in layers, functions by name."""
    initializer = {"class_name": "GlorotUniform", "config": {"seed": None}}
    layers = [
        {"class_name": "Embedding", "config": {
            "name": "embedding", "trainable": True, "batch_input_shape": [None, 5],
            "dtype": "float32", "input_dim": 9, "output_dim": 3, "embeddings_initializer": {
                "class_name": "RandomUniform",
                "config": {"minval": -0.05, "maxval": 0.05, "seed": None}},
            "embeddings_regularizer": None, "activity_regularizer": None,
            "embeddings_constraint": None, "mask_zero": False, "input_length": 5}},
        {"class_name": "LSTM", "config": {
            "name": "lstm", "units": 2, "activation": "tanh", "recurrent_activation": "sigmoid",
            "kernel_initializer": initializer, "unit_forget_bias": True, "implementation": 2,
            "time_major": False, "unroll": False, "dropout": 0.0, "recurrent_dropout": 0.0}},
        {"class_name": "BatchNormalization", "config": {
            "name": "norm", "axis": [1], "momentum": 0.99, "epsilon": 0.001}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 1, "activation": "sigmoid"}},
    ]
    random = np.random.default_rng(0)
    shapes = [
        ("embedding", [(9, 3)]), ("lstm", [(3, 8), (2, 8), (8,)]), ("norm", [(2,)] * 4),
        ("dense", [(2, 1), (1,)]),
    ]
    arrays = {name: [random.random(s).astype(np.float32) for s in own] for name, own in shapes}
    metric = {"class_name": "MeanMetricWrapper",
              "config": {"name": "acc", "dtype": "float32", "fn": "binary_accuracy"}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        )
        file.attrs["training_config"] = json.dumps({
            "loss": "binary_crossentropy", "metrics": [[metric]], "weighted_metrics": None,
            "loss_weights": None, "optimizer_config": {
                "class_name": "RMSprop", "config": {"name": "RMSprop", "learning_rate": 0.001}},
        })
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, own in arrays.items():
            group = weights.create_group(name)
            group.attrs["weight_names"] = [f"{name}/w{i}:0".encode() for i in range(len(own))]
            for i, array in enumerate(own):
                group[f"{name}/w{i}:0"] = array
    return arrays


def test_file_of_keras_2(tmp_path):
    arrays = keras_2_file(tmp_path / "old.h5")
    model = load_model(tmp_path / "old.h5")
    assert model.input_shape == (None, 5)
    for layer in model.layers:
        for ours, theirs in zip(layer.get_weights(), arrays[layer.name], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    x = np.zeros((2, 5), int)
    assert set(model.evaluate(x, np.ones((2, 1)), verbose=0, return_dict=True)) == {
        "loss", "binary_accuracy"
    }


def test_graph_of_keras_2(tmp_path):
    """Where inputs come from were lists of names and numbers, the states among them."""
    def as_list(node):
        def place(tensor):
            return [*tensor["config"]["keras_history"], {}]

        [given] = node["args"]
        states = node["kwargs"].get("initial_state") or []
        tensors = [*(given if isinstance(given, list) else [given]), *states]
        return [place(tensor) for tensor in tensors]

    model, path = handed_over(), tmp_path / "m.h5"
    x, _ = data_for(model, np.random.default_rng(1))
    model.save(path)
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["inbound_nodes"] = [as_list(node) for node in layer["inbound_nodes"]]
        config["class_name"] = "Model"
        file.attrs["model_config"] = json.dumps(config)
    np.testing.assert_array_equal(
        load_model(path).predict(x, verbose=0), model.predict(x, verbose=0)
    )


# -- files that do not fit, are broken, or were made to do harm ------------------------------------


@pytest.fixture
def small(tmp_path):
    """A model and its ``.keras`` file, its ``.h5`` file, and its ``.weights.h5`` file."""
    model = Sequential([Input((3,)), Dense(2, name="a"), Dense(1, name="b")], name="small")
    model.compile("adam", "mse")
    paths = [tmp_path / f"small{ending}" for ending in (".keras", ".h5", ".weights.h5")]
    model.save(paths[0])
    model.save(paths[1])
    model.save_weights(paths[2])
    return model, *paths


def rezip(path, compression=zipfile.ZIP_STORED, **members):
    """Write the archive again with other members; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents |= {name.replace("_", "."): content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)


def change_config(path, change):
    """Let ``change`` alter the configuration in a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    change(config)
    rezip(path, config_json=json.dumps(config))


def refused(path, message, model=None):
    """Loading raises, and changes nothing."""
    with pytest.raises(ValueError, match=message):
        load_model(path)
    if model is not None:
        before = model.get_weights()
        with pytest.raises(ValueError):
            model.load_weights(path)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


def test_layer_that_is_not_known(small):
    def change(config):
        config["config"]["layers"][1]["class_name"] = "Conv1D"

    change_config(small[1], change)
    refused(small[1], r"layer 'a' is a Conv1D, which fastrnn does not have.*custom_objects")


class Twice(Dense):
    """A layer of one's own."""


def test_layer_of_ones_own(tmp_path):
    model = Sequential([Input((3,)), Twice(2)])
    for name in ("m.keras", "m.h5", "m"):
        model.save(tmp_path / name)
        with pytest.raises(ValueError, match="is a Twice, which fastrnn does not have"):
            load_model(tmp_path / name)
        same = load_model(tmp_path / name, custom_objects={"Twice": Twice})
        assert type(same.layers[0]) is Twice
        np.testing.assert_array_equal(same.get_weights()[0], model.get_weights()[0])
    with pytest.raises(TypeError, match="custom_objects must be a dict"):
        load_model(tmp_path / "m", custom_objects=[Twice])


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(class_name="Dense"), "configuration of a model; got that of 'Dense'"),
    (lambda c: c.update(class_name=["Sequential"]), "does not fit together"),
    (lambda c: c.pop("config"), "does not fit together"),
    (lambda c: c["config"].update(layers=3), "does not fit together"),
    (lambda c: c["config"]["layers"].pop(1), "weights of another model.*'b'.*'kernel'"),
    (lambda c: c["config"]["layers"].pop(2), "no place for 'layers/dense_1'"),
    (lambda c: c["config"]["layers"][1]["config"].update(units="2"), "Layer 'a'"),
    (lambda c: c["config"]["layers"][1]["config"].update(units=3), r"'kernel'.*\(3, 3\).*\(3, 2\)"),
    (lambda c: c["config"]["layers"][1]["config"].update(lora_rank=3), "has no lora_rank, .* 3"),
    (lambda c: c["config"]["layers"][1]["config"].update(activation="eval"), "'a'.*'eval'"),
    (lambda c: c["config"]["layers"][1]["config"].update(
        dtype={"class_name": "QuantizedDTypePolicy", "config": {}}), "policy QuantizedDType"),
    (lambda c: c["config"]["layers"][1]["config"].update(kernel_initializer={
        "class_name": "Evil", "config": {}}), "'a'.*initializer: 'Evil'"),
    (lambda c: c["compile_config"].update(loss="mine"), "'mine'.*Load it with compile=False"),
    (lambda c: c["compile_config"].update(metrics=[{
        "class_name": "Novel", "config": {"name": "own"}}]),
     "metric 'own' is a Novel, .* give it in custom_objects. Load it with compile=False"),
    (lambda c: c["compile_config"].update(metrics=[{
        "class_name": "function", "config": "novel"}]),
     "metric: the function 'novel', .* custom_objects. Load it with compile=False"),
    (lambda c: c["compile_config"].update(loss={
        "class_name": "MeanSquaredError", "config": {"novel": 1}}),
     "'novel'.* Load it with compile=False"),
    (lambda c: c["compile_config"].update(optimizer={
        "class_name": "Muon", "config": {}}), "'Muon'.*Load it with compile=False"),
])
def test_configuration_that_does_not_fit(change, message, small):
    change_config(small[1], change)
    refused(small[1], message)


@pytest.mark.parametrize("change", [
    lambda c: c[1]["config"].update(units=10**12),
    lambda c: c[0]["config"].update(batch_shape=[None, 10**12]),
    lambda c: (c[0]["config"].update(batch_shape=[None, 2, 3]), c.insert(1, {
        "class_name": "Bidirectional", "config": {"layer": {
            "class_name": "LSTM", "config": {"units": 10**9}}}})),
    lambda c: c.insert(1, {"class_name": "Embedding", "config": {
        "input_dim": 10**9, "output_dim": 10**9}}),
])
def test_configuration_that_asks_for_terabytes(change, small):
    def of_layers(config):
        change(config["config"]["layers"])

    change_config(small[1], of_layers)
    refused(small[1], "more than the file has numbers")


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff"]
)
def test_configuration_that_is_no_json_object(content, small):
    rezip(small[1], config_json=content)
    refused(small[1], "config.json")


@pytest.mark.parametrize("which", [1, 2, 3])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_cut_off_files(which, part, small):
    whole = small[which].read_bytes()
    small[which].write_bytes(whole[: int(part * len(whole))])
    refused(small[which], str(small[which]), small[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", [1, 2, 3])
def test_files_with_flipped_bytes(which, small):
    """Whatever a byte does: weights or a ValueError, never another error."""
    whole = bytearray(small[which].read_bytes())
    random = np.random.default_rng(which)
    for place in random.integers(0, len(whole), 50):
        broken = bytearray(whole)
        broken[place] ^= 1 << random.integers(8)
        small[which].write_bytes(broken)
        for load in (load_model, small[0].load_weights):
            try:
                load(small[which])
            except ValueError:
                pass


def test_members_that_lead_out_of_the_archive(small):
    for name in ("../evil", "/etc/evil", "a/../../evil", "..\\evil"):
        with zipfile.ZipFile(small[1]) as archive:
            contents = {n: archive.read(n) for n in archive.namelist()}
        with zipfile.ZipFile(small[1], "w") as archive:
            for n, content in (contents | {name: b"x"}).items():
                archive.writestr(n, content)
        refused(small[1], "leads out of the archive", small[0])
        small[0].save(small[1])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_there_twice(small):
    with zipfile.ZipFile(small[1], "a") as archive:
        archive.writestr("config.json", "{}")
    refused(small[1], "'config.json' is there twice", small[0])


def test_archives_that_lack_a_member(small):
    rezip(small[1], config_json=None)
    refused(small[1], "there is no config.json")
    small[0].save(small[1])
    with zipfile.ZipFile(small[1]) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(small[1], "w") as archive:
        archive.writestr("config.json", config)
    refused(small[1], "there is no model.weights.h5; it has config.json", small[0])


def test_compressed_archives_are_read_unless_they_swell(small):
    rezip(small[1], zipfile.ZIP_DEFLATED)
    load_model(small[1])
    rezip(small[1], zipfile.ZIP_DEFLATED, config_json=b" " * (1 << 27) + b"{}")
    refused(small[1], "config.json declares 134,217,730 bytes")


def test_arrays_that_swell(small):
    def swell(group):
        group.pop("0", None)
        group.create_dataset("0", (10**6, 10**6), "f4", chunks=(100, 100), compression="gzip")

    with h5py.File(small[3], "a") as file:
        swell(file["layers/dense/vars"])
    with pytest.raises(ValueError, match="declares 4,000,000,000,000 bytes"):
        small[0].load_weights(small[3])
    with h5py.File(small[2], "a") as file:
        swell(file.create_group("more", track_order=True))
    refused(small[2], "declares 4,000,000,000,000 bytes", small[0])


def replace_kernel(path, make):
    """Put something else where the first kernel was."""
    with h5py.File(path, "a") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        make(group)


@pytest.mark.parametrize(("make", "message"), [
    (lambda g: g.__setitem__("0", h5py.ExternalLink("other.h5", "/x")), "link to elsewhere"),
    (lambda g: g.__setitem__("0", h5py.SoftLink("/layers/dense/vars/1")), "link to elsewhere"),
    (lambda g: g.create_dataset("0", (3, 2), "f4", external=[("/etc/x", 0, 24)]), "other file"),
    (lambda g: g.create_virtual_dataset("0", virtual_layout()), "other file"),
    (lambda g: g.create_group("0"), "expected 2 weights|expected an array"),
    (lambda g: g.__setitem__("0", np.array([b"a", b"b"])), "expected numbers"),
    (lambda g: g.__setitem__("0", h5py.Empty("f4")), "expected numbers"),
    (lambda g: g.__setitem__("0", np.zeros((2, 3), "f4")), r"'kernel': .*\(3, 2\); got \(2, 3"),
    (lambda g: None, "expected 2 weights|expected an array"),
])
def test_arrays_that_are_something_else(make, message, small):
    replace_kernel(small[3], make)
    before = small[0].get_weights()
    with pytest.raises(ValueError, match=message):
        small[0].load_weights(small[3])
    for now, then in zip(small[0].get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def virtual_layout():
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 2))
    return layout


def test_group_that_is_a_link_to_another_file(small):
    with h5py.File(small[3], "a") as file:
        del file["layers/dense"]
        file["layers/dense"] = h5py.ExternalLink("other.h5", "/layers/dense")
    with pytest.raises(ValueError, match="link to elsewhere|expected 2 weights"):
        small[0].load_weights(small[3])


def test_weights_of_another_model(small):
    other = Sequential([Input((3,)), Dense(2), Dense(4), Dense(1)])
    with pytest.raises(ValueError, match=r"another model: layer 'dense\w*' \(Dense\): weight"):
        other.load_weights(small[3])
    with pytest.raises(ValueError, match="expected those of 3 layers.*got 2, .*'a', 'b'"):
        other.load_weights(small[2])
    with pytest.raises(ValueError, match="holds weights, make the model"):
        load_model(small[3])


def test_skip_mismatch(small):
    other = Sequential([Input((3,)), Dense(2), Dense(4)])
    for path in (small[3], small[1], small[2]):
        kept = other.layers[1].get_weights()
        with pytest.warns(UserWarning, match=r"'kernel': expected shape \(2, 4\).*skipped"):
            other.load_weights(path, skip_mismatch=True)
        np.testing.assert_array_equal(other.layers[0].kernel, small[0].layers[0].kernel)
        for now, then in zip(other.layers[1].get_weights(), kept, strict=True):
            np.testing.assert_array_equal(now, then)


def test_hdf5_of_another_program(tmp_path, small):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError, match="holds no weights of a Keras model"):
        small[0].load_weights(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="it has no 'model_config'"):
        load_model(tmp_path / "x.h5")


def test_state_of_another_optimizer_is_left_out(small):
    def change(config):
        config["compile_config"]["optimizer"] = {"class_name": "SGD", "config": {
            "momentum": 0.5, "learning_rate": float(np.float32(0.3))}}

    change_config(small[1], change)
    with pytest.warns(UserWarning, match="state does not fit 'sgd'.*starts afresh"):
        model = load_model(small[1])
    assert model.optimizer.momentum == 0.5 and model.optimizer.learning_rate == 0.3


def without_slots(path, kept):
    """Leave only the first variables of the optimizer: steps, and learning rate, as Keras does."""
    def cut(file):
        if "optimizer_weights" in file:
            group = file["optimizer_weights"]
            names = group.attrs["weight_names"]
            group.attrs["weight_names"] = names[:kept]
            for name in names[kept:]:
                del group[name]
        else:
            for name in [name for name in file["optimizer/vars"] if int(name) >= kept]:
                del file[f"optimizer/vars/{name}"]

    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            cut(file)
        return
    with zipfile.ZipFile(path) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        cut(file)
    rezip(path, model_weights_h5=weights.getvalue())


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "nadam", None])
@pytest.mark.filterwarnings("error")
def test_a_model_that_was_compiled_and_never_trained(tmp_path, small, optimizer, ending):
    model, path = small[0], tmp_path / f"fresh{ending}"
    schedule = fastrnn.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
    model.compile(optimizer or fastrnn.optimizers.Adam(schedule), "mse")
    if optimizer:
        model.optimizer.learning_rate = 0.25
    model.save(path)
    without_slots(path, kept=2 if optimizer else 1)
    again = load_model(path)
    assert again.optimizer.iterations == 0
    assert float(again.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    x, y = np.ones((4, 3)), np.zeros((4, 1))
    expected, found = (m.fit(x, y, epochs=3, verbose=0).history for m in (model, again))
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)


class Quartic(fastrnn.losses.Loss):
    """A loss of one's own."""

    def rows(self, target, output, weight, from_logits):
        difference = output - target
        return (difference**4).mean(axis=-1), difference**3


def error_of_ones_own(y_true, y_pred):
    return np.abs(y_true - y_pred).mean(axis=-1)


@pytest.mark.parametrize("name", ["m", "m.keras", "m.h5"])
def test_losses_and_metrics_of_ones_own(name, tmp_path):
    model = Sequential([Input((3,)), Dense(2)])
    model.compile("sgd", Quartic(), metrics=[error_of_ones_own, "mae"])
    model.save(tmp_path / name)
    with pytest.raises(ValueError, match="'Quartic'"):
        load_model(tmp_path / name)
    own = {"Quartic": Quartic, "error_of_ones_own": error_of_ones_own}
    same = load_model(tmp_path / name, custom_objects=own)
    x, t = np.ones((4, 3)), np.zeros((4, 2))
    assert same.evaluate(x, t, verbose=0) == pytest.approx(model.evaluate(x, t, verbose=0))
    assert sorted(same.evaluate(x, t, verbose=0, return_dict=True)) == [
        "error_of_ones_own", "loss", "mae"
    ]


def test_without_h5py(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for path in small[1:3]:
        with pytest.raises(ImportError, match=r"pip install fastrnn\[keras\]"):
            load_model(path)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[keras\]"):
        small[0].save(small[1])


HEAP = b"GCOL\x01\0\0\0"
LOAD = """
import sys, fastrnn
try:
    fastrnn.models.load_model(sys.argv[1])
except ValueError as error:
    print(error)
"""


def test_text_without_a_length_does_not_turn_in_a_circle(tmp_path):
    path = tmp_path / "model.h5"
    Sequential([Input((3,)), Dense(1)]).save(path)
    content = path.read_bytes()
    first = content.index(HEAP) + 16
    path.write_bytes(content[:first] + bytes(16) + content[first + 16 :])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, path], capture_output=True, text=True, timeout=60
    )
    assert "model.h5 cannot be read: it is cut off, damaged" in done.stdout, done.stderr


def test_texts_one_upon_the_other_cost_little():
    start = b"\x89HDF\r\n\x1a\n" + bytes(6) + b"\x08" + bytes(17)
    heap = HEAP + (1 << 40).to_bytes(8, "little")
    text = (1).to_bytes(8, "little") + (16).to_bytes(8, "little")
    with pytest.raises(ValueError, match="lie one upon the other"):
        Reader(start + 100_000 * (heap + text), "file")
