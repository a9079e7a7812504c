"""Compute with Keras what the tests expect of fastrnn.

    pip install keras==3.15.1 tensorflow-cpu==2.21.0
    python tests/keras_values/make_keras_values.py

Keras runs on its TensorFlow backend, in float32. That backend is the one whose cross-entropies
take the logits back from a sigmoid or softmax output, and that is the behaviour fastrnn follows.

Two files are written beside this script. ``keras_values.json`` is a dictionary of topics, each a
dictionary of cases by name; in it a string ``"@3f2a…"`` stands for the array of that name in
``keras_values.npz``. Arrays are named by their content, so cases that share one store it once.

Every case draws its numbers from a generator seeded by a name, so a case can be added or removed
without changing another. Biases, which Keras starts at zero, are random here: an engine that
drops them must not pass.
"""

import hashlib
import inspect
import itertools
import json
import logging
import os
import warnings
import zlib
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
KERAS_VERSION = "3.15.1"


# --- storing ------------------------------------------------------------------------------------


def detach_arrays(tree, arrays):
    """Replace each array in `tree` by its name, and put it into `arrays` under that name."""
    if isinstance(tree, dict):
        return {key: detach_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [detach_arrays(value, arrays) for value in tree]
    if isinstance(tree, np.ndarray):
        content = f"{tree.dtype.str}{tree.shape}".encode() + tree.tobytes()
        name = hashlib.sha256(content).hexdigest()[:12]
        arrays[name] = tree
        return f"@{name}"
    if isinstance(tree, np.generic):
        return tree.item()
    return tree


def save(topics):
    """Write the topics as one JSON file and one file of arrays."""
    arrays = {}
    tree = detach_arrays(topics, arrays)
    lines = []
    for topic, cases in tree.items():
        body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cases[name])}" for name in cases)
        lines.append(f" {json.dumps(topic)}: {{\n{body}\n }}")
    (HERE / "keras_values.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    np.savez_compressed(HERE / "keras_values.npz", **arrays)


# --- drawing ------------------------------------------------------------------------------------


def generator(name):
    """Return a generator seeded by `name`."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(rng, *shape, scale=1.0):
    """Draw float32 normals."""
    return (scale * rng.standard_normal(shape)).astype("float32")


def draw_weights(rng, shapes):
    """Draw weights large enough to matter, small enough that no recurrence explodes."""
    scales = [1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.3 for shape in shapes]
    return [normal(rng, *shape, scale=s) for shape, s in zip(shapes, scales, strict=True)]


def as_numpy(value):
    """Turn a backend tensor, or a list of them, into NumPy arrays."""
    if isinstance(value, (list, tuple)):
        return [keras.ops.convert_to_numpy(v) for v in value]
    return keras.ops.convert_to_numpy(value)


def time_masks(rows, steps):
    """Return one mask of each kind that padding makes; in "empty" two rows have no valid step."""
    rng = generator("masks")
    lengths = rng.integers(1, steps + 1, rows)
    lengths[0] = steps
    post = np.arange(steps) < lengths[:, None]
    holes = rng.random((rows, steps)) < 0.6
    empty = post.copy()
    empty[1] = empty[-1] = False
    return {"pre": post[:, ::-1].copy(), "post": post, "holes": holes, "empty": empty}


# --- layers -------------------------------------------------------------------------------------


def layer_case(data, class_name, config, x, **call):
    """Call one layer on `x`; weights are drawn by the name `data`."""
    layer = getattr(keras.layers, class_name)(**config)
    layer.build(x.shape)
    weights = draw_weights(generator(data + "/weights"), [w.shape for w in layer.weights])
    layer.set_weights(weights)
    return {
        "class": class_name,
        "config": config,
        "weights": weights,
        "x": x,
        "call": call,
        "output": as_numpy(layer(x, **call)),
    }


def simple_rnn_cases():
    """SimpleRNN: every combination of its switches, then activations and odd sizes."""
    B, T, D, H = 5, 7, 3, 4
    x = normal(generator("simple_rnn/x"), B, T, D)
    state = normal(generator("simple_rnn/state"), B, H)
    masks = {"none": None, **time_masks(B, T)}
    cases = {}
    switches = itertools.product((False, True), (False, True), (False, True), (False, True), masks)
    for sequences, states, backwards, initial, kind in switches:
        for zero in (False, True) if kind != "none" else (False,):
            flags = {
                "return_sequences": sequences,
                "return_state": states,
                "go_backwards": backwards,
                "zero_output_for_mask": zero,
            }
            config = {"units": H, **{flag: True for flag, on in flags.items() if on}}
            call = {} if kind == "none" else {"mask": masks[kind]}
            if initial:
                call["initial_state"] = state
            words = [*(f for f, on in flags.items() if on), *["initial_state"] * initial]
            name = "simple_rnn/" + "+".join([f"mask_{kind}", *words])
            cases[name] = layer_case("simple_rnn", "SimpleRNN", config, x, **call)

    for activation, bias in itertools.product(("tanh", "relu", "sigmoid", None), (True, False)):
        config = {"units": H, "activation": activation, "use_bias": bias, "return_sequences": True}
        words = f"activation_{activation}" + "+no_bias" * (not bias)
        cases[f"simple_rnn/{words}"] = layer_case("simple_rnn", "SimpleRNN", config, x)
        masked = layer_case("simple_rnn", "SimpleRNN", config, x, mask=masks["holes"])
        cases[f"simple_rnn/{words}+mask_holes"] = masked

    # Sizes that are no multiple of any register tile, and the smallest there are.
    for B, T, D, H in ((1, 1, 1, 1), (1, 9, 2, 5), (17, 11, 5, 33), (13, 4, 19, 16)):
        x = normal(generator(f"sizes/{B}"), B, T, D)
        config = {"units": H, "return_sequences": True, "return_state": True}
        case = layer_case(f"sizes/{B}", "SimpleRNN", config, x)
        cases[f"simple_rnn/B{B}_T{T}_D{D}_H{H}"] = case
    return cases


def other_layer_cases():
    """Embedding, Dense, Activation, Masking and Dropout."""
    x2 = normal(generator("dense/2"), 6, 5)
    x3 = normal(generator("dense/3"), 4, 3, 5)
    ids = generator("ids").integers(0, 9, (4, 6)).astype("int32")
    zeroed = x3.copy()
    zeroed[0, 1:] = zeroed[2, 0] = zeroed[3] = 0.0
    zeroed[1, 0, 0] = 0.0  # one zero among others: that step stays
    embedding = {"input_dim": 9, "output_dim": 3}
    cases = {
        "embedding": layer_case("embedding", "Embedding", embedding, ids),
        "embedding/one_row": layer_case("embedding", "Embedding", embedding, ids[:1]),
        "embedding/mask_zero": layer_case(
            "embedding", "Embedding", {**embedding, "mask_zero": True}, ids
        ),
        "dense/no_bias": layer_case("dense", "Dense", {"units": 4, "use_bias": False}, x2),
        "masking": layer_case("masking", "Masking", {}, zeroed),
        "masking/value": layer_case(
            "masking", "Masking", {"mask_value": -1.0}, np.where(zeroed == 0, -1, zeroed)
        ),
        "dropout/inference": layer_case("dropout", "Dropout", {"rate": 0.4}, x2),
        "dropout/rate_0": layer_case("dropout", "Dropout", {"rate": 0.0}, x2, training=True),
    }
    for activation in (None, *ACTIVATIONS):
        config = {"units": 4, "activation": activation}
        cases[f"dense/2d+{activation}"] = layer_case("dense", "Dense", config, x2)
        cases[f"dense/3d+{activation}"] = layer_case("dense", "Dense", config, x3)
    for activation in ("relu", "softmax", "tanh"):
        case = layer_case("activation", "Activation", {"activation": activation}, x3)
        cases[f"activation/{activation}"] = case
    return cases


ACTIVATIONS = (
    "elu exponential gelu hard_sigmoid leaky_relu linear relu selu sigmoid silu softmax softplus "
    "softsign swish tanh"
).split()


def activation_cases():
    """Activations by their names, near zero, far from it, and at the ends of float32's range."""
    near = normal(generator("activations"), 6, 7, scale=2.0)
    far = np.array([[-1e4, -90, -20, -9, -3, -2.5, -0.0], [0, 1e-6, 2.5, 3, 9, 20, 80]], "float32")
    return {
        f"{name}/{where}": {
            "activation": name,
            "x": x,
            "output": as_numpy(keras.activations.get(name)(keras.ops.convert_to_tensor(x))),
        }
        for name in ACTIVATIONS
        for where, x in (("near", near), ("far", far))
    }


# --- stacks of layers ---------------------------------------------------------------------------


def sum_gradients_by_row(optimizer):
    """Make a TensorFlow optimizer see the gradient of an embedding as every other backend does.

    TensorFlow hands it over as one slice for each token, and Keras squares the slices before it
    adds those of one row, where the equations (and the JAX backend) square the row's sum. That
    is a flaw of one backend, so the values are computed without it.
    """
    apply = optimizer.apply
    optimizer.apply = lambda grads, variables: apply(
        [tf.convert_to_tensor(g) for g in grads], variables
    )
    return optimizer


def layers_from(specification):
    """Make layers from a list of [class, arguments]."""
    return [getattr(keras.layers, name)(**config) for name, config in specification]


def build_model(data, specification, x, weights=None):
    """Return a Sequential on inputs like `x`, and the weights drawn for it."""
    model = keras.Sequential(layers_from(specification))
    model.build((None, *x.shape[1:]))
    if weights is None:
        weights = draw_weights(generator(data + "/weights"), [w.shape for w in model.weights])
    model.set_weights(weights)
    return model, weights


def padded_ids(data, rows, steps, words, side):
    """Draw rows of word ids of different lengths, padded with 0 on one side."""
    rng = generator(data)
    ids = rng.integers(1, words, (rows, steps)).astype("int32")
    lengths = rng.integers(1, steps + 1, rows)
    keep = np.arange(steps) < lengths[:, None]
    return np.where(keep if side == "post" else keep[:, ::-1], ids, 0).astype("int32")


def stack_cases():
    """Whole stacks: that masks travel, and that layers hand their shapes on."""
    pre = padded_ids("stack/pre", 6, 8, 12, "pre")
    post = padded_ids("stack/post", 6, 8, 12, "post")
    holes = np.where(generator("stack/holes").random((6, 8)) < 0.4, 0, post).astype("int32")
    empty = post.copy()
    empty[2] = 0
    floats = normal(generator("stack/floats"), 6, 8, 3)
    floats[np.where(generator("stack/gaps").random((6, 8)) < 0.4)] = 0.0
    words = ["Embedding", {"input_dim": 12, "output_dim": 3}]
    masked_words = ["Embedding", {"input_dim": 12, "output_dim": 3, "mask_zero": True}]
    sequences = ["SimpleRNN", {"units": 4, "return_sequences": True}]
    backwards = ["SimpleRNN", {"units": 4, "return_sequences": True, "go_backwards": True}]
    zeroing = ["SimpleRNN", {"units": 4, "return_sequences": True, "zero_output_for_mask": True}]
    last = ["SimpleRNN", {"units": 5}]
    dense = ["Dense", {"units": 2, "activation": "softmax"}]
    gap = ["Masking", {}]
    dropout = ["Dropout", {"rate": 0.5}]
    middle = ["Dense", {"units": 3, "activation": "relu"}]
    stacks = {
        "plain": ([words, last, dense], pre),
        "two_layers": ([words, sequences, last, dense], pre),
        "three_layers+dropout": ([words, sequences, dropout, sequences, last, dense], pre),
        "backwards+forwards": ([words, backwards, last, dense], pre),
        "mask_zero+pre": ([masked_words, last, dense], pre),
        "mask_zero+post": ([masked_words, last, dense], post),
        "mask_zero+holes": ([masked_words, last, dense], holes),
        "mask_zero+empty_row": ([masked_words, sequences, last, dense], empty),
        "mask_zero+two_layers": ([masked_words, sequences, last, dense], holes),
        "mask_zero+two_layers+zero_output": ([masked_words, zeroing, last, dense], holes),
        "mask_zero+dense_between": ([masked_words, sequences, middle, dropout, last], holes),
        "mask_zero+sequences_out": ([masked_words, sequences, dense], post),
        "mask_zero+activation": ([masked_words, ["Activation", {"activation": "tanh"}], last], pre),
        "masking": ([gap, last, dense], floats),
        "masking+two_layers": ([gap, sequences, last, dense], floats),
        "masking+backwards": ([gap, backwards, dense], floats),
    }
    cases = {}
    for name, (specification, x) in stacks.items():
        model, weights = build_model(f"stack/{len(specification)}", specification, x)
        output = model.predict(x, batch_size=4, verbose=0)
        cases[name] = {"layers": specification, "weights": weights, "x": x, "output": output}
    return cases


# --- losses and metrics -------------------------------------------------------------------------


def softmax(x):
    """Return probabilities along the last axis."""
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def loss_inputs():
    """Return pairs (y_true, y_pred) by kind; predictions have the shapes the losses are given."""
    rng = generator("losses")
    binary = rng.integers(0, 2, (8, 1)).astype("float32")
    wide = rng.integers(0, 2, (8, 3)).astype("float32")
    classes = rng.integers(0, 4, 8)
    steps = rng.integers(0, 4, (8, 3))
    logits = {
        shape: normal(rng, *shape, scale=2.0) for shape in ((8, 1), (8, 3), (8, 4), (8, 3, 4))
    }
    eye = np.eye(4, dtype="float32")
    sure = np.array([0, 1, 0, 1, 1e-9, 1 - 1e-7, 0.5, 0.5], "float32")[:, None]
    wrong = np.array([0, 1, 1, 0, 1, 0, 1, 0], "float32")[:, None]
    hot = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]] * 2, "float32")
    return {
        "binary": (binary, logits[8, 1]),
        "binary_wide": (wide, logits[8, 3]),
        "categorical": (eye[classes], logits[8, 4]),
        "categorical_steps": (eye[steps], logits[8, 3, 4]),
        "sparse": (classes.astype("int32"), logits[8, 4]),
        "sparse_column": (classes[:, None].astype("int32"), logits[8, 4]),
        "sparse_steps": (steps.astype("int32"), logits[8, 3, 4]),
        "edges_binary": (wrong, sure),
        "edges_categorical": (eye[classes], hot),
        "edges_sparse": (classes.astype("int32"), hot),
    }


