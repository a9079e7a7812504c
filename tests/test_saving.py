"""A model in one file: what goes in comes out, and nothing that breaks does harm."""

import json
import os
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import fastrnn
from fastrnn.layers import (
    GRU,
    RNN,
    BatchNormalization,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Input,
    LSTMCell,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.models import Sequential
from fastrnn.saving import load_model, native, read_extra, save_model

OPTIMIZERS = ["sgd", "rmsprop", "adam", "adamw"]


def new_model(optimizer="rmsprop"):
    model = Sequential(
        [
            Input((5,), dtype="int32"),
            Embedding(9, 4, mask_zero=True, name="words"),
            Dropout(0.0),
            SimpleRNN(3, return_sequences=True, name="first"),
            SimpleRNN(3, activation="relu", name="second"),
            Dense(1, activation="sigmoid", name="out"),
        ]
    )
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["acc"])
    return model


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    return random.integers(0, 9, (12, 5)).astype(np.int32), random.integers(0, 2, 12)


@pytest.fixture
def file(tmp_path, data):
    """A saved model that was trained for an epoch."""
    model = new_model()
    model.fit(*data, epochs=1, verbose=0)
    save_model(model, tmp_path / "model.fastrnn", extra={"words": ["é", "b"]})
    return tmp_path / "model.fastrnn"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_as_if_never_saved(optimizer, tmp_path, data):
    model = new_model(optimizer)
    model.fit(*data, epochs=2, batch_size=4, shuffle=False, verbose=0)
    save_model(model, tmp_path / "m")
    same = load_model(tmp_path / "m")
    np.testing.assert_array_equal(same(data[0]), model(data[0]))
    for each in (model, same):
        each.fit(*data, epochs=2, batch_size=4, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert same.evaluate(*data, verbose=0, return_dict=True).keys() == {"loss", "acc"}


def test_options_of_the_optimizer_are_kept(tmp_path, data):
    model = new_model(fastrnn.optimizers.SGD(0.25, momentum=0.5, nesterov=True, clipnorm=1.0))
    save_model(model, tmp_path / "m")
    config = load_model(tmp_path / "m").optimizer.get_config()
    assert config["momentum"] == 0.5 and config["nesterov"] and config["clipnorm"] == 1.0
    assert float(config["learning_rate"]) == 0.25


def test_config_is_the_same(file):
    model = load_model(file)
    assert [layer.get_config() for layer in model.layers] == [
        layer.get_config() for layer in Sequential.from_config(model.get_config()).layers
    ]
    assert model.layers[0].mask_zero


def test_compile_false_gives_the_bare_model(file, data):
    model = load_model(file, compile=False)
    assert model.predict(data[0], verbose=0).shape == (12, 1)
    with pytest.raises((RuntimeError, ValueError), match="compile"):
        model.fit(*data, verbose=0)


def test_model_that_was_not_compiled(tmp_path):
    model = Sequential([Input((2,)), Dense(1)])
    model.save(tmp_path / "m")
    same = fastrnn.models.load_model(tmp_path / "m")
    np.testing.assert_array_equal(same.get_weights()[0], model.get_weights()[0])


def test_extra(file, tmp_path):
    assert read_extra(file) == {"words": ["é", "b"]}
    save_model(new_model(), tmp_path / "plain")
    assert read_extra(tmp_path / "plain") == {}


def test_any_reader_of_safetensors_finds_the_weights(file):
    arrays = safetensors.numpy.load_file(file)
    rnn = ("kernel", "recurrent_kernel", "bias")
    assert {name for name in arrays if not name.startswith("optimizer/")} == {
        "words/embeddings",
        *(f"{layer}/{weight}" for layer in ("first", "second") for weight in rnn),
        "out/kernel",
        "out/bias",
    }
    assert arrays["words/embeddings"].shape == (9, 4)


def test_model_that_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="has no weights yet: build it.*before save"):
        save_model(Sequential([Dense(1)]), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_two_layers_of_one_name(tmp_path):
    model = Sequential([Input((2,)), Dense(1, name="a"), Dense(1, name="b")])
    model.layers[1].name = "a"
    with pytest.raises(ValueError, match="Two weights are named 'a/kernel'"):
        save_model(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_overwrite(file):
    before = file.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_model(new_model(), file, overwrite=False)
    assert file.read_bytes() == before
    save_model(new_model(), file)
    assert file.read_bytes() != before


@pytest.mark.parametrize(("ending", "kept"), [("fastrnn", False), ("h5", False), ("keras", True)])
def test_without_the_optimizer(ending, kept, tmp_path):
    """Keras leaves it out of legacy files only."""
    if ending != "fastrnn":
        pytest.importorskip("h5py")
    model, path = new_model(), tmp_path / f"model.{ending}"
    model.save(path, include_optimizer=False)
    again = load_model(path)
    assert again.compiled == kept
    ids = np.arange(5)[None]
    np.testing.assert_array_equal(again.predict(ids, verbose=0), model.predict(ids, verbose=0))


@pytest.mark.parametrize("save_format", ["keras", "h5", "tf"])
def test_the_name_says_the_format(save_format, tmp_path):
    pytest.importorskip("h5py")
    model = new_model()
    for ending, start in (("keras", b"PK"), ("h5", b"\x89H")):
        fastrnn.models.save_model(model, tmp_path / f"a.{ending}", save_format=save_format)
        assert (tmp_path / f"a.{ending}").read_bytes()[:2] == start
    with pytest.raises(ValueError, match=f"no save_format.* got '{save_format}'.*'.keras' or"):
        model.save(tmp_path / "model", save_format=save_format)
    with pytest.raises(ValueError, match="zipped: expected True or None"):
        model.save(tmp_path / "model.keras", zipped=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.keras"]


def test_what_breaks_off_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def disk_is_full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        save_model(new_model(), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_link_stays_a_link(file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(file)
    save_model(new_model(), link, extra={"new": 1})
    assert link.is_symlink() and read_extra(file) == {"new": 1}


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"m: there is no folder .*nowhere; make it first"):
        save_model(new_model(), tmp_path / "nowhere" / "m")


def test_folder_in_place_of_a_file(file, tmp_path):
    model = fastrnn.saving.load_model(file)
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        model.save(tmp_path)
    with pytest.raises(OSError) as error:
        model.save("/proc/model.fastrnn")
    assert error.value.filename == "/proc/model.fastrnn"


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="m.fastrnn: there is no such file; expected"):
        load_model(tmp_path / "m.fastrnn")


@pytest.mark.parametrize("part", [0, 1, 7, 8, 9, 0.1, 0.5, 0.9, -1])
def test_cut_off_file(part, file):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole)) if isinstance(part, float) else part])
    for read in (load_model, read_extra):
        with pytest.raises(ValueError, match="not a fastrnn model file: it is cut off"):
            read(file)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "other"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=r"a zip archive, such as a \.keras file"):
        read_extra(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match="an HDF5 file"):
        read_extra(path)
    path.write_text("just some text, longer than a header")
    with pytest.raises(ValueError, match="not a fastrnn model file"):
        load_model(path)
    safetensors.numpy.save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="of another program"):
        load_model(path)


