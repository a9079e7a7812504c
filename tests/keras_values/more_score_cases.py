"""Losses, metrics and optimizers beyond the commonest, by themselves."""

import keras
import numpy as np
from common import generator, normal
from fact_cases import arguments_of, described_configs, meant_by
from score_cases import applied_optimizers, called_losses, fed_metrics, loss_inputs, softmax

# --- data ---------------------------------------------------------------------------------------


def score_inputs():
    """Return pairs (y_true, y_pred) by kind, and what loss_cases has, as probabilities."""
    rng = generator("more scores")
    inputs = {}
    for kind, (y, logits) in loss_inputs().items():
        if kind.startswith("edges"):
            inputs[kind] = y, logits
        else:
            squash = softmax if logits.shape[-1] == 4 else lambda x: 1 / (1 + np.exp(-x))
            inputs[kind] = y, squash(logits)
    shapes = {"real": (8, 1), "real_wide": (8, 5), "real_steps": (8, 3, 2)}
    for kind, shape in shapes.items():
        inputs[kind] = normal(rng, *shape), normal(rng, *shape)
        y, p = normal(rng, *shape), normal(rng, *shape)
        inputs[kind.replace("real", "positive")] = np.abs(y), np.abs(p)
        inputs[kind.replace("real", "signs")] = np.sign(y), p
    zeros = inputs["real_wide"][1].copy()
    zeros[2], zeros[5, :3] = 0, 0
    inputs["edges_real"] = inputs["real_wide"][0] * (zeros != 0), zeros
    ranks = np.array([[2, 0, 1, 3], [1, 3, 0, 2]] * 4, "float32")
    inputs["ranked"] = inputs["sparse"][0], ranks
    ties = np.array([[0.25] * 4, [0.4, 0.4, 0.1, 0.1]] * 4, "float32")
    inputs["tied"] = inputs["sparse"][0], ties
    inputs["tied_one_hot"] = inputs["categorical"][0], ties
    return inputs


# --- cases --------------------------------------------------------------------------------------


def loss_cases():
    """Losses called by themselves."""
    inputs = score_inputs()
    kinds = {
        "Huber": ("real", "real_wide", "real_steps"),
        "LogCosh": ("real", "real_wide", "real_steps"),
        "MeanAbsolutePercentageError": ("real", "real_wide", "real_steps", "edges_real"),
        "MeanSquaredLogarithmicError": ("positive", "positive_wide", "positive_steps", "real"),
        "Poisson": ("positive", "positive_wide", "positive_steps"),
        "CosineSimilarity": ("real", "real_wide", "real_steps", "edges_real"),
        "KLDivergence": ("categorical", "categorical_steps", "edges_categorical", "binary_wide"),
        "Hinge": ("signs", "signs_wide", "signs_steps", "binary_wide", "real_wide"),
        "SquaredHinge": ("signs", "signs_wide", "signs_steps", "binary_wide", "real_wide"),
        "CategoricalHinge": ("categorical", "categorical_steps", "edges_categorical", "real_wide"),
        "BinaryFocalCrossentropy": ("binary", "binary_wide", "edges_binary"),
        "CategoricalFocalCrossentropy": ("categorical", "categorical_steps", "edges_categorical"),
    }
    plans = [(loss, kind, {}, *inputs[kind]) for loss, listed in kinds.items() for kind in listed]
    logits = {kind: (y, p) for kind, (y, p) in loss_inputs().items()}
    plans += [
        ("Huber", "real_wide", {"delta": 0.3}, *inputs["real_wide"]),
        ("BinaryFocalCrossentropy", "binary", {"from_logits": True}, *logits["binary"]),
        (
            "BinaryFocalCrossentropy",
            "binary_wide",
            {"apply_class_balancing": True, "alpha": 0.3, "gamma": 1.5, "label_smoothing": 0.2},
            *inputs["binary_wide"],
        ),
        ("CategoricalFocalCrossentropy", "categorical", {"from_logits": True},
         *logits["categorical"]),
        (
            "CategoricalFocalCrossentropy",
            "categorical",
            {"alpha": 0.4, "gamma": 3.0, "label_smoothing": 0.2},
            *inputs["categorical"],
        ),
        ("CategoricalFocalCrossentropy", "categorical_steps", {"alpha": [0.1, 0.2, 0.3, 0.4]},
         *inputs["categorical_steps"]),
    ]  # fmt: skip
    return called_losses(plans)