def loss_cases():
    """Losses called by themselves (so on probabilities that carry no logits)."""
    inputs = loss_inputs()
    real = {
        name: (normal(generator(name), *shape), normal(generator(name + "!"), *shape))
        for name, shape in {"real": (8, 1), "real_wide": (8, 5), "real_steps": (8, 3, 2)}.items()
    }
    plans = []
    for kind, (y, logits) in inputs.items():
        family = kind.split("_")[-1] if kind.startswith("edges") else kind.split("_")[0]
        title = {"binary": "Binary", "categorical": "Categorical", "sparse": "SparseCategorical"}
        loss = f"{title[family]}Crossentropy"
        if kind.startswith("edges"):
            plans.append((loss, kind, {}, y, logits))
            continue
        squash = softmax if family != "binary" else lambda x: 1 / (1 + np.exp(-x))
        plans.append((loss, kind, {}, y, squash(logits)))
        plans.append((loss, kind, {"from_logits": True}, y, logits))
        if family != "sparse":
            plans.append((loss, kind, {"label_smoothing": 0.2}, y, squash(logits)))
            smooth = {"from_logits": True, "label_smoothing": 0.2}
            plans.append((loss, kind, smooth, y, logits))
    for (kind, (y, p)), loss in itertools.product(
        real.items(), ("MeanSquaredError", "MeanAbsoluteError")
    ):
        plans.append((loss, kind, {}, y, p))

    cases = {}
    for loss, kind, config, y, p in plans:
        words = [f"{key}_{value}" for key, value in config.items()]
        name = "+".join([f"{loss}/{kind}", *words])
        weights = {"": None, "+sample_weight": np.linspace(0, 2, len(y), dtype="float32")}
        if p.ndim == 3:  # a loss for each step, so weights of rows need a column
            weights["+sample_weight"] = weights["+sample_weight"][:, None]
            weights["+step_weight"] = np.linspace(0, 2, 24, dtype="float32").reshape(8, 3)
        for word, weight in weights.items():
            value = getattr(keras.losses, loss)(**config)(y, p, sample_weight=weight)
            cases[name + word] = {
                "class": loss,
                "config": config,
                "y_true": y,
                "y_pred": p,
                "sample_weight": weight,
                "value": float(value),
            }
    return cases


