"""Layers and models as Keras and fastrnn both make them: the one to compute, the other to compare.

A layer is described as ``[class name, arguments]``; an argument may be such a description itself,
or a list of them, where a layer takes layers.  A model with a graph is a function of the package.
"""

__all__ = ["flat", "make", "models"]


def make(layers, specification):
    """Return the layer that `specification` describes, of the module `layers`."""
    name, config = specification
    return getattr(layers, name)(**{key: inside(layers, v) for key, v in config.items()})


def inside(layers, value):
    """Return an argument with the layers made that it describes."""
    if is_layer(value):
        return make(layers, value)
    if isinstance(value, list) and value and all(map(is_layer, value)):
        return [make(layers, part) for part in value]
    return value


def flat(tree):
    """Return what is in nested lists as one list."""
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in flat(part)]
    return [tree]


def is_layer(value):
    """Say whether an argument describes a layer."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], dict)
    )


# --- models ---------------------------------------------------------------------------------------
#
# Sizes: rows of up to 6 steps, ids below 12, vectors of 3 numbers. Layers have names of their own,
# because weights are kept by them.


def stack(k):
    """Embedding that masks, two gated layers, Dense."""
    return k.Sequential(
        [
            k.Input((6,), dtype="int32"),
            k.layers.Embedding(12, 3, mask_zero=True, name="words"),
            k.layers.LSTM(4, return_sequences=True, name="lower"),
            k.layers.GRU(4, name="upper"),
            k.layers.Dense(3, activation="softmax", name="choice"),
        ]
    )


def both_ways(k):
    """Two Bidirectional layers, with padding."""
    return k.Sequential(
        [
            k.Input((6,), dtype="int32"),
            k.layers.Embedding(12, 3, mask_zero=True, name="words"),
            k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True), name="lower"),
            k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum", name="upper"),
            k.layers.Dense(1, activation="sigmoid", name="yes"),
        ]
    )


def averaged(k):
    """The mean over the steps that count, of both directions."""
    return k.Sequential(
        [
            k.Input((6,), dtype="int32"),
            k.layers.Embedding(12, 3, mask_zero=True, name="words"),
            k.layers.Bidirectional(
                k.layers.GRU(3, return_sequences=True, reset_after=False), name="both"
            ),
            k.layers.GlobalAveragePooling1D(name="mean"),
            k.layers.Dense(1, activation="sigmoid", name="yes"),
        ]
    )


def normalized(k):
    """Normalizations between layers on masked sequences, and a loss for each step."""
    return k.Sequential(
        [
            k.Input((6, 3)),
            k.layers.Masking(name="gaps"),
            k.layers.LSTM(4, return_sequences=True, name="lower"),
            k.layers.LayerNormalization(name="by_row"),
            k.layers.SimpleRNN(4, return_sequences=True, name="middle"),
            k.layers.BatchNormalization(momentum=0.8, name="by_batch"),
            k.layers.TimeDistributed(k.layers.Dense(3, activation="softmax"), name="choices"),
        ]
    )


def sentences(k):
    """Words to a vector for each sentence, sentences to one for the text."""
    reader = [
        k.Input((6,), dtype="int32"),
        k.layers.Embedding(12, 3, mask_zero=True),
        k.layers.LSTM(3),
    ]
    return k.Sequential(
        [
            k.Input((2, 6), dtype="int32"),
            k.layers.TimeDistributed(k.Sequential(reader), name="sentence"),
            k.layers.GRU(3, name="text"),
            k.layers.Dense(1, activation="sigmoid", name="yes"),
        ]
    )


def cells(k):
    """A stack of cells that all read a step before the next one."""
    own = [k.layers.LSTMCell(4), k.layers.GRUCell(3)]
    return k.Sequential(
        [
            k.Input((6, 3)),
            k.layers.RNN(own, name="cells"),
            k.layers.Dense(2, name="numbers"),
        ]
    )


def kept(k):
    """States that go from batch to batch."""
    return k.Sequential(
        [
            k.Input(batch_shape=(4, 6, 3)),
            k.layers.LSTM(4, stateful=True, return_sequences=True, name="lower"),
            k.layers.GRU(3, stateful=True, name="upper"),
            k.layers.Dense(2, name="numbers"),
        ]
    )


def repeated(k):
    """An autoencoder: one state, shown at every step of the way back."""
    return k.Sequential(
        [
            k.Input((6, 3)),
            k.layers.GRU(5, name="encoder"),
            k.layers.RepeatVector(6, name="repeat"),
            k.layers.LSTM(5, return_sequences=True, go_backwards=True, name="decoder"),
            k.layers.TimeDistributed(k.layers.Dense(3), name="numbers"),
        ]
    )


def encoder_decoder(k):
    """An encoder hands its states to a decoder that is told the right output of the step before."""
    source = k.Input((6,), dtype="int32", name="source")
    target = k.Input((5,), dtype="int32", name="target")
    x = k.layers.Embedding(12, 3, mask_zero=True, name="source_words")(source)
    _, h, c = k.layers.LSTM(4, return_state=True, name="encoder")(x)
    y = k.layers.Embedding(12, 3, mask_zero=True, name="target_words")(target)
    y, _, _ = k.layers.LSTM(4, return_sequences=True, return_state=True, name="decoder")(
        y, initial_state=[h, c]
    )
    y = k.layers.Dense(12, activation="softmax", name="next_word")(y)
    return k.Model([source, target], y)


def encoder_decoder_both_ways(k):
    """The states of both directions, side by side, start the decoder."""
    source = k.Input((6, 3), name="source")
    target = k.Input((5, 2), name="target")
    masked = k.layers.Masking(name="gaps")(source)
    encoder = k.layers.Bidirectional(k.layers.GRU(2, return_state=True), name="encoder")
    _, forward, backward = encoder(masked)
    state = k.layers.Concatenate(name="state")([forward, backward])
    y = k.layers.GRU(4, return_sequences=True, name="decoder")(target, initial_state=state)
    return k.Model([source, target], k.layers.Dense(2, name="numbers")(y))


def siamese(k):
    """One layer reads two texts; what differs and what agrees decides."""
    a, b = (k.Input((6,), dtype="int32", name=name) for name in ("a", "b"))
    words = k.layers.Embedding(12, 3, mask_zero=True, name="words")
    reader = k.layers.Bidirectional(k.layers.LSTM(3), name="reader")
    left, right = reader(words(a)), reader(words(b))
    difference = k.layers.Subtract(name="difference")([left, right])
    product = k.layers.Multiply(name="product")([left, right])
    features = k.layers.Concatenate(name="features")([difference, product])
    return k.Model([a, b], k.layers.Dense(1, activation="sigmoid", name="same")(features))


def two_outputs(k):
    """One sequence, a class for each step and a number for the row."""
    x = k.Input((6, 3), name="x")
    y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True), name="reader")(x)
    tags = k.layers.Dense(3, activation="softmax", name="tags")(y)
    score = k.layers.Dense(1, name="score")(k.layers.GlobalMaxPooling1D(name="most")(y))
    return k.Model(x, [tags, score])


def two_masks(k):
    """Two padded texts side by side, at each step whichever counts there."""
    a, b = (k.Input((6,), dtype="int32", name=name) for name in ("a", "b"))
    left = k.layers.Embedding(12, 3, mask_zero=True, name="left")(a)
    right = k.layers.Embedding(12, 3, mask_zero=True, name="right")(b)
    both = [
        k.layers.Add(name="add")([left, right]),
        k.layers.Average(name="average")([left, right]),
        k.layers.Concatenate(name="side_by_side")([left, right]),
    ]
    y = k.layers.GRU(4, name="reader")(k.layers.Concatenate(name="all")(both))
    joined = k.layers.Concatenate(axis=1, name="one_after_the_other")([left, right])
    z = k.layers.LSTM(3, name="long_reader")(joined)
    y = k.layers.Concatenate(name="features")([y, z])
    return k.Model([a, b], k.layers.Dense(1, activation="sigmoid", name="yes")(y))


def attention(k):
    """A decoder's steps look at an encoder's: products, softmax, weighted sums."""
    source = k.Input((6, 3), name="source")
    target = k.Input((5, 3), name="target")
    keys = k.layers.GRU(4, return_sequences=True, name="encoder")(source)
    queries = k.layers.GRU(4, return_sequences=True, name="decoder")(target)
    scores = k.layers.Dot(axes=2, name="scores")([queries, keys])
    shares = k.layers.Activation("softmax", name="shares")(scores)
    context = k.layers.Dot(axes=(2, 1), name="context")([shares, keys])
    y = k.layers.Concatenate(name="features")([context, queries])
    return k.Model([source, target], k.layers.Dense(2, name="numbers")(y))


models = {
    recipe.__name__: recipe
    for recipe in (
        stack, both_ways, averaged, normalized, sentences, cells, kept, repeated,
        encoder_decoder, encoder_decoder_both_ways, siamese, two_outputs, two_masks, attention,
    )
}  # fmt: skip