def metric_cases():
    """Metrics fed three batches in turn, with and without sample weights."""
    several = {"thresholds": [0.3, 0.7, 0.5]}
    even = {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]}
    counts = "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives"
    plans = [
        (name, config, kind)
        for name in ("Precision", "Recall", *counts)
        for config, kind in (
            ({}, "binary"), ({}, "binary_wide"), ({}, "edges_binary"), (several, "binary_wide"),
            (even, "edges_binary"), ({"thresholds": 0.7}, "categorical"),
        )
    ]  # fmt: skip
    plans += [
        (name, config, kind)
        for name in ("Precision", "Recall")
        for config, kind in (
            ({"top_k": 2}, "categorical"), ({"top_k": 1, "class_id": 2}, "categorical"),
            ({"top_k": 2}, "tied_one_hot"), ({"class_id": 1}, "binary_wide"),
            ({"top_k": 3, "thresholds": [0.1, 0.4]}, "categorical"),
        )
    ]  # fmt: skip
    plans += [
        ("AUC", {"curve": curve, "summation_method": method, **more}, kind)
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
        for more, kind in (
            ({}, "binary"), ({"num_thresholds": 5}, "edges_binary"),
            ({"multi_label": True, "num_thresholds": 20}, "binary_wide"),
        )
    ]  # fmt: skip
    plans += [
        ("AUC", config, kind)
        for config, kind in (
            ({"thresholds": [0.2, 0.25, 0.9]}, "binary"), ({"from_logits": True}, "signs"),
            ({"label_weights": [0.5, 1.0, 3.0]}, "binary_wide"),
            ({"multi_label": True, "num_labels": 3, "label_weights": [0.5, 1.0, 3.0]},
             "binary_wide"),
            ({"multi_label": True, "curve": "PR", "label_weights": [0.5, 1.0, 3.0]},
             "binary_wide"),
            ({"curve": "PR"}, "categorical"),
        )
    ]  # fmt: skip
    plans += [
        ("F1Score", {"average": average, "threshold": threshold}, kind)
        for average in (None, "micro", "macro", "weighted")
        for threshold, kind in ((None, "categorical"), (0.5, "binary_wide"), (0.3, "binary"))
    ]
    plans += [
        ("FBetaScore", {"beta": 2.0}, "categorical"),
        ("FBetaScore", {"beta": 0.5, "average": "weighted"}, "edges_categorical"),
        ("R2Score", {}, "real_wide"),
        ("R2Score", {"class_aggregation": None}, "real_wide"),
        ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real_wide"),
        ("R2Score", {"num_regressors": 2}, "real_wide"),
        ("RootMeanSquaredError", {}, "real"),
        ("RootMeanSquaredError", {}, "real_wide"),
        ("RootMeanSquaredError", {}, "real_steps"),
        ("SparseCategoricalCrossentropy", {"ignore_class": 1}, "sparse"),
        ("SparseCategoricalCrossentropy", {"ignore_class": 2}, "sparse_column"),
        ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "ranked"),
    ]
    plans += [("TopKCategoricalAccuracy", {"k": 2}, kind) for kind in (
        "categorical", "categorical_steps", "tied_one_hot")]  # fmt: skip
    plans += [("SparseTopKCategoricalAccuracy", {"k": 2}, kind) for kind in (
        "sparse", "sparse_column", "sparse_steps", "tied")]  # fmt: skip
    means = {
        "MeanAbsolutePercentageError": "real", "MeanSquaredLogarithmicError": "positive",
        "LogCoshError": "real", "CosineSimilarity": "real", "Poisson": "positive",
        "Hinge": "signs", "SquaredHinge": "signs",
    }  # fmt: skip
    plans += [(name, {}, kind + more) for name, kind in means.items() for more in ("", "_wide")]
    plans += [
        (name, {}, kind) for name in ("KLDivergence", "CategoricalHinge")
        for kind in ("categorical", "categorical_steps")
    ]  # fmt: skip
    return fed_metrics(plans, score_inputs())


def optimizer_cases():
    """Weights after each of six updates with given gradients."""
    kinds = {
        "adagrad": ("Adagrad", {"learning_rate": 0.05}),
        "adagrad+default": ("Adagrad", {}),
        "adagrad+start+epsilon": (
            "Adagrad",
            {"learning_rate": 0.05, "initial_accumulator_value": 0.5, "epsilon": 1e-2},
        ),
        "adadelta": ("Adadelta", {"learning_rate": 1.0}),
        "adadelta+default": ("Adadelta", {}),
        "adadelta+rho+epsilon": ("Adadelta", {"learning_rate": 1.0, "rho": 0.7, "epsilon": 1e-2}),
        "adamax": ("Adamax", {"learning_rate": 0.02}),
        "adamax+default": ("Adamax", {}),
        "adamax+betas+epsilon": (
            "Adamax",
            {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2},
        ),
        "nadam": ("Nadam", {"learning_rate": 0.02}),
        "nadam+default": ("Nadam", {}),
        "nadam+betas+epsilon": (
            "Nadam",
            {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2},
        ),
        "lion": ("Lion", {"learning_rate": 0.02}),
        "lion+default": ("Lion", {}),
        "lion+betas": ("Lion", {"learning_rate": 0.02, "beta_1": 0.7, "beta_2": 0.8}),
        "ftrl": ("Ftrl", {"learning_rate": 0.1}),
        "ftrl+default": ("Ftrl", {}),
        "ftrl+all": (
            "Ftrl",
            {
                "learning_rate": 0.1,
                "learning_rate_power": -0.7,
                "initial_accumulator_value": 0.3,
                "l1_regularization_strength": 0.5,
                "l2_regularization_strength": 0.1,
                "l2_shrinkage_regularization_strength": 0.05,
                "beta": 0.2,
            },
        ),
    }
    options = {
        "": {},
        "weight_decay": {"weight_decay": 0.3},
        "clipnorm": {"clipnorm": 0.9},
        "global_clipnorm": {"global_clipnorm": 0.9},
        "clipvalue": {"clipvalue": 0.4},
        "ema": {"use_ema": True, "ema_momentum": 0.8},
        "accumulation": {"gradient_accumulation_steps": 2},
        "everything": {
            "weight_decay": 0.3,
            "global_clipnorm": 0.9,
            "use_ema": True,
            "ema_momentum": 0.8,
            "ema_overwrite_frequency": 3,
            "loss_scale_factor": 2.0,
        },
    }
    return applied_optimizers(kinds, options)