def metric_cases():
    """Metrics fed three batches in turn, with and without sample weights."""
    inputs = loss_inputs()
    plans = [
        ("BinaryAccuracy", {}, "binary"),
        ("BinaryAccuracy", {"threshold": 0.7}, "binary"),
        ("BinaryAccuracy", {}, "edges_binary"),  # holds p = 0.5, which counts as class 0
        ("BinaryAccuracy", {}, "binary_wide"),
        ("CategoricalAccuracy", {}, "categorical"),
        ("CategoricalAccuracy", {}, "categorical_steps"),
        ("SparseCategoricalAccuracy", {}, "sparse"),
        ("SparseCategoricalAccuracy", {}, "sparse_column"),
        ("SparseCategoricalAccuracy", {}, "sparse_steps"),
        ("MeanSquaredError", {}, "binary_wide"),
        ("MeanAbsoluteError", {}, "binary_wide"),
        ("BinaryCrossentropy", {}, "binary"),
        ("CategoricalCrossentropy", {}, "categorical"),
        ("SparseCategoricalCrossentropy", {}, "sparse"),
    ]
    cases = {}
    for (class_name, config, kind), weighted in itertools.product(plans, (False, True)):
        y, p = inputs[kind]
        if not kind.startswith("edges"):
            p = softmax(p) if p.shape[-1] == 4 else 1 / (1 + np.exp(-p))
        weight = np.linspace(0, 2, len(y), dtype="float32") if weighted else None
        metric = getattr(keras.metrics, class_name)(**config)
        batches, results = [slice(0, 3), slice(3, 4), slice(4, 8)], []
        for rows in batches:
            part = None if weight is None else weight[rows]
            metric.update_state(y[rows], p[rows], sample_weight=part)
            results.append(float(metric.result()))
        words = [f"{key}_{value}" for key, value in config.items()] + ["sample_weight"] * weighted
        cases["+".join([f"{class_name}/{kind}", *words])] = {
            "class": class_name,
            "config": config,
            "default_name": getattr(keras.metrics, class_name)().name,
            "y_true": y,
            "y_pred": p,
            "sample_weight": weight,
            "batches": [[rows.start, rows.stop] for rows in batches],
            "results": results,
        }
    return cases


