"""Training as a whole: learning, repeatability, data that do not fit, interrupts, progress."""

import math
import os
import signal
import threading
import time

import numpy as np
import pytest

from fastrnn import engines, get_num_threads, losses, optimizers, set_num_threads
from fastrnn.callbacks import Callback, LambdaCallback
from fastrnn.interrupts import Shield
from fastrnn.layers import Activation, Concatenate, Dense, Dropout, Embedding, Input, SimpleRNN
from fastrnn.models import Model, Sequential
from fastrnn.progress import Progress
from fastrnn.utils import pad_sequences, set_random_seed, to_categorical

RNG = np.random.default_rng(3)
LENGTHS = RNG.integers(1, 9, 40)
SEQUENCES = [RNG.integers(1, 12, n).tolist() for n in LENGTHS]
PADDED = pad_sequences(SEQUENCES, padding="post")
LABELS = np.array([s[-1] > 6 for s in SEQUENCES], int)


def sentiment(optimizer="rmsprop", metrics=("acc",), mask_zero=False, **kwargs):
    model = Sequential(
        [Embedding(12, 4, mask_zero=mask_zero), SimpleRNN(6), Dense(1, activation="sigmoid")]
    )
    model.compile(optimizer, "binary_crossentropy", metrics=list(metrics), **kwargs)
    return model


def same_start(*models, shape=(None, 8)):
    """Give the models one set of weights."""
    for model in models:
        model.build(shape)
        model.set_weights(models[0].get_weights())


def equal_weights(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("x", [PADDED, SEQUENCES], ids=["padded", "lists"])
def test_it_learns(x, engine):
    with engines.using(engine):
        set_random_seed(1)
        model = sentiment(optimizers.Adam(0.02), mask_zero=True)
        history = model.fit(x, LABELS, epochs=40, batch_size=8, verbose=0)
        assert history.history["loss"][-1] < 0.2 < history.history["loss"][0]
        assert model.evaluate(x, LABELS, verbose=0)[1] > 0.95


def test_lists_count_as_their_padded_form_with_a_mask():
    padded, lists = sentiment(mask_zero=True), sentiment(mask_zero=True)
    same_start(padded, lists)
    options = {"epochs": 3, "batch_size": 7, "shuffle": False, "verbose": 0}
    one = padded.fit(PADDED, LABELS, validation_split=0.25, **options)
    two = lists.fit(SEQUENCES, LABELS, validation_split=0.25, **options)
    for name, values in one.history.items():
        np.testing.assert_allclose(values, two.history[name], rtol=1e-5)
    for a, b in zip(padded.get_weights(), lists.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(
        padded.predict(PADDED, verbose=0), lists.predict(SEQUENCES, verbose=0), atol=1e-6
    )


def test_labels_of_steps_with_lists():
    model = Sequential([Embedding(12, 3), SimpleRNN(4, return_sequences=True),
                        Dense(2, activation="softmax")])
    model.compile(optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["acc"])
    y = (PADDED > 6).astype(int)
    history = model.fit(SEQUENCES, y, epochs=30, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    scores = model.evaluate(SEQUENCES, y, batch_size=8, verbose=0)
    predicted = model.predict(SEQUENCES, verbose=0).argmax(axis=-1)
    steps = np.arange(8) < LENGTHS[:, None]
    # Steps behind a sequence's end do not count.
    assert scores[1] == pytest.approx((predicted == y)[steps].mean())


def test_the_gradient_is_the_mean_over_the_batch_that_there_is():
    x, y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    model = Sequential([Dense(2, dtype="float64")])
    model.compile(optimizers.SGD(0.1), "mse")
    model.build((None, 3))
    w, b = model.get_weights()
    losses_seen = []
    for rows in (slice(0, 3), slice(3, 5)):
        error = x[rows] @ w + b - y[rows]
        losses_seen += [(error**2).mean()] * len(error)
        w = w - 0.1 * x[rows].T @ error / len(error)
        b = b - 0.1 * error.mean(axis=0)
    history = model.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-12)
    np.testing.assert_allclose(model.get_weights()[1], b, rtol=1e-12)
    # The loss of an epoch is weighted by the sizes of its batches.
    assert history.history["loss"] == [pytest.approx(np.mean(losses_seen))]


def test_penalties_count_in_loss_and_gradient():
    x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 1))
    model = Sequential([Dense(1, kernel_regularizer="l2", dtype="float64", use_bias=False)])
    model.compile(optimizers.SGD(0.1), "mse")
    model.build((None, 3))
    (w,) = model.get_weights()
    error = x @ w - y
    assert model.test_on_batch(x, y) == pytest.approx((error**2).mean() + 0.01 * (w**2).sum())
    assert model.train_on_batch(x, y) == pytest.approx((error**2).mean() + 0.01 * (w**2).sum())
    np.testing.assert_allclose(
        model.get_weights()[0], w - 0.1 * (x.T @ error / 2 + 0.02 * w), rtol=1e-12
    )


