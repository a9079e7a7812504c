"""Layers with a vocabulary: against Keras 3.15.1, alone, in models, and in files."""

import json
import zipfile

import numpy as np
import pytest
from keras_values.reading import check, each, load

import fastrnn
from fastrnn import layers, saving
from fastrnn.layers import (
    GRU,
    LSTM,
    Concatenate,
    Dense,
    Embedding,
    Input,
    IntegerLookup,
    StringLookup,
    TextVectorization,
)
from fastrnn.models import Model, Sequential, clone_model, load_model
from fastrnn.utils import PyDataset

VALUES = load("text_values")

TEXTS = ["the cat sat on the mat", "the dog ran", "a cat", "dog dog the mat", "mat", ""]
LABELS = np.array([1, 0, 1, 0, 1, 0])


def learned(**options):
    layer = TextVectorization(**options)
    layer.adapt(TEXTS)
    return layer


# -- against Keras ---------------------------------------------------------------------------------


def made(case):
    layer = getattr(layers, case["layer"])(**case["config"])
    if case["batches"] is not None:
        layer.adapt(iter(case["batches"]), steps=case["steps"])
    elif case["adapt"] is not None:
        layer.adapt(case["adapt"])
    return layer


def same(layer, case, x, expected, where):
    found = layer(x)
    if case["config"].get("invert") and case["layer"] == "StringLookup":
        assert found.tolist() == expected, where
    else:
        check(found, expected, 1e-6, where)


@each(VALUES["texts"] | VALUES["lookups"])
def test_as_keras(case):
    layer = made(case)
    assert layer.get_vocabulary() == case["vocabulary"]
    assert layer.get_vocabulary(include_special_tokens=False) == case["without"]
    assert layer.vocabulary_size() == case["size"]
    for x, expected in case["calls"]:
        same(layer, case, x, expected, repr(x))
        if not isinstance(x, (str, int)):
            same(layer, case, np.array(x), expected, f"array {x!r}")
            same(layer, case, np.array(x, object), expected, f"objects {x!r}")


@each(VALUES["texts"] | VALUES["lookups"])
def test_learned_again_and_made_again(case):
    layer = made(case)
    learned = layer.learned()
    assert (learned is None) == ("vocabulary" in case["config"])
    if learned is not None:
        layer.adapt([1] if case["layer"] == "IntegerLookup" else ["something else"])
        assert layer.get_vocabulary() != case["vocabulary"]
    again = type(layer).from_config(layer.get_config() | {"vocabulary_size": None})
    if learned is not None:
        again.restore(**learned)
    for each_ in (again, made(case)):
        assert each_.get_vocabulary() == case["vocabulary"]
        for x, expected in case["calls"]:
            same(each_, case, x, expected, repr(x))


@pytest.mark.parametrize("layer", [TextVectorization, StringLookup, IntegerLookup])
def test_configurations_have_what_those_of_keras_have(layer):
    # The entries of get_config, from Keras.
    common = {
        "name", "trainable", "dtype", "max_tokens", "output_mode", "pad_to_max_tokens", "sparse",
        "vocabulary", "idf_weights", "vocabulary_size",
    }
    lookup = {"invert", "num_oov_indices", "oov_token", "mask_token", "oov_method", "salt"}
    own = {
        TextVectorization: {
            "standardize", "split", "ngrams", "output_sequence_length", "ragged", "encoding",
        },
        StringLookup: lookup | {"encoding"}, IntegerLookup: lookup | {"vocabulary_dtype"},
    }
    assert set(layer().get_config()) == common | own[layer]


# -- alone -----------------------------------------------------------------------------------------


def test_functions_of_ones_own():
    layer = TextVectorization(standardize=str.upper, split=lambda text: text.split("A"))
    layer.adapt(["xayab", "b"])
    assert layer.get_vocabulary() == ["", "[UNK]", "B", "Y", "X"]  # as Keras, of tf.strings
    assert layer(["xay", ""]).tolist() == [[4, 3], [0, 0]]
    spaces = TextVectorization(split=lambda text: text.split(" "))
    spaces.adapt(["a  b"])
    assert spaces(["a  b c"]).tolist() == [[3, 0, 2, 1]]
    counts = TextVectorization(split=lambda text: np.array(text.split(" ")), output_mode="count")
    counts.adapt(["a  b"])
    assert counts(["a  b c"]).tolist() == [[1, 1, 1]]
    assert TextVectorization(standardize=np.char.lower, vocabulary=["a"])("A").tolist() == [2]


