"""Layers with a vocabulary: what they learn of data, and what they make of more."""

import itertools

import keras
import numpy as np
import tensorflow as tf

TEXTS = [
    "The cat sat on the mat.", "The DOG, the cat!", "", "  ",
    "ÄÖ éa\u00a0b\u0085c\x1cd\te\x0bf\x0cg\rh\ni", "it's a_b-c (x) «y» … 你好 [UNK]",
]
MORE = ["the the cat zzz", "", "You're on THE mat;you cat", "unk [UNK]", "dog"]
COLUMN, MORE_COLUMN = [[t] for t in TEXTS], [[t] for t in MORE]
WORDS = [["b", "a", "b"], ["c", "b", ""]]
NUMBERS = [[42, 1138, 42], [7, -1, 0]]


def case(layer, adapt=None, calls=(), batches=None, steps=None, **config):
    """What a layer learns, and gives for each of ``calls``."""
    made = getattr(keras.layers, layer)(**config)
    if batches is not None:
        made.adapt(iter(batches), steps=steps)
    elif adapt is not None:
        made.adapt(adapt)
    outputs = [given(made(x)) for x in calls]
    return {
        "layer": layer, "config": config, "adapt": adapt, "batches": batches, "steps": steps,
        "vocabulary": plain(made.get_vocabulary()),
        "without": plain(made.get_vocabulary(include_special_tokens=False)),
        "size": made.vocabulary_size(), "calls": [*map(list, zip(calls, outputs, strict=True))],
    }


def given(y):
    """An output as an array; of different lengths a list of them; of words a list of str."""
    if isinstance(y, tf.RaggedTensor):
        return [np.array(row, np.int64) for row in y.to_list()]
    y = y.numpy()
    return plain(y.tolist()) if y.dtype == object else np.asarray(y)


def plain(tokens):
    """Tokens as str or int."""
    if isinstance(tokens, list):
        return [plain(token) for token in tokens]
    if isinstance(tokens, bytes):
        return tokens.decode()
    return str(tokens) if isinstance(tokens, str) else int(tokens)


def text_cases():
    """`TextVectorization`."""
    cases, name = {}, "TextVectorization"
    calls = [MORE, MORE_COLUMN, MORE[0], "", ["", ""]]
    for standardize, split in itertools.product(
        ["lower_and_strip_punctuation", "lower", "strip_punctuation", None],
        ["whitespace", "character"],
    ):
        cases[f"{standardize} {split}"] = case(
            name, TEXTS, calls, standardize=standardize, split=split
        )
    for mode, split in itertools.product(
        ["int", "multi_hot", "count", "tf_idf"], ["whitespace", "character", None]
    ):
        own = [MORE, MORE_COLUMN, MORE[0], TEXTS]
        cases[f"{mode} {split}"] = case(name, TEXTS, own, split=split, output_mode=mode)
        cases[f"{mode} {split} column"] = case(name, COLUMN, own, split=split, output_mode=mode)
    for n in (1, 2, 3, (2,), (1, 3), (3, 1)):
        cases[f"ngrams {n}"] = case(name, TEXTS, calls, ngrams=n)
        cases[f"ngrams {n} count"] = case(name, TEXTS, calls, ngrams=n, output_mode="count")
    for length in (1, 3, 9):
        some = [x for x in calls if x]  # Keras does not fill up a single text without words
        cases[f"length {length}"] = case(name, TEXTS, some, output_sequence_length=length)
        cases[f"length {length} words"] = case(
            name, WORDS, [WORDS, WORDS[0]], output_sequence_length=length, split=None
        )
    cases["words bigrams"] = case(name, WORDS, [WORDS, WORDS[0]], split=None, ngrams=2)
    for mode, pad in itertools.product(["int", "multi_hot", "count", "tf_idf"], [False, True]):
        for most in (4, 30):
            cases[f"{most} at most, {mode} {pad}"] = case(
                name, TEXTS, [MORE], output_mode=mode, max_tokens=most, pad_to_max_tokens=pad
            )
    cases["ragged"] = case(name, TEXTS, calls, ragged=True)
    cases["ragged length"] = case(name, TEXTS, calls, ragged=True, output_sequence_length=2)
    batches = [["a b", "b"], ["b c c", "d"], ["e"]]
    for mode, steps in itertools.product(["int", "tf_idf"], [None, 2]):
        cases[f"batches {mode} {steps}"] = case(
            name, calls=[["a b c d e f"]], batches=batches, steps=steps, output_mode=mode
        )
    cases["batches words"] = case(
        name, calls=[WORDS], batches=[["a", "b"], ["b", "c"]], split=None, output_mode="tf_idf"
    )
    for words in (["b", "a"], ["", "[UNK]", "b", "a"], ["[UNK]", "b"], ["A b", "a", "[UNK]"]):
        cases[f"given {words}"] = case(name, calls=[["a b c [UNK]"]], vocabulary=words)
    for words, weights in ((["b", "a"], [0.25, 0.75]), (["[UNK]", "b", "a"], [0.9, 0.25, 0.75])):
        for most in (None, 5):
            cases[f"given {words} {most}"] = case(
                name, calls=[["a b b c"]], vocabulary=words, idf_weights=weights,
                output_mode="tf_idf", max_tokens=most, pad_to_max_tokens=most is not None,
            )
    cases["greek"] = case(name, ["Σ σ Σς Ά ά", "ά ß ẞ"], [["σ Σ ά ß"]])
    return cases


def lookup_cases():
    """`StringLookup` and `IntegerLookup`."""
    cases = {}
    kinds = {
        "StringLookup": (WORDS, ["b", "x"], "a", "", [[["b", "q"], ["b", "b"]]]),
        "IntegerLookup": (NUMBERS, [42, 5], 7, 0, [[[42, 5], [42, 42]]]),
    }
    for layer, (data, row, one, mask, deep) in kinds.items():
        calls = [data, row, one, [[t] for t in row], deep]
        for mode, own in itertools.product(
            ["int", "one_hot", "multi_hot", "count", "tf_idf"], [None, mask]
        ):
            options = {"output_mode": mode, "mask_token": own}
            # Of three axes Keras counts along the second.
            chosen = calls if mode in ("int", "one_hot") else calls[:-1]
            cases[f"{layer} {mode} {own!r}"] = case(layer, data, chosen, **options)
            cases[f"{layer} {mode} {own!r} row"] = case(layer, data[0], chosen, **options)
            cases[f"{layer} {mode} {own!r} padded"] = case(
                layer, data, chosen[:2], **options, max_tokens=9, pad_to_max_tokens=True
            )
        for oov in (0, 1):
            cases[f"{layer} {oov} unknown"] = case(
                layer, calls=[data[0]], vocabulary=sorted(set(data[0])), num_oov_indices=oov
            )
        cases[f"{layer} inverted"] = case(
            layer, data, [[[1, 2, 0], [3, 9, -1]]], invert=True, mask_token=mask
        )
        cases[f"{layer} inverted, given"] = case(
            layer, calls=[[1, 0, 2]], vocabulary=sorted(set(data[0])), invert=True
        )
        cases[f"{layer} batches"] = case(
            layer, calls=[data], batches=[data[0], data[1]], output_mode="tf_idf"
        )
    for oov, mask in itertools.product((2, 3), (None, 0)):
        cases[f"remainders {oov} {mask}"] = case(
            "IntegerLookup", NUMBERS, [[42, 7, 8, 9, 10, -2, -3]], num_oov_indices=oov,
            mask_token=mask,
        )
    return cases