def test_a_sure_but_wrong_answer_is_learnt_from():
    for last in ([Dense(1, activation="sigmoid")], [Dense(1), Activation("sigmoid")]):
        model = Sequential(last)
        model.compile(optimizers.SGD(1.0), "binary_crossentropy")
        model.build((None, 1))
        model.set_weights([np.zeros((1, 1)), np.array([40.0])])
        # On clipped probabilities the loss would be 16 and the gradient zero.
        assert model.train_on_batch(np.ones((1, 1)), [0]) == pytest.approx(40)
        assert model.get_weights()[1][0] == pytest.approx(39)


def test_weights_of_samples_and_classes():
    model, other = sentiment(weighted_metrics=["acc"]), sentiment(weighted_metrics=["acc"])
    same_start(model, other)
    weight = np.where(LABELS == 1, 3.0, 0.5)
    options = {"epochs": 2, "batch_size": 7, "shuffle": False, "verbose": 0}
    one = model.fit(PADDED, LABELS, sample_weight=weight, **options)
    two = other.fit(PADDED, LABELS, class_weight={0: 0.5, 1: 3.0}, **options)
    assert one.history == two.history and equal_weights(model, other)
    assert one.history["acc"] != one.history["weighted_acc"]
    hits = (model.predict(PADDED, verbose=0)[:, 0] > 0.5) == LABELS
    scores = model.evaluate(PADDED, LABELS, sample_weight=weight, verbose=0, return_dict=True)
    assert scores["weighted_acc"] == pytest.approx((hits * weight).sum() / weight.sum())
    assert scores["acc"] == pytest.approx(hits.mean())
    # Weights of zero take rows out: only the number of rows still counts them.
    half = (np.arange(40) < 20).astype(float)
    zero = model.evaluate(PADDED, LABELS, sample_weight=half, verbose=0)[0]
    assert zero == pytest.approx(model.evaluate(PADDED[:20], LABELS[:20], verbose=0)[0] / 2)


def test_class_weight_does_not_weigh_the_validation():
    model = sentiment()
    history = model.fit(PADDED, LABELS, class_weight={0: 9.0, 1: 9.0}, validation_split=0.25,
                        verbose=0)
    assert history.history["val_loss"][0] == pytest.approx(
        model.evaluate(PADDED[30:], LABELS[30:], verbose=0)[0]
    )


def test_validation_comes_after_the_epoch_on_the_last_rows():
    for options in ({"validation_split": 0.25}, {"validation_data": (PADDED[30:], LABELS[30:])}):
        model = sentiment()
        history = model.fit(PADDED, LABELS, verbose=0, **options)
        expected = model.evaluate(PADDED[30:], LABELS[30:], verbose=0, return_dict=True)
        assert {k: v[0] for k, v in history.history.items() if k.startswith("val_")} == {
            f"val_{k}": pytest.approx(v) for k, v in expected.items()
        }
    weighted = sentiment(weighted_metrics=["mse"])
    data = PADDED[30:], LABELS[30:], np.arange(10.0)
    history = weighted.fit(PADDED[:30], LABELS[:30], validation_data=data, verbose=0)
    scores = weighted.evaluate(*data[:2], sample_weight=data[2], verbose=0, return_dict=True)
    assert history.history["val_mse"] == [pytest.approx(scores["mse"])]


@pytest.mark.parametrize(("frequency", "times"), [(1, 4), (2, 2), ([1, 4], 2), (9, 0)])
def test_validation_frequency(frequency, times):
    history = sentiment().fit(PADDED, LABELS, epochs=4, validation_split=0.25, verbose=0,
                              validation_freq=frequency)
    assert len(history.history.get("val_loss", [])) == times
    assert len(history.history["loss"]) == 4


def test_an_epoch_ends_with_the_data():
    """In Keras too: after the first three of five batches the next epoch has the last two."""
    seen = []
    keep = LambdaCallback(on_train_batch_end=lambda i, logs: seen.append(i))
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": keep}
    sentiment().fit(PADDED[:20], LABELS[:20], epochs=4, steps_per_epoch=3, **options)
    assert seen == [0, 1, 2, 0, 1, 0, 1, 2, 0, 1]
    seen.clear()
    with pytest.warns(UserWarning, match="steps_per_epoch=7: 20 rows make 5 batches of 4"):
        history = sentiment().fit(PADDED[:20], LABELS[:20], epochs=2, steps_per_epoch=7, **options)
    assert seen == [*range(5)] * 2 and history.params["steps"] == 5


