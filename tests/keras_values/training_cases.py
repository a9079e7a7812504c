"""Whole runs of compile, fit, evaluate and predict, and single batches."""

import numpy as np
from common import build_model, compiled_arguments, generator, normal, padded_ids


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