def rewrite(file, drop=None, **changes):
    """Save the file again with changed metadata, or without an array."""
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata() | changes
    arrays = safetensors.numpy.load_file(file)
    arrays.pop(drop, None)
    safetensors.numpy.save_file(arrays, file, metadata)


def test_newer_format(file):
    rewrite(file, format_version=str(native.VERSION + 1))
    with pytest.raises(ValueError, match=f"format version {native.VERSION + 1}"):
        load_model(file)


def test_array_that_is_missing(file):
    rewrite(file, drop="words/embeddings")
    with pytest.raises(ValueError, match=r"layer 'words' \(Embedding\).*'embeddings'.*nothing"):
        load_model(file)


def test_array_of_another_shape(file):
    arrays = safetensors.numpy.load_file(file) | {"words/embeddings": np.zeros((2, 2), np.float32)}
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    safetensors.numpy.save_file(arrays, file, metadata)
    with pytest.raises(ValueError, match=r"'words'.*'embeddings'.*\(9, 4\).*\(2, 2\)"):
        load_model(file)


def test_class_that_is_not_known(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        config = json.loads(opened.metadata()["config"])
    config["layers"][-1]["class_name"] = "os.system"
    rewrite(file, config=json.dumps(config))
    with pytest.raises(ValueError, match=r"os\.system"):
        load_model(file)


# -- weights alone ---------------------------------------------------------------------------------


def nested_model():
    return Sequential([
        Input((4, 3)),
        Bidirectional(GRU(2, return_sequences=True), name="both"),
        TimeDistributed(Dense(3), name="each"),
        BatchNormalization(name="norm"),
        RNN([LSTMCell(2), LSTMCell(3)], name="stack"),
        Dense(1, name="out"),
    ])


def test_names_of_layers_inside_layers(tmp_path):
    nested_model().save_weights(tmp_path / "w")
    names = set(safetensors.numpy.load_file(tmp_path / "w"))
    rnn = ("kernel", "recurrent_kernel", "bias")
    assert names == {
        *(f"both/{way}_layer/{w}" for way in ("forward", "backward") for w in rnn),
        "each/layer/kernel", "each/layer/bias",
        *(f"norm/{w}" for w in ("gamma", "beta", "moving_mean", "moving_variance")),
        *(f"stack/cells/{i}/{w}" for i in (0, 1) for w in rnn),
        "out/kernel", "out/bias",
    }


@pytest.mark.parametrize("save", ["save", "save_weights"])
@pytest.mark.parametrize("name", ["w", "w.weights.h5"])
def test_weights_go_from_model_to_model(name, save, tmp_path):
    one, other = nested_model(), nested_model()
    if save == "save" and name != "w":
        name = "w.keras"
    getattr(one, save)(tmp_path / name)
    other.load_weights(tmp_path / name)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"skip_mismatch": True}])
