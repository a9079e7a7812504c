"""Metrics against plain means."""

import numpy as np
import pytest

from fastrnn import losses, metrics
from fastrnn.metrics import Mean, MeanMetricWrapper

RNG = np.random.default_rng(8)


def test_mean_over_batches_of_any_size():
    values = RNG.normal(size=10)
    mean = Mean()
    assert mean.result() == 0
    for part in (values[:3], values[3:4], values[4:]):
        mean.update_state(part)
    assert mean.result() == pytest.approx(values.mean())
    mean.reset_state()
    mean.update_state([1.0, 2.0], sample_weight=[1.0, 3.0])
    assert mean.result() == pytest.approx(1.75)
    assert mean([2.0]) == pytest.approx((1 + 6 + 2) / 5)
    mean.reset_state()
    mean.update_state(4.0)
    assert mean.result() == 4


def test_mean_of_rows_and_steps():
    values, by_row, by_step = RNG.normal(size=(4, 3)), RNG.uniform(size=4), RNG.uniform(size=(4, 3))

    def mean(weight):
        metric = Mean()
        for rows in (slice(0, 1), slice(1, 4)):
            metric.update_state(values[rows], None if weight is None else weight[rows])
        return metric.result()

    assert mean(None) == pytest.approx(values.mean())
    assert mean(by_row) == pytest.approx((values.mean(axis=1) * by_row).sum() / by_row.sum())
    assert mean(by_row[:, None]) == pytest.approx(mean(by_row))
    assert mean(by_step) == pytest.approx((values * by_step).sum() / by_step.sum())
    assert mean(np.zeros(4)) == 0


def test_binary_accuracy_is_strict_above_the_threshold():
    y, p = [[0], [1], [1], [0]], [[0.5], [0.5], [0.51], [0.1]]
    assert metrics.BinaryAccuracy()(y, p) == 0.75
    assert metrics.BinaryAccuracy(threshold=0.2)(y, p) == 0.75
    assert metrics.BinaryAccuracy(threshold=0)([1, 0, 1], [2.0, -3.0, -1.0]) == pytest.approx(2 / 3)
    assert metrics.BinaryAccuracy()([0, 1, 1, 0], p) == 0.75  # labels without the last axis
    assert metrics.BinaryAccuracy()(np.array(y, np.float32), np.array(p, np.float32)) == 0.75


@pytest.mark.parametrize("steps", [(), (3,)])
def test_accuracies_of_classes(steps):
    classes, p = RNG.integers(0, 4, (6, *steps)), RNG.uniform(size=(6, *steps, 4))
    expected = (p.argmax(axis=-1) == classes).mean()
    assert metrics.SparseCategoricalAccuracy()(classes, p) == pytest.approx(expected)
    assert metrics.SparseCategoricalAccuracy()(classes[..., None], p) == pytest.approx(expected)
    assert metrics.CategoricalAccuracy()(np.eye(4)[classes], p) == pytest.approx(expected)


def test_accuracy_of_equal_values():
    assert metrics.Accuracy()([1, 2, 3, 4], [1, 2, 0, 4], sample_weight=[1, 0, 1, 0]) == 0.5


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_arrays_are_arrays():
    assert metrics.Accuracy()(np.matrix([[1], [2]]), np.array([1, 3])) == 0.5
    assert metrics.Accuracy()(np.ma.array([1, 2], mask=[True, False]), np.array([1, 3])) == 0.5


@pytest.mark.parametrize(
    ("metric", "loss"),
    [
        (metrics.MeanSquaredError(), losses.MeanSquaredError()),
        (metrics.MeanAbsoluteError(), losses.MeanAbsoluteError()),
        (metrics.BinaryCrossentropy(label_smoothing=0.1), losses.BinaryCrossentropy(False, 0.1)),
        (metrics.CategoricalCrossentropy(), losses.CategoricalCrossentropy()),
    ],
)
def test_losses_as_metrics(metric, loss):
    y = np.eye(3)[RNG.integers(0, 3, 5)]
    p = RNG.uniform(0.1, 0.9, (5, 3))
    assert metric(y, p) == pytest.approx(loss(y, p))
    assert metric.direction == "down"


def test_sparse_crossentropy_as_metric():
    y, p = RNG.integers(0, 3, 5), RNG.uniform(0.1, 0.9, (5, 3))
    expected = losses.SparseCategoricalCrossentropy()(y, p)
    assert metrics.SparseCategoricalCrossentropy()(y, p) == pytest.approx(expected)


def test_a_function_and_a_loss_become_means():
    def largest(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    metric = metrics.get(largest)
    assert isinstance(metric, MeanMetricWrapper) and metric.name == "largest"
    assert metric([[0, 1], [2, 2]], np.array([[0, 4], [2, 3]])) == 2
    assert metrics.get(losses.MeanSquaredError()).name == "mean_squared_error"


@pytest.mark.parametrize(
    ("ndim", "output_shape", "cls"),
    [
        (2, (6, 1), metrics.BinaryAccuracy),
        (1, (6, 3), metrics.SparseCategoricalAccuracy),
        (2, (6, 3), metrics.CategoricalAccuracy),
        (2, (6, 4, 3), metrics.SparseCategoricalAccuracy),
        (3, (6, 4, 1), metrics.BinaryAccuracy),
    ],
)
@pytest.mark.parametrize("word", ["acc", "accuracy"])
def test_what_accuracy_stands_for(word, ndim, output_shape, cls):
    metric = metrics.resolve(word, ndim, output_shape)
    assert type(metric) is cls and metric.name == word


def test_a_metric_keeps_the_name_it_was_given_by():
    assert metrics.resolve("mse", 2, (6, 1)).name == "mse"
    assert metrics.resolve(metrics.MeanSquaredError(), 2, (6, 1)).name == "mean_squared_error"
    assert metrics.resolve(metrics.MeanSquaredError(name="error"), 2, (6, 1)).name == "error"


@pytest.mark.parametrize(
    "name",
    ["accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy", "mse",
     "mae", "mean", "binary_crossentropy", "categorical_crossentropy", "BinaryAccuracy",
     "sparse_categorical_crossentropy"],
)
def test_names_and_configs(name):
    metric = metrics.get(name)
    config = metrics.serialize(metric)
    assert config["module"] == "keras.metrics"
    assert type(metrics.get(config)) is type(metric)
    assert metrics.get(config).get_config() == metric.get_config()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: metrics.get("accurracy"), ValueError, "Did you mean 'accuracy'"),
        (lambda: metrics.BinaryAccuracy(threshold=None), TypeError, "threshold: .* got None"),
        (lambda: metrics.BinaryAccuracy()([[0, 1]], [[1]]), ValueError, r"\(1, 2\) and \(1, 1\)"),
        (lambda: metrics.resolve(None, 1, (3, 1)), ValueError, "got None"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