def test_metrics_of_ones_own_see_one_batch_at_a_time():
    model = sentiment()
    model.compile("sgd", "mse", metrics=[lambda y, p: np.max(p)])
    found = model.evaluate(PADDED[:24], LABELS[:24], batch_size=4, verbose=0)[1]
    each = [model.predict(PADDED[i : i + 4], verbose=0).max() for i in range(0, 24, 4)]
    assert found == pytest.approx(np.mean(each))


def test_functions_without_a_name_have_that_of_keras():
    model = sentiment()
    model.compile("sgd", "mse", metrics=[lambda y, p: p, lambda y, p: y])
    history = model.fit(PADDED, LABELS, verbose=0).history
    assert list(history) == ["lambda", "lambda_1", "loss"]


def test_compiling_while_a_fit_is_on():
    model = sentiment()
    optimizer = model.optimizer
    again = LambdaCallback(on_epoch_end=lambda epoch, logs: model.compile("sgd", "mse"))
    with pytest.raises(RuntimeError, match=r"compile\(\) was called by a callback, while fit"):
        model.fit(PADDED, LABELS, verbose=0, callbacks=again)
    assert model.optimizer is optimizer
    model.compile("sgd", "mse")


def test_metrics_in_the_place_of_loss_weights():
    with pytest.raises(TypeError, match=r"loss_weights: expected a number .*'mae'.*metrics="):
        sentiment().compile("sgd", "mse", ["mae"])


def test_class_weight_is_not_for_labels_of_steps():
    model = Sequential([Embedding(12, 4), SimpleRNN(3, return_sequences=True),
                        Dense(3, activation="softmax")])  # fmt: skip
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = PADDED % 3
    with pytest.raises(ValueError, match="class_weight: labels have an axis of steps"):
        model.fit(PADDED, labels, class_weight={1: 100.0}, verbose=0)


def test_steps_limit_the_batches():
    seen = []
    model = sentiment()
    model.fit(
        PADDED, LABELS, batch_size=16, epochs=2, steps_per_epoch=2, shuffle=False, verbose=0,
        validation_data=(PADDED, LABELS), validation_steps=1, validation_batch_size=4,
        callbacks=LambdaCallback(on_train_batch_end=lambda i, logs: seen.append(i),
                                 on_test_batch_end=lambda i, logs: seen.append("test")),
    )
    assert seen == [0, 1, "test", 0, "test"]
    assert model.history.params["steps"] == 2
    some = model.evaluate(PADDED, LABELS, batch_size=8, steps=2, verbose=0)
    assert some == pytest.approx(model.evaluate(PADDED[:16], LABELS[:16], verbose=0))


def counted(run):
    """How many batches ``run(callback)`` trains on, evaluates and predicts."""
    found = {"train": 0, "test": 0, "predict": 0}

    def count(kind):
        return lambda batch, logs: found.update({kind: found[kind] + 1})

    run(LambdaCallback(
        on_train_batch_end=count("train"), on_test_batch_end=count("test"),
        on_predict_batch_end=count("predict"),
    ))  # fmt: skip
    return tuple(found.values())


# The numbers are those of Keras, for 100 rows.
@pytest.mark.parametrize(("options", "train", "test"), [
    ({"steps_per_epoch": 3}, 3, 4),
    ({"steps_per_epoch": 3, "validation_steps": 7}, 3, 7),
    ({"validation_steps": 7}, 4, 7),
    ({"steps_per_epoch": 2, "batch_size": 10, "validation_steps": 2}, 2, 2),
    ({"steps_per_epoch": 3, "epochs": 2}, 6, 8),
])  # fmt: skip
def test_steps_alone_make_batches_that_take_all_rows(options, train, test):
    x, y = np.ones((100, 3)), np.zeros((100, 1))
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    found = counted(lambda callback: model.fit(
        x, y, verbose=0, validation_data=(x, y), callbacks=callback, **options
    ))  # fmt: skip
    assert found == (train, test, 0)


@pytest.mark.parametrize(("steps", "batches"), [(1, 1), (3, 3), (7, 7), (30, 25), (1000, 100)])
def test_all_rows_are_evaluated_and_predicted_in_so_many_steps(steps, batches):
    x, y = np.arange(300.0).reshape(100, 3), np.zeros((100, 1))
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    options = {"steps": steps, "verbose": 0}
    found = model.predict(x, **options)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5)
    assert model.evaluate(x, y, **options) == pytest.approx(model.evaluate(x, y, verbose=0))
    assert counted(lambda c: model.predict(x, callbacks=c, **options)) == (0, 0, batches)
    assert counted(lambda c: model.evaluate(x, y, callbacks=c, **options)) == (0, batches, 0)


def test_a_batch_may_be_larger_than_the_data():
    model = sentiment()
    history = model.fit(PADDED, LABELS, batch_size=1000, verbose=0)
    assert history.params["steps"] == 1
    assert model.predict(PADDED, batch_size=1000, verbose=0).shape == (40, 1)


