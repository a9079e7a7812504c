"""Save small models with Keras, for the tests to read.

    pip install keras==3.15.1 tensorflow-cpu==2.21.0
    python tests/exchange/make_keras_files.py [keras_files] [keras_scores] [keras_calls] \
        [keras_texts]

Every model is trained for two steps, saved, and trained for two more. ``keras_files.zip``, beside
this script, holds the files and for each model one of arrays: what it was given (``x0``, ``x1``, …
and the labels ``t``), what it computed when it was saved (``y``) and what after the two further
steps (``later``), which depends on the optimizer's state. The models in ``keras_scores.zip`` have
other losses, metrics and optimizers, which any backend computes alike (``KERAS_BACKEND=jax``);
``scores`` is what evaluate said of them when they were saved, sorted by name. Those in
``keras_calls.zip`` are of the classes in ``calls.py``, those in ``keras_texts.zip`` begin with a
vocabulary.
"""

import io
import logging
import os
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import calls
import keras
import numpy as np
from keras import Input, Model, Sequential, layers, optimizers

HERE = Path(__file__).parent
KERAS_VERSION = "3.15.1"
ROWS = 6


def sentiment():
    """Ids with padding, both directions, RMSprop with all its slots."""
    model = Sequential([
        Input((5,), dtype="int32"),
        layers.Embedding(31, 4, mask_zero=True, name="words"),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GRU(2, bias_initializer="random_normal"),
        layers.Dropout(0.0),
        layers.Dense(1, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.01)),
    ])
    model.compile(
        optimizers.RMSprop(0.01, momentum=0.5, centered=True),
        loss="binary_crossentropy",
        metrics=["acc"],
    )
    return model


def stack():
    """Stacks of cells, wrappers, normalisations; Adam with a schedule and all its slots."""
    model = Sequential([
        Input((4, 3)),
        Sequential([
            Input((4, 3)), layers.TimeDistributed(layers.Dense(3, activation="relu")),
            layers.BatchNormalization(), layers.Dense(4),
        ]),
        layers.LayerNormalization(),
        layers.RNN([layers.LSTMCell(3), layers.LSTMCell(2), layers.GRUCell(3, reset_after=False)],
                   return_sequences=True),
        layers.BatchNormalization(),
        layers.SimpleRNN(3, activation="relu", use_bias=False, go_backwards=True),
        layers.Dense(2, activation="softmax"),
        layers.Dense(2),
    ])
    rate = optimizers.schedules.ExponentialDecay(0.02, decay_steps=1, decay_rate=0.5)
    model.compile(
        optimizers.Adam(rate, amsgrad=True, use_ema=True, ema_momentum=0.9, clipnorm=1.0),
        keras.losses.MeanSquaredError(), metrics=[keras.metrics.MeanAbsoluteError()],
    )
    return model


def frozen():
    """A layer that is not trained: legacy files keep another order then. SGD with momentum."""
    model = Sequential([
        Input((4, 3)),
        layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum"),
        layers.BatchNormalization(trainable=False),
        layers.LSTM(3, trainable=False, unit_forget_bias=False),
        layers.Dense(1),
    ])
    model.compile(optimizers.SGD(0.1, momentum=0.9, nesterov=True), "mse")
    return model


