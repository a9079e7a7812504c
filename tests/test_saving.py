"""A model in one file: what goes in comes out, and nothing that breaks does harm."""

import json
import os
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import fastrnn
from fastrnn.layers import Dense, Dropout, Embedding, Input, SimpleRNN
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
    with pytest.raises(ValueError, match="no weights to save yet: build it"):
        save_model(Sequential([Dense(1)]), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_two_layers_of_one_name(tmp_path):
    model = Sequential([Input((2,)), Dense(1, name="a"), Dense(1, name="b")])
    for weight in model.layers[1].weights:
        weight.path = weight.path.replace("b/", "a/")
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
    with pytest.raises(OSError, match="nowhere"):
        save_model(new_model(), tmp_path / "nowhere" / "m")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="m.fastrnn"):
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
        load_model(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match="an HDF5 file"):
        load_model(path)
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
    with pytest.raises(ValueError, match="does not fit together: .*words/embeddings"):
        load_model(file)


def test_array_of_another_shape(file):
    arrays = safetensors.numpy.load_file(file) | {"words/embeddings": np.zeros((2, 2), np.float32)}
    with safetensors.safe_open(file, framework="numpy") as opened:
        metadata = opened.metadata()
    safetensors.numpy.save_file(arrays, file, metadata)
    with pytest.raises(ValueError, match=r"words/embeddings.*\(9, 4\).*\(2, 2\)"):
        load_model(file)


def test_class_that_is_not_known(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        config = json.loads(opened.metadata()["config"])
    config["layers"][-1]["class_name"] = "os.system"
    rewrite(file, config=json.dumps(config))
    with pytest.raises(ValueError, match=r"os\.system"):
        load_model(file)