def test_weights_of_a_model_that_was_made_again(tmp_path, options):
    """As by running a notebook's cell once more: its layers are named by how many came before."""
    def made():
        model = Sequential([Input((3,)), Dense(3), Dense(3), Dense(2)])
        model.compile("adam", "mse")
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        return model

    one, again = made(), made()
    one.save_weights(tmp_path / "w")
    again.load_weights(tmp_path / "w", **options)
    for model in (one, again):
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    if not options:  # with its optimizer's state
        for a, b in zip(one.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    other = Sequential([Input((3,)), Dense(3), Dense(3), Dense(3)])
    with pytest.raises(ValueError, match="holds the weights of another model"):
        other.load_weights(tmp_path / "w")


def test_weights_of_another_model(file):
    other = Sequential([
        Input((5,)), Embedding(9, 3, name="words"), SimpleRNN(3, name="first"),
        Dense(2, name="out"), Dense(2, name="more"),
    ])
    before = other.get_weights()
    with pytest.raises(
        ValueError,
        match=r"another model: layer 'words' \(Embedding\): weight 'embeddings': expected shape "
              r"\(9, 3\); got \(9, 4\); .*; and 2 more",
    ):
        other.load_weights(file)
    for now, then in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_layer_that_the_model_has_not(file):
    smaller = Sequential([Input((5,)), Embedding(9, 4, name="words")])
    with pytest.raises(ValueError, match="no place for 'first', 'out', 'second'"):
        smaller.load_weights(file)


def test_skip_mismatch(file):
    other = Sequential([
        Input((5,)), Embedding(9, 4, name="words"), SimpleRNN(2, name="first"),
    ])
    kept = other.layers[1].get_weights()
    with pytest.warns(UserWarning, match="skipped"):
        other.load_weights(file, skip_mismatch=True)
    np.testing.assert_array_equal(
        other.layers[0].get_weights()[0], load_model(file).layers[0].get_weights()[0]
    )
    for now, then in zip(other.layers[1].get_weights(), kept, strict=True):
        np.testing.assert_array_equal(now, then)


def test_optimizer_comes_along_once_it_trains(data, tmp_path):
    model, fresh = new_model("adam"), new_model(fastrnn.optimizers.Adam(0.5))
    model.fit(*data, epochs=1, batch_size=4, verbose=0)
    model.save_weights(tmp_path / "w")
    fresh.load_weights(tmp_path / "w")
    assert fresh.optimizer.learning_rate == 0.5  # as it was chosen, for what is to come
    model.fit(*data, epochs=1, batch_size=4, shuffle=False, verbose=0)
    expected = model.get_weights()
    model.load_weights(tmp_path / "w")
    model.fit(*data, epochs=1, batch_size=4, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_are_no_model(tmp_path):
    new_model().save_weights(tmp_path / "w")
    with pytest.raises(ValueError, match="holds weights only.*then model.load_weights"):
        load_model(tmp_path / "w")
    assert read_extra(tmp_path / "w") == {}


def test_weights_of_a_model_that_is_not_built(file, tmp_path):
    model = Sequential([Dense(1)])
    with pytest.raises(ValueError, match="has no weights yet: build it.*before load_weights"):
        model.load_weights(file)
    with pytest.raises(ValueError, match="has no weights yet: build it"):
        model.save_weights(tmp_path / "w")


def test_weights_are_not_replaced_unless_wanted(tmp_path):
    new_model().save_weights(tmp_path / "w")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        new_model().save_weights(tmp_path / "w", overwrite=False)


# -- what else belongs to a model ------------------------------------------------------------------


def test_dropout_goes_on_where_it_was(tmp_path):
    x, y = np.ones((8, 4, 3), np.float32), np.ones((8, 1), np.float32)
    model = Sequential([
        Input((4, 3)), Dropout(0.5), Bidirectional(GRU(2, dropout=0.3)), Dense(1)
    ])
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    model.save(tmp_path / "m")
    same = load_model(tmp_path / "m")
    for each in (model, same):
        each.train_on_batch(x, y)
    for ours, theirs in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_state_that_was_not_used_yet_is_saved_again(data, tmp_path):
    model = new_model("adam")
    model.fit(*data, epochs=1, batch_size=4, verbose=0)
    model.save(tmp_path / "a")
    load_model(tmp_path / "a").save(tmp_path / "b")
    arrays = [safetensors.numpy.load_file(tmp_path / name) for name in "ab"]
    assert arrays[0].keys() == arrays[1].keys()
    assert any(name.startswith("optimizer/velocity/") for name in arrays[1])


def test_initializers_are_kept(tmp_path):
    model = Sequential([Input((4, 3)), Bidirectional(GRU(2, kernel_initializer="he_normal"))])
    model.save(tmp_path / "m")
    same = load_model(tmp_path / "m")
    assert same.get_config() == model.get_config()
    fresh = Sequential.from_config(same.get_config())
    assert fresh.get_weights()[0].any()


@pytest.mark.parametrize(("change", "message"), [
    ({"config": "{"}, "is no JSON"),
    ({"config": "[]"}, "expected a JSON object; got list"),
    ({"config": "{}"}, "does not fit together"),
    ({"class_name": "Dense"}, "configuration of a model; got that of 'Dense'"),
    ({"compile_config": "[1]"}, "does not fit together"),
    ({"random": "[[1]]"}, "does not fit together"),
    ({"random": '[["a", 1]]'}, "does not fit together"),
])
def test_metadata_that_is_broken(change, message, file):
    rewrite(file, **change)
    with pytest.raises(ValueError, match=message):
        load_model(file)


def test_configuration_that_asks_for_terabytes(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        config = json.loads(opened.metadata()["config"])
    config["layers"][1]["config"]["input_dim"] = 10**12
    rewrite(file, config=json.dumps(config))
    with pytest.raises(ValueError, match="'words'|more than the file has numbers"):
        load_model(file)


def test_paths_by_keras_name_of_the_argument(tmp_path):
    model = Sequential([Input((3,)), Dense(2)])
    model.save(filepath=tmp_path / "model", overwrite=True)
    model.save_weights(filepath=tmp_path / "weights")
    same = fastrnn.models.load_model(filepath=tmp_path / "model")
    same.load_weights(filepath=tmp_path / "weights")
    fastrnn.models.save_model(model, filepath=tmp_path / "again")
    with fastrnn.utils.custom_object_scope(custom_objects={}):
        again = load_model(filepath=tmp_path / "again")
    assert np.array_equal(same.get_weights()[0], again.get_weights()[0])


@fastrnn.saving.register_keras_serializable("mine")
class Plain(Dense):
    pass


@fastrnn.utils.register_keras_serializable()
def halved(y, p):
    return np.abs(y - p) / 2


@fastrnn.utils.register_keras_serializable("mine", name="Whole")
class OfOnesOwn(fastrnn.Model):
    pass


@pytest.mark.parametrize("ending", ["fastrnn", "keras", "h5"])
def test_what_is_registered_needs_no_custom_objects(ending, tmp_path):
    if ending != "fastrnn":
        pytest.importorskip("h5py")
    x = Input((2,))
    model = OfOnesOwn(x, Plain(1)(x))
    model.compile("sgd", "mse", metrics=[halved])
    assert model.get_config()["layers"][1]["registered_name"] == "mine>Plain"
    assert model.get_compile_config()["metrics"][0]["config"] == "Custom>halved"
    model.save(tmp_path / f"model.{ending}")
    same = load_model(tmp_path / f"model.{ending}")
    assert type(same) is OfOnesOwn and type(same.layers[1]) is Plain
    x, y = np.ones((4, 2)), np.ones(4)
    assert same.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_a_name_that_is_registered_does_not_hide_one_of_fastrnn():
    @fastrnn.utils.register_keras_serializable("other")
    class Dense(fastrnn.layers.Dense):
        pass

    assert type(fastrnn.layers.deserialize(fastrnn.layers.serialize(Dense(2)))) is Dense
    plain = fastrnn.layers.serialize(fastrnn.layers.Dense(2))
    assert type(fastrnn.layers.deserialize(plain)) is fastrnn.layers.Dense


def test_classes_that_cannot_be_registered():
    with pytest.raises(ValueError, match=r"class Bare has no get_config\(\)"):
        @fastrnn.utils.register_keras_serializable()
        class Bare:
            pass