def translation():
    """A graph: states handed over, a layer used twice, a model as a layer, two inputs."""
    source, target = Input((5,), name="source"), Input((3, 2), name="target")
    words = layers.Embedding(31, 3, name="words")
    _, h, c = layers.LSTM(3, return_state=True, name="encoder")(words(source))
    decoded = layers.LSTM(3, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    head = Sequential(
        [Input((3,)), layers.Dense(2, activation="tanh"), layers.Dense(3)], name="head"
    )
    last = layers.GRU(3, name="last")(decoded)
    merged = layers.Concatenate()([head(h), head(last)])
    model = Model([source, target], layers.Dense(1, name="out")(merged), name="translation")
    model.compile(optimizers.AdamW(0.01), "mse")
    return model


def bare():
    """A model that was not compiled."""
    return Sequential([Input((3, 2)), layers.SimpleRNN(2), layers.Dense(1)])


def scored(optimizer, loss, metrics, activation="sigmoid", **options):
    """A small net, compiled with these."""
    model = Sequential([
        Input((4, 3)), layers.SimpleRNN(3), layers.Dense(2, activation=activation)
    ])
    model.compile(optimizer, loss, metrics=metrics, **options)
    return model


def nadam():
    losses, metrics = keras.losses, keras.metrics
    return scored(
        optimizers.Nadam(0.05), losses.BinaryFocalCrossentropy(True, 0.4, 1.5),
        [metrics.Precision([0.45, 0.55], name="precision"), metrics.Recall(class_id=1, name="one"),
         metrics.AUC(curve="PR", name="area"), metrics.F1Score("macro", 0.5), "hinge"],
        weighted_metrics=[metrics.AUC(multi_label=True, num_labels=2, name="areas")],
    )


def adamax():
    metrics = keras.metrics
    return scored(
        optimizers.Adamax(0.05, clipnorm=0.1), keras.losses.Poisson(),
        [metrics.RootMeanSquaredError(), metrics.R2Score(), metrics.LogCoshError(), "mape"],
        "softplus",
    )


def adagrad():
    return scored(
        optimizers.Adagrad(0.1, 0.2), "kld", [keras.metrics.TopKCategoricalAccuracy(1), "poisson"],
        "softmax",
    )


def adadelta():
    return scored(
        optimizers.Adadelta(1.0, use_ema=True, ema_momentum=0.5), keras.losses.CosineSimilarity(),
        [keras.metrics.CosineSimilarity(), keras.losses.huber],
    )


def lion():
    return scored(optimizers.Lion(0.01), keras.losses.log_cosh, ["false_positives", "msle"])


def ftrl():
    return scored(
        optimizers.Ftrl(0.1, l1_regularization_strength=0.01), "squared_hinge",
        [keras.metrics.SquaredHinge(), keras.metrics.KLDivergence()],
    )


def reader():
    model = calls.classes(keras)["Reader"](3)
    model.compile(optimizers.Adam(0.01), loss="binary_crossentropy")
    return model


def pair():
    model = calls.classes(keras)["Pair"](3)
    model.compile(optimizers.RMSprop(0.01), loss="mse")
    return model


def cells():
    model = calls.classes(keras)["Cells"](3)
    model.compile(optimizers.Adam(0.01), loss="mse")
    return model


TEXTS = [
    "The cat sat on the mat.", "The dog, the cat!", "", "A dog: unseen words?", "mat",
    "sat on a cat",
]


def texts():
    """A vocabulary that was learned, with pairs of words."""
    words = layers.TextVectorization(max_tokens=16, ngrams=2, name="words")
    words.adapt(TEXTS[:3])
    model = Sequential([
        Input((1,), dtype="string"), words, layers.Embedding(16, 3, mask_zero=True),
        layers.LSTM(3), layers.Dense(1),
    ])
    model.compile("sgd", "mse")
    return model


def weighted():
    """The weights of the words of two vocabularies, one of them given."""
    text = Input((1,), dtype="string")
    learned = layers.TextVectorization(output_mode="tf_idf")
    learned.adapt(TEXTS[:3])
    given = layers.TextVectorization(
        output_mode="tf_idf", vocabulary=["dog", "cat"], idf_weights=[0.5, 2.0]
    )
    # Keras takes what comes out for (batch, 1, words) until it does.
    parts = [layers.Reshape((-1,))(layers.Dense(2)(layer(text))) for layer in (learned, given)]
    model = Model(text, layers.Dense(1)(layers.Concatenate()(parts)))
    model.compile("sgd", "mse")
    return model


def looked_up():
    """Words and numbers, as ids and counted."""
    words, numbers = Input((2,), dtype="string"), Input((3,), dtype="int64")
    ids = layers.StringLookup(mask_token="", name="ids")
    ids.adapt([["cat", "dog"], ["cat", ""]])
    counts = layers.IntegerLookup(num_oov_indices=2, output_mode="count", name="counts")
    counts.adapt([[7, 7, 9]])
    hot = layers.IntegerLookup(vocabulary=[7, 9], output_mode="one_hot")
    merged = layers.Concatenate()([
        layers.Flatten()(layers.Embedding(5, 2)(ids(words))), layers.Dense(2)(counts(numbers)),
        layers.GRU(2)(hot(numbers)),
    ])
    model = Model([words, numbers], layers.Dense(1)(merged))
    model.compile("sgd", "mse")
    return model


FORMATS = {
    sentiment: (".keras", ".h5", ".weights.h5"),
    stack: (".keras", ".h5"),
    frozen: (".keras", ".h5"),
    translation: (".keras", ".h5", ".weights.h5"),
    bare: (".keras", ".h5"),
}
CALLS = {  # the shapes of their inputs
    reader: [(None, 5)], pair: [(None, 4, 3), (None, 5, 2)], cells: [(None, 4, 3)],
}
FILES_WITH_TEXTS = dict.fromkeys((texts, weighted, looked_up), (".keras",)) | {
    texts: (".keras", ".weights.h5"), weighted: (".keras", ".weights.h5"),
}
SCORED = dict.fromkeys((nadam, adamax, adagrad, adadelta, lion, ftrl), (".keras",))


def tokens_for(model, random):
    """Texts, words and numbers."""
    if len(model.inputs) == 1:
        return [np.array(TEXTS)[:, None]]
    return [random.choice(["cat", "dog", "cow", ""], (ROWS, 2)),
            random.choice([7, 8, 9, 10], (ROWS, 3))]


def data_for(model, random, shapes=None):
    """Inputs and labels; ``shapes`` are those of inputs that the model does not know.

    No id comes twice in a batch, but for padding: of rows of a table that are looked up twice,
    Keras's TensorFlow backend squares the parts of the gradient instead of their sum.
    """
    xs = [
        random.permutation(np.arange(1, 31)).reshape(ROWS, 5) if len(shape) == 2
        else random.normal(size=(ROWS, *shape[1:])).astype(np.float32)
        for shape in shapes or [i.shape for i in model.inputs]
    ]
    if model.inputs and model.inputs[0].dtype == "string":
        xs = tokens_for(model, random)
    if getattr(model.layers[0], "mask_zero", False):
        xs[0][1, :2] = xs[0][2, 3:] = xs[0][3, 2] = 0
    shape = values(model, xs).shape if shapes else (ROWS, *model.outputs[0].shape[1:])
    t = random.integers(0, 2, shape).astype(np.float32)
    return xs, t


def taken(xs):
    """Inputs as Keras takes them: texts as tensors."""
    xs = [keras.ops.convert_to_tensor(x) if x.dtype.kind == "U" else x for x in xs]
    return xs if len(xs) > 1 else xs[0]


def train(model, xs, t, steps=2):
    if model.compiled:
        for _ in range(steps):
            model.train_on_batch(taken(xs), t)


def values(model, xs):
    return model.predict(taken(xs), verbose=0)


def scores(model, xs, t):
    """What evaluate says, sorted by name."""
    found = model.evaluate(xs[0], t, verbose=0, return_dict=True)
    return np.concatenate([np.ravel(found[name]) for name in sorted(found)])


def main():
    if keras.__version__ != KERAS_VERSION:
        raise SystemExit(f"expected Keras {KERAS_VERSION}; this is {keras.__version__}")
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    files = dict.fromkeys(CALLS, (".keras", ".weights.h5"))
    archives = {
        "keras_files": FORMATS, "keras_scores": SCORED, "keras_calls": files,
        "keras_texts": FILES_WITH_TEXTS,
    }
    for name in sys.argv[1:] or archives:
        write(name, archives[name])


def write(name, models):
    """Write an archive of models and what they compute."""
    archive = zipfile.ZipFile(HERE / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9)
    with archive, tempfile.TemporaryDirectory() as folder:
        for number, (make, formats) in enumerate(models.items()):
            keras.utils.set_random_seed(number)
            keras.backend.clear_session()
            model, random = make(), np.random.default_rng(number)
            xs, t = data_for(model, random, CALLS.get(make))
            train(model, xs, t)
            y = values(model, xs)
            more = {"scores": scores(model, xs, t)} if models is SCORED else {}
            for ending in formats:
                path = os.path.join(folder, make.__name__ + ending)
                (model.save_weights if ending == ".weights.h5" else model.save)(path)
                archive.write(path, make.__name__ + ending)
            train(model, xs, t)
            arrays = {f"x{i}": x for i, x in enumerate(xs)}
            content = io.BytesIO()
            np.savez(content, **arrays, **more, t=t, y=y, later=values(model, xs))
            archive.writestr(make.__name__ + ".npz", content.getvalue())


if __name__ == "__main__":
    main()