# --- optimizers ---------------------------------------------------------------------------------


def optimizer_cases():
    """Weights after each of six updates with given gradients, one of them missing for a variable.

    The gradients' size changes from step to step, so that clipping acts on some and not on others.
    """
    kinds = {
        "sgd": ("SGD", {"learning_rate": 0.05}),
        "sgd+default": ("SGD", {}),
        "sgd+momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
        "sgd+nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
        "rmsprop": ("RMSprop", {"learning_rate": 0.02}),
        "rmsprop+default": ("RMSprop", {}),
        "rmsprop+rho+epsilon": ("RMSprop", {"learning_rate": 0.02, "rho": 0.7, "epsilon": 1e-2}),
        "rmsprop+momentum": ("RMSprop", {"learning_rate": 0.02, "momentum": 0.8}),
        "rmsprop+centered": ("RMSprop", {"learning_rate": 0.02, "centered": True}),
        "rmsprop+centered+momentum": (
            "RMSprop",
            {"learning_rate": 0.02, "centered": True, "momentum": 0.8},
        ),
        "adam": ("Adam", {"learning_rate": 0.02}),
        "adam+default": ("Adam", {}),
        "adam+betas+epsilon": (
            "Adam",
            {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2},
        ),
        "adam+amsgrad": ("Adam", {"learning_rate": 0.02, "amsgrad": True}),
        "adamw": ("AdamW", {"learning_rate": 0.02}),
        "adamw+default": ("AdamW", {}),
        "adamw+amsgrad": ("AdamW", {"learning_rate": 0.02, "amsgrad": True}),
    }
    options = {
        "": {},
        "weight_decay": {"weight_decay": 0.3},
        "clipnorm": {"clipnorm": 0.9},
        "global_clipnorm": {"global_clipnorm": 0.9},
        "clipvalue": {"clipvalue": 0.4},
        "ema": {"use_ema": True, "ema_momentum": 0.8},
        "ema+overwrite": {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 2},
        "everything": {
            "weight_decay": 0.3,
            "global_clipnorm": 0.9,
            "use_ema": True,
            "ema_momentum": 0.8,
            "ema_overwrite_frequency": 3,
        },
    }
    rng = generator("optimizers")
    start = [normal(rng, 3, 4), normal(rng, 4)]
    gradients = [
        [normal(rng, 3, 4, scale=size), normal(rng, 4, scale=size)]
        for size in (0.05, 1.0, 4.0, 0.3, 0.0, 1.0)
    ]
    missing = [list(pair) for pair in gradients]
    missing[1][1] = None

    def run(class_name, config, gradients):
        optimizer = getattr(keras.optimizers, class_name)(**config)
        variables = [keras.Variable(w) for w in start]
        after = []
        for pair in gradients:
            optimizer.apply([g if g is None else keras.ops.array(g) for g in pair], variables)
            after.append([as_numpy(v.value) for v in variables])
        optimizer.finalize_variable_values(variables)
        return {
            "class": class_name,
            "config": config,
            "start": start,
            "gradients": gradients,
            "weights": after,
            "finalized": [as_numpy(v.value) for v in variables],
        }

    cases = {}
    for kind, (class_name, config) in kinds.items():
        # The variants of one class share their options' code: its plain form tries them all.
        for word, option in options.items() if "+" not in kind else [("", {})]:
            name = "+".join(filter(None, (kind, word)))
            cases[name] = run(class_name, {**config, **option}, gradients)
        cases[f"{kind}+missing_gradient"] = run(class_name, config, missing)
    return cases