# --- facts --------------------------------------------------------------------------------------

LOSSES = (
    "Huber LogCosh MeanAbsolutePercentageError MeanSquaredLogarithmicError KLDivergence Poisson "
    "Hinge SquaredHinge CategoricalHinge CosineSimilarity BinaryFocalCrossentropy "
    "CategoricalFocalCrossentropy"
).split()
METRICS = (
    "Mean Sum RootMeanSquaredError Precision Recall AUC F1Score FBetaScore R2Score "
    "TopKCategoricalAccuracy SparseTopKCategoricalAccuracy TruePositives TrueNegatives "
    "FalsePositives FalseNegatives MeanAbsolutePercentageError MeanSquaredLogarithmicError "
    "LogCoshError CosineSimilarity KLDivergence Poisson Hinge SquaredHinge CategoricalHinge "
    "SparseCategoricalCrossentropy"
).split()
OPTIMIZERS = "Adagrad Adadelta Adamax Nadam Lion Ftrl".split()
FUNCTIONS = (
    "losses.huber losses.log_cosh losses.mean_absolute_percentage_error "
    "losses.mean_squared_logarithmic_error losses.kl_divergence losses.poisson losses.hinge "
    "losses.squared_hinge losses.categorical_hinge losses.cosine_similarity "
    "losses.binary_focal_crossentropy losses.categorical_focal_crossentropy "
    "metrics.top_k_categorical_accuracy metrics.sparse_top_k_categorical_accuracy metrics.huber "
    "metrics.log_cosh metrics.kl_divergence metrics.poisson metrics.hinge metrics.squared_hinge "
    "metrics.categorical_hinge metrics.mean_squared_error metrics.binary_crossentropy "
    "metrics.binary_focal_crossentropy metrics.categorical_focal_crossentropy "
    "metrics.mean_absolute_percentage_error metrics.mean_squared_logarithmic_error"
).split()
NAMES = {
    "losses": "huber log_cosh mape MAPE msle MSLE kld KLD kl_divergence poisson hinge "
    "squared_hinge categorical_hinge cosine_similarity binary_focal_crossentropy "
    "categorical_focal_crossentropy mean_absolute_percentage_error "
    "mean_squared_logarithmic_error " + " ".join(LOSSES),
    "metrics": "root_mean_squared_error precision recall auc f1_score f_beta_score r2_score "
    "top_k_categorical_accuracy sparse_top_k_categorical_accuracy true_positives true_negatives "
    "false_positives false_negatives mape MAPE msle MSLE log_cosh_error cosine_similarity "
    "kl_divergence poisson hinge squared_hinge categorical_hinge sum mean " + " ".join(METRICS),
    "optimizers": " ".join([*OPTIMIZERS, *map(str.lower, OPTIMIZERS)]),
}


def direction(class_name):
    """Return which way is better for a metric, or None where Keras does not say."""
    return getattr(getattr(keras.metrics, class_name)(), "_direction", None)


def fact_cases():
    """Arguments, configurations, names, and which way metrics are better."""
    classes = {"losses": LOSSES, "metrics": METRICS, "optimizers": OPTIMIZERS}
    calls = {
        f"{module}.{name}": getattr(getattr(keras, module), name)
        for module, names in classes.items() for name in names
    }  # fmt: skip
    for name in FUNCTIONS:
        module, function = name.split(".")
        calls[name] = getattr(getattr(keras, module), function)
    configs = described_configs({module: {n: {} for n in names}
                                 for module, names in classes.items()})  # fmt: skip
    for fact in configs.values():
        fact["values"].pop("dtype", None)
    return {
        "signatures": {name: arguments_of(call) for name, call in calls.items()},
        "configs": configs,
        "names": meant_by(NAMES),
        "directions": {name: direction(name) for name in METRICS},
    }