def test_no_epoch_at_all():
    model = sentiment()
    history = model.fit(PADDED, LABELS, epochs=0, verbose=0)
    assert history.history == {} and model.built
    assert model.fit(PADDED, LABELS, epochs=3, initial_epoch=3, verbose=0).epoch == []


def test_a_loss_that_is_nan_does_not_stop_training():
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(np.array([[np.nan], [1.0]]), [0.0, 1.0], epochs=2, verbose=0)
    assert all(math.isnan(v) for v in history.history["loss"]) and len(history.epoch) == 2


def test_a_loss_of_ones_own_trains():
    class Fourth(losses.Loss):
        def rows(self, target, output, weight, from_logits):
            error = output - target
            return (error**4).mean(axis=1), 4 * error**3 * weight[:, None]

    model = Sequential([Dense(1)])
    model.compile(optimizers.SGD(0.01), Fourth())
    x = RNG.normal(size=(20, 2))
    history = model.fit(x, x[:, :1], epochs=20, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


# -- repeatability ---------------------------------------------------------------------------------


def trained(x=PADDED, seed=11):
    set_random_seed(seed)
    model = Sequential([Embedding(12, 4), Dropout(0.2), SimpleRNN(6, dropout=0.3),
                        Dense(1, activation="sigmoid")])
    model.compile("rmsprop", "binary_crossentropy")
    history = model.fit(x, LABELS, epochs=3, batch_size=7, validation_split=0.2, verbose=0)
    return model, history


@pytest.mark.parametrize("seen", [1, 3, None], ids="seen after {} batches".format)
def test_metrics_are_the_same_whether_they_see_batches_one_by_one_or_not(seen):
    """Ours take several batches at once, until somebody looks."""
    def look(batch, logs):
        if seen and batch % seen == 0:
            looks.append((batch, model.metrics[0].count))

    looks, model = [], sentiment(metrics=["acc", "mse"])
    x, y = np.tile(PADDED, (8, 1)), np.tile(LABELS, 8)
    same_start(model)
    model.optimizer.learning_rate = 0.0
    history = model.fit(
        x, y, epochs=2, batch_size=5, verbose=0,
        callbacks=[LambdaCallback(on_train_batch_end=look)] if seen else None,
    )
    p = model.predict(x, verbose=0)[:, 0]
    assert history.history["acc"] == [np.mean((p > 0.5) == y)] * 2
    np.testing.assert_allclose(history.history["mse"], np.mean((p - y) ** 2), rtol=1e-6)
    assert all(count == 5 * (batch + 1) for batch, count in looks)
    assert bool(looks) == bool(seen)


def test_a_metric_of_ones_own_sees_each_batch():
    def rows(y_true, y_pred):
        sizes.append(len(y_pred))
        return (y_true - y_pred) ** 2

    sizes, model = [], sentiment(metrics=[rows])
    model.fit(PADDED, LABELS, batch_size=16, verbose=0)
    assert sizes == [16, 16, 8]


@pytest.mark.parametrize("x", [PADDED, SEQUENCES], ids=["padded", "lists"])
def test_a_seed_makes_a_run_repeatable_bit_for_bit(x):
    (one, first), (two, second) = trained(x), trained(x)
    assert first.history == second.history and equal_weights(one, two)
    other, third = trained(x, seed=12)
    assert third.history != first.history


def test_any_number_of_threads_gives_the_same_bits():
    before = get_num_threads()
    try:
        runs = []
        for n in (1, 2, 3):
            set_num_threads(n)
            runs.append(trained())
    finally:
        set_num_threads(before)
    for model, history in runs[1:]:
        assert history.history == runs[0][1].history and equal_weights(model, runs[0][0])


def test_shuffling_takes_each_row_once_in_a_new_order():
    x = np.arange(10, dtype=np.float32)[:, None]
    orders = []

    class Spy(Dense):
        def forward(self, x, mask=None, training=False):
            if training:
                orders[-1].extend(x[:, 0].tolist())
            return super().forward(x, mask, training)

    model = Sequential([Spy(1)])
    model.compile("sgd", "mse")
    begin = LambdaCallback(on_epoch_begin=lambda epoch, logs=None: orders.append([]))
    model.fit(x, x, epochs=3, batch_size=4, callbacks=begin, verbose=0)
    assert all(sorted(order) == x[:, 0].tolist() for order in orders)
    assert orders[0] != orders[1] != orders[2]
    orders.clear()
    model.fit(x, x, batch_size=4, callbacks=begin, shuffle=False, verbose=0)
    assert orders == [x[:, 0].tolist()]


def test_threads_may_train_models_at_the_same_time():
    x = RNG.normal(size=(30, 6, 3)).astype(np.float32)
    y = RNG.normal(size=(30, 2)).astype(np.float32)

    def make():
        model = Sequential([SimpleRNN(5), Dense(2)])
        model.compile("adam", "mse")
        model.build((None, 6, 3))
        return model

    def fit(model):
        model.fit(x, y, epochs=5, batch_size=8, shuffle=False, verbose=0)

    models, alone = [make() for _ in range(3)], [make() for _ in range(3)]
    for one, other in zip(models, alone, strict=True):
        same_start(one, other, shape=(None, 6, 3))
        fit(other)
    threads = [threading.Thread(target=fit, args=(m,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal_weights(a, b) for a, b in zip(models, alone, strict=True))


# -- data that do not fit --------------------------------------------------------------------------

BAD_DATA = [
    (PADDED, LABELS[:-1], {}, ValueError, "x has 40 rows, y has 39"),
    (PADDED, None, {}, ValueError, "expected labels y beside x; got none"),
    (PADDED, 3, {}, TypeError, "y: expected an array, or a list of rows; got 3"),
    (PADDED, LABELS + 1, {}, ValueError, "expected labels 0 or 1 .* got 2"),
    (PADDED, LABELS * np.nan, {}, ValueError, "y: expected finite numbers; got nan in row 0"),
    (PADDED, np.stack([LABELS] * 2, 1), {}, ValueError, r"\(40, 1\); got shape \(40, 2\)"),
    (PADDED + 12, LABELS, {}, IndexError, "token id"),
    (PADDED - 5, LABELS, {}, IndexError, "token id"),
    (PADDED + 0.5, LABELS, {}, ValueError, "expected whole numbers"),
    (PADDED[:0], LABELS[:0], {}, ValueError, r"no rows; got shape \(0, 8\)"),
    (PADDED[:, :0], LABELS, {}, ValueError, r"at least one step in a row; got shape \(40, 0\)"),
    (PADDED[:, 0], LABELS, {}, ValueError, r"x of 2 axes, like \(any, 8\).*; got shape \(40,\)"),
    (PADDED[..., None, None], LABELS, {}, ValueError, r"x of 2 axes.*; got shape \(40, 8, 1, 1\)"),
    ([*SEQUENCES[:-1], "text"], LABELS, {}, ValueError, "row 39 should be a sequence of numbers"),
    (PADDED, LABELS, {"sample_weight": np.ones(39)}, ValueError, r"\(40,\); got shape \(39,\)"),
    (PADDED, LABELS, {"sample_weight": LABELS + np.inf}, ValueError, "sample_weight: .* finite"),
    (PADDED, LABELS, {"sample_weight": LABELS, "class_weight": {0: 1}}, ValueError, "not both"),
    (PADDED, LABELS, {"class_weight": [1, 2]}, TypeError, "expected a dict"),
    (PADDED, LABELS, {"validation_split": 1.5}, ValueError, "validation_split: expected"),
    (PADDED, LABELS, {"validation_data": PADDED}, ValueError, "validation_data: expected"),
    (PADDED, LABELS, {"validation_data": (PADDED, LABELS + 1)}, ValueError, "labels 0 or 1"),
    (PADDED, LABELS, {"batch_size": 0}, ValueError, "batch_size: expected a whole number"),
    (PADDED, LABELS, {"batch_size": 2.5}, ValueError, "batch_size: expected a whole number"),
    (PADDED, LABELS, {"steps_per_epoch": -1}, ValueError, "steps_per_epoch: expected"),
    (PADDED, LABELS, {"validation_freq": 0}, ValueError, "validation_freq: expected"),
    (PADDED, LABELS, {"validation_freq": "a"}, ValueError, "validation_freq: expected"),
    (PADDED, LABELS, {"verbose": 3}, ValueError, "verbose: expected 0, 1, 2 or 'auto'; got 3"),
    (PADDED, LABELS, {"callbacks": [3]}, TypeError, "callbacks: expected"),
]


@pytest.mark.parametrize(("x", "y", "options", "error", "message"), BAD_DATA)
@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_bad_data_leave_the_model_as_it_was(x, y, options, error, message, engine):
    with engines.using(engine), np.errstate(invalid="ignore"):
        model = sentiment()
        model.fit(PADDED, LABELS, verbose=0)
        before, state = model.get_weights(), model.optimizer.state()
        with pytest.raises(error, match=message):
            model.fit(x, y, **{"verbose": 0, "shuffle": False} | options)
        assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
        assert all((model.optimizer.state()[k] == v).all() for k, v in state.items())
        assert np.isfinite(model.fit(PADDED, LABELS, verbose=0).history["loss"][0])


def test_a_shape_that_does_not_fit_leaves_nothing_behind():
    model = Sequential([Dense(4), Sequential([Dense(3)]), SimpleRNN(2)])
    model.compile("sgd", "mse")
    y = np.zeros((6, 2))
    with pytest.raises(ValueError, match="SimpleRNN.*expected inputs of shape"):
        model.fit(np.ones((6, 7)), y, verbose=0)
    assert not model.built and model.weights == []
    model.fit(np.ones((6, 5, 3)), y, verbose=0)
    assert model.get_weights()[0].shape == (3, 4)


def test_data_of_any_plain_type_train_alike():
    reference = sentiment()
    reference.build((None, 8))
    start = reference.get_weights()
    reference.fit(PADDED, LABELS, shuffle=False, verbose=0)
    frozen = PADDED.copy()
    frozen.flags.writeable = False
    for x in (PADDED.astype(np.int64), PADDED.astype(">i4"), PADDED.astype(np.float64), frozen,
              np.asfortranarray(PADDED), PADDED.tolist(), PADDED.astype(object)):
        model = sentiment()
        model.build((None, 8))
        model.set_weights(start)
        model.fit(x, LABELS.astype(np.float64).tolist(), shuffle=False, verbose=0)
        assert equal_weights(model, reference)


# -- inputs with an axis too few or too many, as in Keras ------------------------------------------


def a_series(shape):
    """A model for inputs of this shape."""
    model = Sequential([Input(shape), *[SimpleRNN(3)] * (len(shape) > 1), Dense(1)])
    model.compile(optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize(("shape", "missing", "whole"), [
    ((5, 1), np.ones((6, 5)) * np.arange(6)[:, None], (6, 5, 1)),
    ((None, 1), np.arange(30).reshape(6, 5), (6, 5, 1)),
    ((1,), np.arange(6), (6, 1)),
    ((5,), np.arange(30).reshape(6, 5, 1), (6, 5)),
])  # fmt: skip
@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_a_last_axis_of_one_may_be_missing_or_too_much(shape, missing, whole, engine):
    missing, y = missing / 30, np.ones((6, 1))
    x = missing.reshape(whole)
    with engines.using(engine):
        model, other = a_series(shape), a_series(shape)
        other.set_weights(model.get_weights())
        expected = model.predict(x, verbose=0)
        for given in (missing, missing.tolist(), [missing], {model.input_names[0]: missing}):
            assert (model.predict(given, verbose=0) == expected).all()
        assert (model(missing) == expected).all()
        assert (model.predict_on_batch(missing) == expected).all()
        assert model.evaluate(missing, y, verbose=0) == model.evaluate(x, y, verbose=0)
        assert model.test_on_batch(missing, y) == model.test_on_batch(x, y)
        assert model.train_on_batch(missing, y) == other.train_on_batch(x, y)
        options = {"shuffle": False, "verbose": 0, "epochs": 2, "batch_size": 4}
        model.fit(missing, y, validation_data=(missing, y), **options)
        other.fit(x, y, **options)
        assert equal_weights(model, other)


def test_a_series_of_pandas():
    pandas = pytest.importorskip("pandas")
    model, x = a_series((1,)), np.arange(4.0)
    expected = model.predict(x[:, None], verbose=0)
    assert (model.predict(pandas.Series(x), verbose=0) == expected).all()
    model = a_series((3, 1))
    x = np.arange(12.0).reshape(4, 3)
    expected = model.predict(x[..., None], verbose=0)
    assert (model.predict(pandas.DataFrame(x), verbose=0) == expected).all()


def test_a_table_of_pandas_whose_columns_differ_in_type():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({
        "temperature": [0.5, 1.5, 2.5, 0], "n": [1, 2, 3, 0], "wet": [True, False, True, True],
    })
    x, y = table.to_numpy(dtype=float), pandas.DataFrame({"rain": [0, 1, 1, 0]})
    model = Sequential([Dense(1, "sigmoid")])
    model.compile("sgd", "bce")
    assert (model.predict(table, verbose=0) == model.predict(x, verbose=0)).all()
    expected = model.evaluate(x, y.to_numpy(), verbose=0)
    assert model.evaluate(table, y, verbose=0) == expected
    model.fit(table, y, validation_split=0.5, verbose=0)
    with pytest.raises(TypeError, match="column 'name' .*'a'"):
        model.predict(table.assign(name=list("abcd")), verbose=0)


def test_several_inputs_with_an_axis_too_few_or_too_many():
    a, b = Input((4, 1), name="a"), Input((1,), name="b")
    model = Model([a, b], Concatenate()([SimpleRNN(3)(a), b]))
    series, numbers = np.arange(24.0).reshape(6, 4), np.arange(6.0)
    expected = model.predict([series[..., None], numbers[:, None]], verbose=0)
    for given in ([series, numbers], {"b": numbers[:, None, None], "a": series}):
        assert (model.predict(given, verbose=0) == expected).all()


def test_sequences_of_numbers_for_steps_of_one_feature():
    model = a_series((None, 1))
    rows = [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]
    expected = model.predict([np.reshape(row, (-1, 1)) for row in rows], verbose=0)
    assert (model.predict(rows, verbose=0) == expected).all()
    ids = Sequential([Input((None,)), Embedding(9, 4), SimpleRNN(2)])
    rows = [[1, 2], [3], [4, 5, 6]]
    columns = [np.reshape(row, (-1, 1)) for row in rows]
    assert (ids.predict(columns, verbose=0) == ids.predict(rows, verbose=0)).all()


def test_one_row_in_a_list_stays_a_row():
    model = a_series((None, 1))
    assert model.predict([np.ones((5, 1))], verbose=0).shape == (1, 1)


def test_a_model_that_knows_no_shape_takes_that_of_the_data():
    model = Sequential([SimpleRNN(3)])
    with pytest.raises(ValueError, match="expected inputs of shape"):
        model.predict(np.ones((6, 4)), verbose=0)
    model.predict(np.ones((6, 4, 1)), verbose=0)
    assert model.predict(np.ones((6, 4)), verbose=0).shape == (6, 3)


# -- interrupts ------------------------------------------------------------------------------------


def test_an_interrupt_leaves_whole_steps_and_whole_epochs():
    model = sentiment()
    model.build((None, 8))

    class Interrupt(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.weights = self.model.get_weights()
            if self.model.optimizer.iterations == 8:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)  # until the signal comes
                raise AssertionError("not interrupted")

    callback = Interrupt()
    with pytest.raises(KeyboardInterrupt):
        model.fit(PADDED, LABELS, batch_size=8, epochs=9, callbacks=[callback], verbose=0)
    assert model.history.epoch == [0] and len(model.history.history["loss"]) == 1
    for a, b in zip(callback.weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    history = model.fit(PADDED, LABELS, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_an_interrupt_waits_for_the_end_of_an_update():
    done = []

    def step():
        signal.raise_signal(signal.SIGINT)
        done.append("whole")

    with Shield() as shield:
        with pytest.raises(KeyboardInterrupt):
            shield.update(step)
        assert done == ["whole"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        shield.update(lambda: done.append("again"))
    assert done == ["whole", "again"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_is_left_alone():
    caught = []
    before = signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        with Shield() as shield:
            shield.update(lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(caught) == 1


# -- progress --------------------------------------------------------------------------------------


def test_a_log_file_gets_a_line_for_each_epoch(capsys):
    sentiment().fit(PADDED, LABELS, epochs=2, validation_split=0.25, batch_size=8)
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["Epoch 1/2", "Epoch 2/2"] and len(lines) == 4
    assert lines[1].startswith("4/4 [====================] 0s ")
    parts = lines[1].split(" - ")
    assert [part.split(":")[0] for part in parts[1:]] == ["acc", "loss", "val_acc", "val_loss"]
    assert parts[0].endswith("s/step")


def test_verbose_2_and_0(capsys):
    model = sentiment()
    model.fit(PADDED, LABELS, batch_size=8, verbose=2)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("5/5 - 0s ") and "s/step - acc: " in line
    model.fit(PADDED, LABELS, verbose=0)
    model.evaluate(PADDED, LABELS, verbose=0)
    model.predict(PADDED, verbose=0)
    assert capsys.readouterr().out == ""
    model.evaluate(PADDED, LABELS)
    model.predict(PADDED)
    evaluated, predicted = capsys.readouterr().out.splitlines()
    assert "acc:" in evaluated and predicted.startswith("2/2 [====================] 0s")


def test_a_terminal_gets_a_bar_that_is_redrawn(capsys, monkeypatch):
    monkeypatch.setattr("fastrnn.progress._can_redraw", lambda: True)
    threads = threading.active_count()
    progress = Progress(4)
    calls = []

    def logs():
        calls.append(1)
        return {"loss": 0.5}

    progress.update(1, logs)
    assert not calls  # nothing is due yet, and nothing is asked for
    progress.due = 0
    progress.update(2, logs)
    assert len(calls) == 1
    progress.finish(4, {"loss": 0.25, "tiny": 1e-5})
    out = capsys.readouterr().out
    assert out.endswith("\n") and out.count("\n") == 1
    drawn = [line.strip() for line in out.split("\r") if line.strip()]
    assert any(line.startswith("2/4 [==========..........] ETA 0s") for line in drawn)
    assert drawn[-1].startswith("4/4 [====================] 0s")
    assert drawn[-1].endswith("- loss: 0.2500 - tiny: 1.0000e-05")
    assert threading.active_count() == threads


def test_a_terminal_gets_a_line_where_nobody_knows_the_end(capsys, monkeypatch):
    monkeypatch.setattr("fastrnn.progress._can_redraw", lambda: True)
    progress = Progress(None)
    progress.due = 0
    progress.update(2, lambda: {"loss": 0.25})
    progress.finish(3, {"loss": 0.5})
    out = capsys.readouterr().out
    assert "2/? 0s " in out and "3/3 [====================] 0s" in out and "None" not in out


def test_a_broken_run_ends_its_line(capsys, monkeypatch):
    monkeypatch.setattr("fastrnn.progress._can_redraw", lambda: True)
    monkeypatch.setattr("fastrnn.progress.time.perf_counter", lambda: next(clock))
    clock = iter(range(10**6))

    def fail(batch, logs):
        if batch == 2:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        sentiment().fit(PADDED, LABELS, batch_size=8,
                        callbacks=LambdaCallback(on_train_batch_end=fail))
    assert capsys.readouterr().out.endswith("\n")


# -- utils -----------------------------------------------------------------------------------------


def test_to_categorical():
    np.testing.assert_array_equal(to_categorical([[0], [2]]), [[1, 0, 0], [0, 0, 1]])
    assert to_categorical([[0, 1], [1, 0]], num_classes=3).shape == (2, 2, 3)
    assert to_categorical([1]).dtype == np.float32
    for bad in ([3], [-1], [0.5]):
        with pytest.raises(ValueError, match="class numbers from 0 to 2"):
            to_categorical(bad, num_classes=3)


@pytest.mark.parametrize("as_lists", [False, True])
def test_an_id_without_a_row_is_found_before_the_first_step(as_lists):
    x = np.random.default_rng(0).integers(0, 10, (64, 5)).astype(np.int32)
    x[-1, -1] = 10
    model = Sequential([Embedding(10, 3), SimpleRNN(2), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.minimum(x, 9), np.zeros(64), verbose=0)
    before = model.get_weights()
    with pytest.raises(IndexError, match=r"token id 10 .*input_dim=10"):
        model.fit(x.tolist() if as_lists else x, np.zeros(64), shuffle=False, verbose=0)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("settings", [
    {"batch_size": "8"}, {"batch_size": 0}, {"epochs": 2.5}, {"epochs": -1}, {"epochs": "2"},
    {"epochs": None}, {"initial_epoch": 0.5}, {"steps_per_epoch": "all"},
    {"validation_batch_size": 0}, {"validation_steps": 1.5},
    {"validation_split": "a fifth"}, {"validation_split": 1.0}, {"truncate": "no"},
], ids=str)
def test_settings_that_are_no_numbers(settings):
    model = sentiment()
    model.build((None, 8))
    before = model.get_weights()
    [name] = settings
    with pytest.raises(ValueError, match=f"{name}: expected a .*number.*got"):
        model.fit(PADDED, LABELS, verbose=0, **settings)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("wrong", [2.5, np.nan])
def test_ids_that_are_no_whole_numbers(wrong):
    x = PADDED.astype(float)
    x[3, 2] = wrong
    with pytest.raises(ValueError, match=f"expected whole numbers, the ids of tokens; got {wrong}"):
        sentiment().fit(x, LABELS, verbose=0)


@pytest.mark.parametrize("settings, found", [
    ({"batch_size": 16}, "40 rows in batches of 16: batches of 8 and 16"),
    ({"batch_size": 8, "validation_split": 0.25}, "30 rows in batches of 8, then 10 rows"),
    ({"batch_size": 5, "validation_split": 0.25, "validation_batch_size": 10}, "of 5 and 10"),
])
def test_batches_of_different_sizes_before_layers_that_keep_states(settings, found):
    model = Sequential([Embedding(12, 4), SimpleRNN(6, stateful=True), Dense(1)])
    model.compile("sgd", "mse")
    model.build((None, 8))
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"stateful=True .*{found}.*divides the data"):
        model.fit(PADDED, LABELS, verbose=0, **settings)
    assert all(map(np.array_equal, before, model.get_weights()))
    if "validation_split" not in settings:
        for method in (model.predict, lambda *a, **k: model.evaluate(PADDED, LABELS, **k)):
            with pytest.raises(ValueError, match=found):
                method(PADDED, verbose=0, **settings)
        assert model.layers[1].states is None


def test_batches_of_one_size_before_layers_that_keep_states():
    model = Sequential([Embedding(12, 4), SimpleRNN(6, stateful=True), Dense(1)])
    model.compile("sgd", "mse")
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(PADDED, LABELS, steps_per_epoch=2, **options)
    model.fit(PADDED[:32], LABELS[:32], validation_data=(PADDED[:16], LABELS[:16]), **options)
    assert model.predict(PADDED, batch_size=16, steps=2, verbose=0).shape == (32, 1)