# --- initializers -------------------------------------------------------------------------------


def initializer_cases():
    """Facts of each distribution on a matrix of the given shape."""
    plans = {
        "glorot_uniform": ("GlorotUniform", {}),
        "glorot_normal": ("GlorotNormal", {}),
        "uniform": ("RandomUniform", {}),
        "random_uniform": ("RandomUniform", {}),
        "random_uniform+range": ("RandomUniform", {"minval": -0.3, "maxval": 0.7}),
        "normal": ("RandomNormal", {}),
        "random_normal": ("RandomNormal", {}),
        "random_normal+config": ("RandomNormal", {"mean": 0.5, "stddev": 0.2}),
        "orthogonal": ("Orthogonal", {}),
        "orthogonal+gain": ("Orthogonal", {"gain": 2.0}),
        "zeros": ("Zeros", {}),
        "ones": ("Ones", {}),
        "constant": ("Constant", {"value": 0.25}),
    }
    cases = {}
    for (name, (class_name, config)), shape in itertools.product(
        plans.items(), ((400, 100), (100, 400))
    ):
        seed = {"seed": 7} if class_name not in ("Zeros", "Ones", "Constant") else {}
        draw = as_numpy(getattr(keras.initializers, class_name)(**config, **seed)(shape))
        cases[f"{name}/{shape[0]}x{shape[1]}"] = {
            "alias": None if config else name,
            "class": class_name,
            "config": config,
            "shape": list(shape),
            "mean": float(draw.mean()),
            "std": float(draw.std()),
            "min": float(draw.min()),
            "max": float(draw.max()),
        }
    return cases


# --- training -----------------------------------------------------------------------------------


