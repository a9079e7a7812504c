"""Losses, metrics, optimizers and initializers by themselves."""

import itertools
import re

import keras
import numpy as np
from common import as_numpy, generator, normal


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

    return called_losses(plans)


def called_losses(plans):
    """Return a case for each plan (class, kind of data, config, labels, predictions), and more
    with weights of rows and of steps."""
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
    for kind, (y, p) in inputs.items():
        if not kind.startswith("edges"):
            inputs[kind] = y, softmax(p) if p.shape[-1] == 4 else 1 / (1 + np.exp(-p))
    return fed_metrics(plans, inputs)


def fed_metrics(plans, inputs):
    """Return two cases for each plan (class, config, kind of data), without and with weights."""
    cases = {}
    for (class_name, config, kind), weighted in itertools.product(plans, (False, True)):
        y, p = inputs[kind]
        weight = np.linspace(0, 2, len(y), dtype="float32") if weighted else None
        metric = getattr(keras.metrics, class_name)(**config)
        batches, results = [slice(0, 3), slice(3, 4), slice(4, 8)], []
        for rows in batches:
            part = None if weight is None else weight[rows]
            metric.update_state(y[rows], p[rows], sample_weight=part)
            result = as_numpy(metric.result())
            results.append(result if np.ndim(result) else float(result))
        words = [f"{key}_{value}" for key, value in config.items()] + ["sample_weight"] * weighted
        cases["+".join([f"{class_name}/{kind}", *words])] = {
            "class": class_name,
            "config": config,
            # Some names Keras numbers.
            "default_name": re.sub(r"_\d+$", "", getattr(keras.metrics, class_name)().name),
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
    return applied_optimizers(kinds, options)


def applied_optimizers(kinds, options):
    """Return a case for each kind, by name (class, config), without options and with them."""
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