@pytest.mark.parametrize(("options", "message"), [
    ({"standardize": lambda text: 1}, "standardize should give a str for a str; it gave 1"),
    ({"split": lambda text: "ab"}, "split should give a list of str for a str; it gave 'ab'"),
    ({"split": lambda text: [1]}, r"expected str; got 1 \(int\)"),
])
def test_functions_that_give_something_else(options, message):
    with pytest.raises(TypeError, match=message):
        TextVectorization(vocabulary=["a"], **options)(["a"])


@pytest.mark.parametrize("data", [
    ["a b", "b c"], ("a b", "b c"), np.array(["a b", "b c"]), [["a b"], ["b c"]], [b"a b", b"b c"],
    np.array([["a b"], ["b c"]], object), np.array([b"a b", b"b c"]),
])
def test_kinds_of_texts(data):
    layer = TextVectorization()
    layer.adapt(data)
    assert layer.get_vocabulary() == ["", "[UNK]", "b", "c", "a"]
    assert layer(data).tolist() == [[4, 2], [2, 3]]


class Batches(PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return np.array([["a b"], ["b c"]][i]), np.zeros(1)


@pytest.mark.parametrize("data", [
    Batches(), ((texts, [0, 1]) for texts in (["a b"], ["b c"])), iter([["a b", "b c"]]),
    iter(["a b", "b c"]), ([[text]] for text in ("a b", "b c")),
])
def test_batches_of_texts(data):
    layer = TextVectorization()
    layer.adapt(data)
    assert layer.get_vocabulary() == ["", "[UNK]", "b", "c", "a"]


def test_one_text_is_no_list_of_letters():
    layer = TextVectorization()
    layer.adapt("foo bar foo")
    assert layer.get_vocabulary(False) == ["foo", "bar"]


def test_ragged_output_is_what_fit_takes():
    layer = learned(ragged=True)
    x = layer(TEXTS)
    assert [len(row) for row in x] == [6, 3, 2, 4, 1, 0]
    model = Sequential([Embedding(layer.vocabulary_size(), 3), LSTM(2), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, LABELS, verbose=0)
    whole = Sequential([layer, *model.layers])  # which passes over the same
    np.testing.assert_array_equal(whole.predict(TEXTS, verbose=0), model.predict(x, verbose=0))


def test_rows_of_words_of_different_lengths():
    words = StringLookup(vocabulary=["a", "b"])
    check(words([["a"], ["q", "b"]]), [np.array([1]), np.array([0, 2])])
    numbers = IntegerLookup(vocabulary=[5, 7], output_mode="count")
    check(numbers([[5], [7, 7, 1]]), np.array([[0, 1, 0], [1, 0, 2]]))
    hot = StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    check(hot([["a"], ["q", "b"]]), [np.eye(3, dtype=int)[[1]], np.eye(3, dtype=int)[[0, 2]]])


def test_files_with_a_word_in_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("a\nb c\nd\n")
    layer = TextVectorization(vocabulary=str(path))
    assert layer.get_vocabulary() == ["", "[UNK]", "a", "b c", "d"]
    assert layer.get_config()["vocabulary"] is None
    path.write_bytes(b"a\r\nb c\r\n")
    assert TextVectorization(vocabulary=path).get_vocabulary(False) == ["a", "b c"]
    path.write_bytes(b"a\n\r\nb\n")  # a word that is the end of a line, elsewhere
    assert TextVectorization(vocabulary=path).get_vocabulary(False) == ["a", "\r", "b"]
    path.write_text("7\n-3")
    assert IntegerLookup(vocabulary=path).get_vocabulary() == [-1, 7, -3]
    path.write_text("x")
    with pytest.raises(ValueError, match="expected a whole number in each line; got 'x'"):
        IntegerLookup(vocabulary=path)
    with pytest.raises(ValueError, match="none.txt' cannot be read"):
        TextVectorization(vocabulary=tmp_path / "none.txt")
    with pytest.raises(ValueError, match="got the path .*, which is not read from there"):
        TextVectorization.from_config({"vocabulary": str(path)})


def test_set_vocabulary_replaces_what_was_given():
    layer = TextVectorization(vocabulary=["b", "a"], output_mode="tf_idf", idf_weights=[1.0, 2.0])
    layer.set_vocabulary(["[UNK]", "q"], idf_weights=[0.5, 4.0])
    assert layer(["q z z"]).tolist() == [[1.0, 4.0]]
    again = TextVectorization.from_config(layer.get_config())
    assert again(["q z z"]).tolist() == [[1.0, 4.0]]
    with pytest.raises(ValueError, match="adapt: the layer was made with a vocabulary"):
        layer.adapt(["x"])
    free = TextVectorization()
    free.set_vocabulary(["q"])
    free.adapt(["x x y"])
    assert free.get_vocabulary(False) == ["x", "y"]


def test_nothing_is_half_changed_by_data_without_words():
    layer = learned()
    before = layer.get_vocabulary()
    for data in ([], ["", " "], iter([])):
        with pytest.raises(ValueError, match="adapt: expected data with tokens; got none in them"):
            layer.adapt(data)
    with pytest.raises(ValueError, match="each token once"):
        layer.set_vocabulary(["a", "a"])
    assert layer.get_vocabulary() == before


@pytest.mark.parametrize(("cls", "options", "error", "message"), [
    (TextVectorization, {"standardize": "loud"}, ValueError, "Unknown standardize: 'loud'"),
    (TextVectorization, {"split": "words"}, ValueError, "Unknown split: 'words'"),
    (TextVectorization, {"output_mode": "one_hot"}, ValueError, "Unknown output_mode"),
    (TextVectorization, {"ngrams": 0}, ValueError, "ngrams must be a whole number from 1 on"),
    (TextVectorization, {"ngrams": "a"}, ValueError, "ngrams .* got 'a'"),
    (TextVectorization, {"max_tokens": 2}, ValueError, "max_tokens must leave a place behind"),
    (TextVectorization, {"pad_to_max_tokens": True}, ValueError, "Give max_tokens"),
    (TextVectorization, {"output_mode": "count", "output_sequence_length": 3}, ValueError,
     "belong to output_mode 'int'"),
    (TextVectorization, {"output_mode": "count", "ragged": True}, ValueError, "belong to"),
    (TextVectorization, {"output_sequence_length": 0}, ValueError, "output_sequence_length must"),
    (TextVectorization, {"sparse": True}, NotImplementedError, "sparse is not there yet"),
    (TextVectorization, {"encoding": "utf-16"}, ValueError, "encoding must have ASCII as it is"),
    (TextVectorization, {"num_oov_indices": 2}, TypeError, "no argument 'num_oov_indices'"),
    (TextVectorization, {"vocabulary": []}, ValueError, "at least one token"),
    (TextVectorization, {"vocabulary": [1]}, TypeError, r"expected str; got 1 \(int\)"),
    (TextVectorization, {"vocabulary": ["a", ""]}, ValueError, "'' has a place of its own"),
    (TextVectorization, {"vocabulary": ["a", "b"], "max_tokens": 3}, ValueError,
     "max_tokens=3 at most"),
    (TextVectorization, {"vocabulary": ["a"], "idf_weights": [1.0]}, ValueError,
     "idf_weights belong to output_mode 'tf_idf'"),
    (TextVectorization, {"vocabulary": ["a"], "output_mode": "tf_idf"}, ValueError,
     "needs idf_weights"),
    (TextVectorization, {"vocabulary": ["a"], "output_mode": "tf_idf", "idf_weights": [1, 2]},
     ValueError, "one for each of the 1 tokens"),
    (TextVectorization, {"idf_weights": [1.0]}, ValueError, "belong to a vocabulary"),
    (StringLookup, {"num_oov_indices": 2}, NotImplementedError, "num_oov_indices 0 or 1, got 2"),
    (StringLookup, {"num_oov_indices": -1}, ValueError, "num_oov_indices must be"),
    (StringLookup, {"salt": 3}, NotImplementedError, "salt is not there yet"),
    (StringLookup, {"invert": True, "output_mode": "count"}, ValueError, "output_mode 'int'"),
    (StringLookup, {"invert": True, "vocabulary": ["a", "[UNK]"]}, ValueError, "has a place"),
    (IntegerLookup, {"oov_method": "farmhash"}, NotImplementedError, "oov_method"),
    (IntegerLookup, {"vocabulary_dtype": "int32"}, ValueError, "Unknown vocabulary_dtype"),
    (IntegerLookup, {"vocabulary": [1.5]}, ValueError, r"whole numbers; got 1.5 \(float\)"),
])
def test_arguments_that_cannot_be(cls, options, error, message):
    with pytest.raises(error, match=message):
        cls(**options)


@pytest.mark.parametrize(("layer", "x", "error", "message"), [
    (TextVectorization(), ["a"], ValueError, "no vocabulary yet; call adapt"),
    (TextVectorization(output_mode="count"), ["a"], ValueError, "no vocabulary yet"),
    (TextVectorization(vocabulary=["a"]), [1], TypeError, r"expected str; got 1 \(int\)"),
    (TextVectorization(vocabulary=["a"]), [None], TypeError, "expected str; got None"),
    (TextVectorization(vocabulary=["a"]), 3, TypeError, "a str, or a list or array"),
    (TextVectorization(vocabulary=["a"]), [["a", "b"]], ValueError, r"got shape \(1, 2\)"),
    (TextVectorization(vocabulary=["a"]), [["a"], ["b", "c"]], ValueError, "of lists"),
    (TextVectorization(vocabulary=["a"]), [b"\xff"], ValueError, "encoding='utf-8' does not fit"),
    (StringLookup(vocabulary=["a"], num_oov_indices=0), ["b"], ValueError,
     "tokens of the vocabulary only; got 'b'"),
    (IntegerLookup(vocabulary=[1]), ["1"], ValueError, r"whole numbers; got '1' \(str\)"),
    (IntegerLookup(vocabulary=[1]), [0.5], ValueError, "whole numbers; got 0.5"),
    (StringLookup(vocabulary=["a"], invert=True), ["a"], ValueError, "whole numbers; got 'a'"),
])
def test_tokens_that_cannot_be(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer(x)


def test_texts_in_another_encoding():
    layer = TextVectorization(encoding="latin-1")
    layer.adapt(["é a", "é".encode("latin-1")])
    assert layer.get_vocabulary(False) == ["é", "a"]
    assert layer(["é".encode("latin-1"), "a"]).tolist() == [[2], [3]]


# -- in models -------------------------------------------------------------------------------------


def trained(model, x, y=LABELS, **options):
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=2, batch_size=2, verbose=0, **options)
    return model


@pytest.mark.parametrize("shape", [None, (), (1,)])
@pytest.mark.parametrize("kind", [
    list, np.array, lambda t: np.array(t, object), lambda t: [[text] for text in t],
    lambda t: np.array(t)[:, None],
])
def test_a_model_that_takes_texts(shape, kind):
    layer, x = learned(), kind(TEXTS)
    behind = Sequential([Embedding(12, 3, mask_zero=True), LSTM(2), Dense(1)])
    behind.build((None, None))
    start = behind.get_weights()
    entrance = [] if shape is None else [Input(shape, dtype="string")]
    model = Sequential([*entrance, layer, *behind.layers])
    trained(model, x, shuffle=False, validation_split=0.2)
    y, score = model.predict(x, verbose=0), model.evaluate(x, LABELS, verbose=0)
    assert model.input_shape == (None, *(shape if shape is not None else np.shape(x)[1:]))
    np.testing.assert_array_equal(model.predict_on_batch(x), y)
    np.testing.assert_allclose(model(x), y)
    after = model.get_weights()
    assert not np.array_equal(after[0], start[0])
    behind.set_weights(start)
    trained(behind, layer(TEXTS), shuffle=False, validation_split=0.2)
    for one, other in zip(after, behind.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(behind.predict(layer(TEXTS), verbose=0), y, atol=1e-6)
    np.testing.assert_allclose(behind.evaluate(layer(TEXTS), LABELS, verbose=0), score, rtol=1e-5)


@pytest.mark.parametrize("mode", ["multi_hot", "count", "tf_idf"])
def test_a_model_of_counted_words(mode):
    layer = learned(output_mode=mode)
    model = trained(Sequential([Input((1,), dtype="string"), layer, Dense(1)]), TEXTS)
    kernel, bias = model.get_weights()
    assert model.layers[0].output_shape == (None, 9)
    np.testing.assert_allclose(
        model.predict(TEXTS, verbose=0), layer(TEXTS) @ kernel + bias, rtol=1e-5
    )


def test_two_layers_read_one_text_beside_numbers():
    text, more = Input((1,), dtype="string", name="text"), Input((2,), name="more")
    words, letters = learned(ragged=True), learned(split="character", output_mode="count")
    words_read = GRU(2)(Embedding(12, 3)(words(text)))
    merged = Concatenate()([words_read, letters(text), more])
    model = Model([text, more], Dense(1)(merged))
    x = {"text": np.array(TEXTS), "more": np.ones((6, 2))}
    trained(model, x)
    parts = [
        Model(text, words_read).predict(TEXTS, verbose=0), letters(TEXTS), x["more"],
    ]
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(
        model.predict([TEXTS, x["more"]], verbose=0), np.hstack(parts) @ kernel + bias, rtol=1e-4
    )


def test_steps_of_texts():
    layer = learned()
    model = Sequential([layer, Embedding(12, 3, mask_zero=True), LSTM(2, return_sequences=True)])
    y = model.predict(TEXTS, batch_size=2, verbose=0)
    assert y.shape == (6, 6, 2) and not y[4:, 1:].any()
    assert Sequential([learned()]).predict(TEXTS, batch_size=4, verbose=0).tolist() == (
        layer(TEXTS).tolist()
    )
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="give TextVectorization an output_sequence_length"):
        model.fit(TEXTS, np.zeros((6, 6, 2)), verbose=0)
    fixed = Sequential([learned(output_sequence_length=6), *model.layers[1:]])
    trained(fixed, TEXTS, np.zeros((6, 6, 2)))


def test_batches_of_texts_in_a_model():
    model = Sequential([learned(), Embedding(12, 3, mask_zero=True), GRU(2), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(((TEXTS[:3], LABELS[:3]) for _ in range(2)), verbose=0)
    both = model.predict(((TEXTS[i : i + 3],) for i in (0, 3)), verbose=0)
    np.testing.assert_allclose(both, model.predict(TEXTS, verbose=0), atol=1e-6)
    assert isinstance(model.train_on_batch(TEXTS, LABELS), float)


def test_lookups_in_models():
    words, numbers = StringLookup(), IntegerLookup(output_mode="multi_hot")
    words.adapt([["a", "b"]])
    numbers.adapt([[5, 7]])
    pairs, other = [["a", "q"], ["b", "b"]] * 3, [[5, 5, 1], [7, 5, 5]] * 3
    model = trained(Sequential([words, Embedding(3, 2), GRU(2), Dense(1)]), pairs)
    behind = Sequential(model.layers[1:])
    np.testing.assert_array_equal(
        model.predict(pairs, verbose=0), behind.predict(words(pairs), verbose=0)
    )
    model = trained(Sequential([numbers, Dense(1)]), other)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(
        model.predict(other, verbose=0), numbers(other) @ kernel + bias, rtol=1e-5
    )
    ids = IntegerLookup(vocabulary=[5, 7], mask_token=0)
    model = trained(Sequential([ids, Embedding(4, 2), GRU(2), Dense(1)]), [[5], [7, 5, 5]] * 3)
    np.testing.assert_array_equal(
        model.predict([[5], [7, 5]], verbose=0),
        Sequential(model.layers[1:]).predict(ids([[5], [7, 5]]), verbose=0),
    )


@pytest.mark.parametrize(("make", "x", "error", "message"), [
    (lambda: Sequential([learned(), Embedding(5, 2), GRU(2), Dense(1)]), TEXTS, IndexError,
     "outside the table"),
    (lambda: Sequential([learned(), Embedding(12, 2), GRU(2), Dense(1)]), "text", ValueError,
     "got one: put it into a list"),
    (lambda: Sequential([learned(), Embedding(12, 2), GRU(2), Dense(1)]), [], ValueError,
     "there are no rows"),
    (lambda: Sequential([learned(), Embedding(12, 2), GRU(2), Dense(1)]), [1, 2], TypeError,
     "expected str"),
    (lambda: Sequential([Input((1,)), learned()]), TEXTS, TypeError, "dtype='string'"),
    (lambda: Sequential([Input((3,), dtype="string"), learned()]), TEXTS, ValueError,
     r"\(batch, 1\)"),
    (lambda: Sequential([TextVectorization(), Dense(1)]), TEXTS, ValueError, "no vocabulary yet"),
    (lambda: Sequential([Input((1,), dtype="string"), TextVectorization(output_mode="count")]),
     TEXTS, ValueError, "the width of the output is not known yet; call adapt"),
    (lambda: Sequential([Embedding(9, 2), GRU(2)]), TEXTS, ValueError,
     "Texts become ids in layers.TextVectorization"),
    (lambda: Sequential([Embedding(9, 2), GRU(2)]), np.array(TEXTS), TypeError,
     "Texts become ids in layers.TextVectorization"),
    (lambda: Sequential([StringLookup(vocabulary=["a"]), Embedding(9, 2)]), [["a"], ["a", "b"]],
     ValueError, "Call the layer on them ahead of it"),
    (lambda: Sequential([StringLookup(vocabulary=["a"], invert=True), Dense(1)]), [["a"]],
     ValueError, "call it on the outputs of the model"),
    (lambda: Sequential([StringLookup(vocabulary=["a"], output_mode="count"), Dense(1)]),
     ["a", "b"], ValueError, r"expected input of shape \(batch, tokens\)"),
    (lambda: Sequential([IntegerLookup(vocabulary=[5], output_mode="count"), Dense(1)]),
     [[5], [5, 5]], ValueError, "cannot take sequences of different lengths"),
])
def test_models_that_cannot_be(make, x, error, message):
    with pytest.raises(error, match=message):
        make().predict(x, verbose=0)


def test_texts_stay_on_the_cpu(monkeypatch):
    model = Sequential([learned(), Embedding(12, 2), GRU(2)])
    model.predict(TEXTS, verbose=0)
    monkeypatch.setattr(fastrnn.engines, "get_device", lambda: "cuda")
    with pytest.raises(RuntimeError, match="Call the layer ahead of the model"):
        model.predict(TEXTS, verbose=0)
    assert model.layers[0](TEXTS).shape == (6, 6)


# -- in files --------------------------------------------------------------------------------------


@saving.register_keras_serializable("vocabularies")
def shout(text):
    return text.upper()


def several():
    text, words, numbers = Input((1,), dtype="string"), Input((2,), dtype="string"), Input((2,))
    ids, counts = StringLookup(mask_token=""), IntegerLookup(2, 1, output_mode="multi_hot")
    ids.adapt([["u", "v"]])
    counts.adapt([[4, 5, 5]])
    weighted = learned(output_mode="tf_idf", max_tokens=20, pad_to_max_tokens=True)
    merged = Concatenate()([
        GRU(2)(Embedding(9, 3)(ids(words))), counts(numbers), weighted(text),
        GRU(2)(Embedding(20, 2)(learned(standardize=shout, ngrams=2)(text))),
    ])
    return Model([text, words, numbers], Dense(1)(merged))


FILES = {
    "several": (several, [np.array(TEXTS[:2]), np.array([["u", "q"], ["", "v"]]),
                          np.array([[4, 7], [5, 4]])]),
    "given": (lambda: Sequential([
        TextVectorization(vocabulary=["the", "mat"], idf_weights=[1.0, 2.0], output_mode="tf_idf"),
        Dense(1)]), TEXTS),
    "inside": (lambda: Sequential([
        Sequential([Input((1,), dtype="string"), learned(), Embedding(12, 2)]), GRU(2)]), TEXTS),
}


@pytest.mark.parametrize("ending", [".fastrnn", ".keras", ".h5"])
@pytest.mark.parametrize("name", FILES)
def test_there_and_back(name, ending, tmp_path):
    if ending != ".fastrnn":
        pytest.importorskip("h5py")
    make, x = FILES[name]
    model = make()
    y = model.predict(x, verbose=0)
    model.save(tmp_path / f"model{ending}")
    same = load_model(tmp_path / f"model{ending}")
    np.testing.assert_array_equal(same.predict(x, verbose=0), y)
    layers_of = [
        [layer for layer in m.walk() if hasattr(layer, "get_vocabulary")] for m in (model, same)
    ]
    for one, other in zip(*layers_of, strict=True):
        assert one.get_vocabulary() == other.get_vocabulary()
        assert one.input_vocabulary == other.input_vocabulary or ending != ".fastrnn"
    same.save(tmp_path / f"again{ending}")
    np.testing.assert_array_equal(
        load_model(tmp_path / f"again{ending}").predict(x, verbose=0), y
    )


def test_what_a_keras_file_has(tmp_path):
    pytest.importorskip("h5py")
    model = Sequential([Input((1,), dtype="string"), learned(), Embedding(12, 2), GRU(2)])
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        texts = [archive.read(name) for name in archive.namelist() if "assets/" in name]
        config = json.loads(archive.read("config.json"))["config"]["layers"]
    assert texts == [b"\n[UNK]\nthe\nmat\ndog\ncat\nsat\nran\non\na"] * 2  # as Keras
    assert config[0]["config"]["dtype"] == "string"
    assert config[1]["config"]["vocabulary"] is None
    assert config[1]["config"]["vocabulary_size"] == 10


@pytest.mark.parametrize("words", [["a\x85b", "c"], ["a\nb", "c"], ["a\u2028b"]])
def test_words_that_are_no_lines_for_keras(words, tmp_path):
    pytest.importorskip("h5py")
    layer = TextVectorization(split=None, standardize=None)
    layer.adapt(words)
    model = Sequential([Input((1,), dtype="string"), layer, Embedding(12, 2), GRU(2)])
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert not any("assets" in name for name in archive.namelist())
    assert load_model(tmp_path / "model.keras").layers[0].get_vocabulary(False) == sorted(
        words, reverse=True
    )
    assert layer.learned() is not None  # it is as it was


def test_a_file_whose_vocabulary_does_not_fit(tmp_path):
    pytest.importorskip("h5py")
    model = Sequential([Input((1,), dtype="string"), learned(), Embedding(12, 2), GRU(2)])
    model.save(tmp_path / "model.keras")
    for text, message in ((b"\n[UNK]\na", "expected a vocabulary of 10; got 3"),
                          (b"a\nb", "expected a vocabulary that begins with")):
        with (zipfile.ZipFile(tmp_path / "model.keras") as archive,
              zipfile.ZipFile(tmp_path / "other.keras", "w") as other):
            for name in archive.namelist():
                other.writestr(name, text if "assets" in name else archive.read(name))
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path / "other.keras")


def test_what_configurations_keep(tmp_path):
    layer = learned(standardize=lambda text: text.upper())
    model = Sequential([Input((1,), dtype="string"), layer, Embedding(12, 2), GRU(2)])
    copy = clone_model(model).layers[0]
    assert copy.standardize is layer.standardize and copy.get_vocabulary(False) == []
    copy.adapt(["b"])
    with pytest.raises(ValueError, match="Of a TextVectorization it needs a name"):
        model.save(tmp_path / "model.fastrnn")
    with pytest.raises(ValueError, match="Unknown standardize: 'nobodys'"):
        TextVectorization(standardize={"class_name": "function", "config": "nobodys"})


def test_weights_alone_have_no_vocabulary(tmp_path):
    def make(texts):
        layer = TextVectorization(output_mode="tf_idf")
        layer.adapt(texts)
        return Sequential([Input((1,), dtype="string"), layer, Dense(1)])

    model, other = make(["a b", "a"]), make(["c d", "c"])
    model.save_weights(tmp_path / "model.weights")
    other.load_weights(tmp_path / "model.weights")
    assert other.layers[0].get_vocabulary(False) == ["c", "d"]
    np.testing.assert_array_equal(other.predict(["c"], verbose=0), model.predict(["a"], verbose=0))