def training_plans():
    """Return whole training runs: layers, data and the arguments of compile and fit.

    None shuffles, because two libraries cannot draw the same order. Rows are never a multiple
    of the batch size, unless a case says so.
    """
    rng = generator("training")
    N, T = 50, 12
    ids = padded_ids("training/pre", N, T, 30, "pre")
    post = padded_ids("training/post", N, T, 30, "post")
    reals = normal(rng, N, 6, 3)
    gaps = reals.copy()
    gaps[generator("training/gaps").random((N, 6)) < 0.3] = 0.0
    label = (ids[:, -1] > 15).astype("float32")
    classes = rng.integers(0, 3, N).astype("int32")
    step_classes = rng.integers(0, 3, (N, 6)).astype("int32")
    eye = np.eye(3, dtype="float32")
    target = normal(rng, N, 2)
    row_weight = rng.uniform(0, 2, N).astype("float32")
    step_weight = rng.uniform(0, 2, (N, 6)).astype("float32")

    words = ["Embedding", {"input_dim": 30, "output_dim": 4}]
    masked_words = ["Embedding", {"input_dim": 30, "output_dim": 4, "mask_zero": True}]
    rnn = ["SimpleRNN", {"units": 5}]
    rnn_seq = ["SimpleRNN", {"units": 5, "return_sequences": True}]
    yes_no = ["Dense", {"units": 1, "activation": "sigmoid"}]
    choice = ["Dense", {"units": 3, "activation": "softmax"}]
    number = ["Dense", {"units": 2}]
    sentiment = [words, rnn, yes_no]
    bce = {"optimizer": "rmsprop", "loss": "binary_crossentropy", "metrics": ["acc"]}
    scce = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    cce = {**scce, "loss": "categorical_crossentropy"}
    mse = {"optimizer": "sgd", "loss": "mse", "metrics": ["mae"]}
    fit = {"epochs": 6, "batch_size": 16}

    def plan(layers, x, y, compile, **kw):
        return {"layers": layers, "x": x, "y": y, "compile": compile, "fit": fit, **kw}

    def optimizer(class_name, **config):
        return {"class": class_name, "config": config}

    def sure(weights):
        return [*weights[:-1], np.full_like(weights[-1], 30.0)]

    fast = {"learning_rate": 0.01}
    return {
        "imdb_script": plan(
            sentiment, ids, label, bce, fit={**fit, "epochs": 10, "validation_split": 0.2}
        ),
        "learns": plan(
            sentiment,
            ids,
            label,
            {**bce, "optimizer": optimizer("RMSprop", learning_rate=0.02)},
            fit={**fit, "validation_split": 0.2},
        ),
        "column_of_labels": plan(sentiment, ids, label[:, None], bce),
        "one_batch": plan(sentiment, ids, label, bce, fit={"epochs": 8, "batch_size": 500}),
        "batch_of_one": plan(
            sentiment, ids[:9], label[:9], bce, fit={"epochs": 2, "batch_size": 1}
        ),
        "default_batch_size": plan(sentiment, ids, label, bce, fit={"epochs": 4}),
        "initial_epoch": plan(sentiment, ids, label, bce, fit={**fit, "initial_epoch": 4}),
        "no_metrics": plan(sentiment, ids, label, {"optimizer": "rmsprop", "loss": bce["loss"]}),
        "metric_names": plan(
            sentiment, ids, label, {**bce, "metrics": ["accuracy", "binary_accuracy", "mse"]}
        ),
        "validation_data": plan(
            sentiment, ids[:37], label[:37], bce, validation_data=[ids[37:], label[37:]]
        ),
        "validation_data+weights": plan(
            sentiment,
            ids[:37],
            label[:37],
            {**bce, "weighted_metrics": ["acc"], "metrics": None},
            validation_data=[ids[37:], label[37:], row_weight[37:]],
        ),
        "sample_weight": plan(
            sentiment,
            ids,
            label,
            {**bce, "weighted_metrics": ["binary_accuracy"]},
            sample_weight=row_weight,
            fit={**fit, "validation_split": 0.3},
        ),
        "class_weight": plan(
            sentiment,
            ids,
            label,
            {**bce, "weighted_metrics": ["binary_accuracy"]},
            class_weight=[[0, 0.5], [1, 3.0]],
            fit={**fit, "validation_split": 0.2},
        ),
        "class_weight+sparse": plan(
            [rnn, choice], reals, classes, scce, class_weight=[[0, 0.5], [1, 3.0], [2, 1.0]]
        ),
        "class_weight+one_hot": plan(
            [rnn, choice], reals, eye[classes], cce, class_weight=[[0, 0.5], [1, 3.0], [2, 1.0]]
        ),
        "mask_zero+pre": plan([masked_words, rnn, yes_no], ids, label, bce),
        "mask_zero+post": plan([masked_words, rnn, yes_no], post, label, bce),
        "mask_zero+two_layers": plan([masked_words, rnn_seq, rnn, yes_no], post, label, bce),
        "masking": plan([["Masking", {}], rnn, number], gaps, target, mse),
        "masking+step_loss": plan([["Masking", {}], rnn_seq, choice], gaps, step_classes, scce),
        "masking+step_loss+sample_weight": plan(
            [["Masking", {}], rnn_seq, choice],
            gaps,
            step_classes,
            {**scce, "weighted_metrics": ["sparse_categorical_accuracy"]},
            sample_weight=step_weight,
        ),
        "stack": plan(
            [rnn_seq, rnn_seq, choice],
            reals,
            eye[step_classes],
            {**cce, "optimizer": optimizer("Adam", learning_rate=0.01, clipnorm=0.5)},
        ),
        "step_weight": plan(
            [rnn_seq, choice], reals, step_classes, scce, sample_weight=step_weight
        ),
        "backwards": plan(
            [["SimpleRNN", {"units": 5, "go_backwards": True}], choice], reals, classes, scce
        ),
        "backwards+stack": plan(
            [["SimpleRNN", {**rnn_seq[1], "go_backwards": True}], rnn, choice], reals, classes, scce
        ),
        "relu": plan(
            [["SimpleRNN", {"units": 5, "activation": "relu"}], number], reals, target, mse
        ),
        "sigmoid+no_bias": plan(
            [["SimpleRNN", {"units": 5, "activation": "sigmoid", "use_bias": False}], number],
            reals,
            target,
            mse,
        ),
        "linear": plan(
            [["SimpleRNN", {"units": 5, "activation": None}], number], reals, target, mse
        ),
        "dense_only": plan(
            [["Dense", {"units": 7, "activation": "relu"}], choice], reals[:, 0], classes, scce
        ),
        "momentum": plan(
            [rnn, number],
            reals,
            target,
            {**mse, "optimizer": optimizer("SGD", learning_rate=0.02, momentum=0.9)},
        ),
        "nesterov": plan(
            [rnn, number],
            reals,
            target,
            {**mse, "optimizer": optimizer("SGD", learning_rate=0.02, momentum=0.9, nesterov=True)},
        ),
        "mean_absolute_error": plan(
            [rnn, number],
            reals,
            target,
            {
                "optimizer": optimizer(
                    "RMSprop", **fast, momentum=0.5, centered=True, global_clipnorm=0.5
                ),
                "loss": "mean_absolute_error",
                "metrics": ["mse"],
            },
        ),
        "adamw+ema": plan(
            sentiment,
            ids,
            label,
            {
                **bce,
                "optimizer": optimizer(
                    "AdamW", **fast, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=4
                ),
            },
        ),
        "sgd+ema": plan(
            [rnn, number],
            reals,
            target,
            {**mse, "optimizer": optimizer("SGD", **fast, use_ema=True, ema_momentum=0.9)},
        ),
        "weight_decay+clipvalue": plan(
            [rnn, number],
            reals,
            target,
            {**mse, "optimizer": optimizer("Adam", **fast, weight_decay=0.1, clipvalue=0.05)},
        ),
        "binary_from_logits": plan(
            [words, rnn, ["Dense", {"units": 1}]],
            ids,
            label,
            {
                "optimizer": "rmsprop",
                "loss": {"class": "BinaryCrossentropy", "config": {"from_logits": True}},
                "metrics": ["accuracy"],
            },
        ),
        "categorical_from_logits+smoothing": plan(
            [rnn, ["Dense", {"units": 3}]],
            reals,
            eye[classes],
            {
                **cce,
                "loss": {
                    "class": "CategoricalCrossentropy",
                    "config": {"from_logits": True, "label_smoothing": 0.1},
                },
            },
        ),
        "smoothing": plan(
            sentiment,
            ids,
            label,
            {**bce, "loss": {"class": "BinaryCrossentropy", "config": {"label_smoothing": 0.2}}},
        ),
        # The output's bias is 30: on clipped probabilities the loss would stop at 16 and the
        # gradient would vanish; on the recovered logits both are right.
        "saturated_sigmoid": plan(sentiment, ids, label, bce, adjust=sure),
        "saturated_sigmoid+activation_layer": plan(
            [words, rnn, ["Dense", {"units": 1}], ["Activation", {"activation": "sigmoid"}]],
            ids,
            label,
            bce,
            adjust=sure,
        ),
        "saturated_softmax": plan(
            [rnn, choice],
            reals,
            classes,
            scce,
            adjust=lambda weights: [*weights[:-1], np.array([60, 0, -60], "float32")],
        ),
        "saturated_softmax+one_hot": plan(
            [rnn, choice],
            reals,
            eye[classes],
            cce,
            adjust=lambda weights: [*weights[:-1], np.array([60, 0, -60], "float32")],
        ),
        "binary_wide": plan(
            [rnn, ["Dense", {"units": 3, "activation": "sigmoid"}]],
            reals,
            eye[classes],
            {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"]},
        ),
        "sparse_column": plan([rnn, choice], reals, classes[:, None], scce),
        "frozen_embedding": plan(
            [["Embedding", {**words[1], "trainable": False}], rnn, yes_no], ids, label, bce
        ),
        "regularizers": plan(
            [
                words,
                ["SimpleRNN", {"units": 5, "kernel_regularizer": "l2", "bias_regularizer": "l1"}],
                ["Dense", {**yes_no[1], "kernel_regularizer": "l2"}],
            ],
            ids,
            label,
            bce,
            fit={**fit, "validation_split": 0.2},
        ),
        "constraints": plan(
            [
                ["SimpleRNN", {"units": 5, "kernel_constraint": "unit_norm"}],
                ["Dense", {"units": 2, "kernel_constraint": "non_neg"}],
            ],
            reals,
            target,
            mse,
        ),
    }


def compiled_arguments(arguments):
    """Turn the descriptions of an optimizer and a loss into objects."""

    def make(module, what):
        if isinstance(what, dict):
            return getattr(module, what["class"])(**what["config"])
        return module.get(what)

    return {
        **arguments,
        "optimizer": sum_gradients_by_row(make(keras.optimizers, arguments["optimizer"])),
        "loss": make(keras.losses, arguments["loss"]),
    }


def training_cases():
    """Run each plan and keep the history, the weights, and what evaluate and predict return."""
    cases = {}
    for name, plan in training_plans().items():
        adjust = plan.pop("adjust", lambda weights: weights)
        x, y = plan["x"], plan["y"]
        shapes = "/".join(layer for layer, _ in plan["layers"])
        model, weights = build_model(f"training/{shapes}", plan["layers"], x)
        weights = adjust(weights)
        model.set_weights(weights)
        model.compile(**compiled_arguments(plan["compile"]))
        optional = {key: plan[key] for key in ("sample_weight", "validation_data") if key in plan}
        if "class_weight" in plan:
            optional["class_weight"] = dict(plan["class_weight"])
        evaluation = {"batch_size": 16, "verbose": 0}
        before = model.evaluate(x, y, **evaluation)
        history = model.fit(x, y, shuffle=False, verbose=0, **plan["fit"], **optional)
        weighted = {"sample_weight": plan["sample_weight"]} if "sample_weight" in plan else {}
        cases[name] = {
            **plan,
            "weights": weights,
            "evaluated_before": before,
            "history": history.history,
            "epochs": history.epoch,
            "params": history.params,
            "weights_after": model.get_weights(),
            "evaluated": model.evaluate(x, y, **evaluation),
            "evaluated_weighted": model.evaluate(x, y, **evaluation, **weighted),
            "evaluated_dict": model.evaluate(x, y, **evaluation, return_dict=True),
            "predicted": model.predict(x, batch_size=16, verbose=0),
        }
    return cases


def batch_cases():
    """train_on_batch, test_on_batch and predict_on_batch, called in turn on three batches."""
    plans = training_plans()
    cases = {}
    for name in ("imdb_script", "no_metrics", "sample_weight", "class_weight", "stack"):
        plan = plans[name]
        shapes = "/".join(layer for layer, _ in plan["layers"])
        model, weights = build_model(f"training/{shapes}", plan["layers"], plan["x"])
        model.compile(**compiled_arguments(plan["compile"]))
        x, y = plan["x"], plan["y"]
        class_weight = dict(plan["class_weight"]) if "class_weight" in plan else None
        trained, tested, predicted = [], [], []
        for rows in (slice(0, 16), slice(16, 20), slice(20, 50)):
            weight = plan["sample_weight"][rows] if "sample_weight" in plan else None
            trained.append(
                model.train_on_batch(
                    x[rows], y[rows], sample_weight=weight, class_weight=class_weight
                )
            )
            tested.append(model.test_on_batch(x[rows], y[rows], sample_weight=weight))
            predicted.append(model.predict_on_batch(x[rows]))
        cases[name] = {
            **{key: plan[key] for key in ("layers", "x", "y", "compile")},
            "sample_weight": plan.get("sample_weight"),
            "class_weight": plan.get("class_weight"),
            "weights": weights,
            "batches": [[0, 16], [16, 20], [20, 50]],
            "trained": trained,
            "tested": tested,
            "predicted": predicted,
            "weights_after": model.get_weights(),
        }
    return cases


# --- facts --------------------------------------------------------------------------------------


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

    def plain(default):
        if default is inspect.Parameter.empty:
            return {"required": True}
        if default is None or isinstance(default, (bool, int, float, str)):
            return {"default": default}
        return {}

    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name: [
            [p.name, plain(p.default)]
            for p in inspect.signature(function).parameters.values()
            if p.name != "self" and p.kind not in skipped
        ]
        for name, function in functions.items()
    }


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
    facts = {}
    for module, table in (("layers", layers), ("optimizers", optimizers)):
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
    model = keras.Sequential(
        layers_from(
            [
                ["Embedding", {"input_dim": 10000, "output_dim": 32}],
                ["SimpleRNN", {"units": 32, "return_sequences": True}],
                ["SimpleRNN", {"units": 32}],
                ["Dense", {"units": 1, "activation": "sigmoid"}],
            ]
        )
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


def main():
    """Compute all topics and write them."""
    logging.getLogger("tensorflow").setLevel("ERROR")
    warnings.filterwarnings("ignore", message="Gradients do not exist")
    if keras.__version__ != KERAS_VERSION:
        raise SystemExit(f"Keras {KERAS_VERSION} is wanted, this is {keras.__version__}")
    save(
        {
            "layers": {**simple_rnn_cases(), **other_layer_cases()},
            "activations": activation_cases(),
            "stacks": stack_cases(),
            "losses": loss_cases(),
            "metrics": metric_cases(),
            "optimizers": optimizer_cases(),
            "initializers": initializer_cases(),
            "training": training_cases(),
            "batches": batch_cases(),
            "facts": fact_cases(),
        }
    )


if __name__ == "__main__":
    main()
