"""Metrics against plain means, and counts one by one."""

import csv
import json

import numpy as np
import pytest

import fastrnn
from fastrnn import losses, metrics
from fastrnn.metrics import AUC, F1Score, Mean, MeanMetricWrapper, Precision, R2Score, Recall, Sum

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


# -- counts ----------------------------------------------------------------------------------------


def counted(y, p, threshold, weight=None):
    """TP, FP, TN, FN, one prediction after the other."""
    counts = dict.fromkeys(("tp", "fp", "tn", "fn"), 0.0)
    for label, value, w in zip(y, p, np.ones(len(y)) if weight is None else weight, strict=True):
        positive = value > threshold
        counts[("tp" if label else "fp") if positive else ("fn" if label else "tn")] += w
    return [*counts.values()]


COUNTS = [metrics.TruePositives, metrics.FalsePositives, metrics.TrueNegatives,
          metrics.FalseNegatives]


@pytest.mark.parametrize("thresholds", [
    None, 0.3, [0.7, 0.2, 0.2], [0.0, 0.5, 1.0], [0.0, 0.25, 0.5, 0.75, 1.0]
], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_counts(thresholds, weighted):
    y = RNG.integers(0, 2, 40)
    p = np.round(RNG.uniform(size=40), 1).astype(np.float32)  # many lie on thresholds
    p[3] = np.nan
    weight = RNG.uniform(size=40) if weighted else None
    given = [thresholds or 0.5] if np.ndim(thresholds) == 0 else thresholds
    expected = np.array([counted(y, p, np.float32(t), weight) for t in given]).T
    for cls, counts in zip(COUNTS, expected, strict=True):
        metric = cls(thresholds)
        for part in (slice(0, 7), slice(7, 8), slice(8, 40)):
            metric.update_state(y[part], p[part], None if weight is None else weight[part])
        found = metric.result()
        assert isinstance(found, float) == (len(given) == 1)
        np.testing.assert_allclose(found, counts if len(given) > 1 else counts[0])
    tp, fp, _, fn = expected
    for cls, other in ((Precision, fp), (Recall, fn)):
        found = np.atleast_1d(cls(thresholds)(y, p, weight))
        np.testing.assert_allclose(found, np.where(tp, tp / np.maximum(tp + other, 1e-9), 0))


def test_precision_and_recall_of_a_column_and_of_the_largest():
    y = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    p = np.array([[0.5, 0.4, 0.1], [0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.3, 0.4, 0.3]])
    assert Precision(class_id=2)(y, p) == 0.5
    assert Recall(class_id=0, thresholds=0.4)(y, p) == 0.5
    assert Precision(top_k=1)(y, p) == 0.5 and Recall(top_k=1)(y, p) == 0.5
    assert Precision(top_k=2)(y, p) == 0.5 and Recall(top_k=2)(y, p) == 1
    # Of equal predictions the first counts as larger: the last row's 0.3 of the first column.
    assert Recall(top_k=2, class_id=0)(y, p) == 1 and Recall(top_k=2, class_id=2)(y, p) == 1
    assert Recall(top_k=1, class_id=1)(y, p, sample_weight=[1, 0, 1, 1]) == 0
    assert Precision(top_k=5)(y, p) == pytest.approx(1 / 3)  # all of three


def test_area_under_curves():
    y, p = RNG.integers(0, 2, 60), RNG.uniform(size=60).round(2)
    # The area under ROC is how often a positive lies above a negative, half of the ties.
    above = p[y == 1][:, None] - p[y == 0]
    exact = (above > 0).mean() + (above == 0).mean() / 2
    assert AUC(num_thresholds=10001)(y, p) == pytest.approx(exact, abs=1e-6)
    assert AUC(num_thresholds=201)(y, p) == pytest.approx(exact, abs=0.01)
    lower, middle, upper = (
        AUC(summation_method=m)(y, p) for m in ("minoring", "interpolation", "majoring")
    )
    assert lower < middle < upper
    z = np.log(p.clip(0.001, 0.999) / (1 - p.clip(0.001, 0.999)))
    assert AUC(from_logits=True)(y, z) == pytest.approx(AUC()(y, p.clip(0.001, 0.999)))
    for curve in ("ROC", "pr", "PRGAIN"):
        assert AUC(curve=curve)([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9]) == pytest.approx(1)
    assert AUC()([], []) == 0


def test_area_of_each_label():
    y, p = RNG.integers(0, 2, (30, 3)), RNG.uniform(size=(30, 3))
    each = [AUC()(y[:, i], p[:, i]) for i in range(3)]
    assert AUC(multi_label=True)(y, p) == pytest.approx(np.mean(each))
    weighted = AUC(multi_label=True, num_labels=3, label_weights=[1, 2, 3])
    assert weighted(y, p) == pytest.approx(np.dot(each, [1, 2, 3]) / 6)
    assert AUC()(y, p) == pytest.approx(AUC()(y.ravel(), p.ravel()))
    by_row = RNG.uniform(size=30)
    assert AUC()(y, p, by_row) == pytest.approx(AUC()(y.ravel(), p.ravel(), by_row.repeat(3)))


@pytest.mark.parametrize("average", [None, "micro", "macro", "weighted"])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_f_scores(average, threshold):
    y, p = np.eye(3)[RNG.integers(0, 3, 20)], RNG.uniform(size=(20, 3))
    weight = RNG.uniform(size=20)
    positive = p == p.max(axis=1, keepdims=True) if threshold is None else p > threshold
    if average == "micro":
        columns = [(y.ravel(), positive.ravel(), weight.repeat(3))]
    else:
        columns = [(y[:, i], positive[:, i], weight) for i in range(3)]
    each = []
    for labels, values, w in columns:
        tp, fp, _, fn = counted(labels, values, 0.5, w)
        each.append(5 * tp / (5 * tp + 4 * fn + fp))  # beta is 2
    shares = (y * weight[:, None]).sum(axis=0) / weight.sum()
    expected = {"weighted": np.dot(each, shares) if average == "weighted" else 0, None: each}
    expected = expected.get(average, np.mean(each))
    metric = metrics.FBetaScore(average, 2.0, threshold)
    np.testing.assert_allclose(metric(y, p, weight), expected, rtol=1e-5)
    one = metrics.FBetaScore(average, 1.0, threshold)(y, p)
    np.testing.assert_allclose(F1Score(average, threshold)(y, p), one)


def test_share_of_the_variance():
    y, p = RNG.normal(size=(20, 2)), RNG.normal(size=(20, 2))
    each = 1 - ((y - p) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(R2Score(None)(y, p), each, rtol=1e-5)
    assert R2Score()(y, p) == pytest.approx(each.mean(), rel=1e-5)
    adjusted = 1 - (1 - each.mean()) * 39 / (40 - 3 - 1)  # as in Keras, of entries
    assert R2Score(num_regressors=3)(y, p) == pytest.approx(adjusted, rel=1e-5)
    with pytest.warns(UserWarning, match="39 regressors for 40 samples"):
        assert R2Score(num_regressors=39)(y, p) == pytest.approx(each.mean(), rel=1e-5)
    assert R2Score()([[1.0], [1.0]], [[0.0], [2.0]]) == 0  # nothing to explain
    weight = RNG.integers(0, 3, 20)
    repeated = R2Score()(y.repeat(weight, axis=0), p.repeat(weight, axis=0))
    assert R2Score()(y, p, weight) == pytest.approx(repeated, rel=1e-5)


def test_sums_and_roots():
    values = RNG.normal(size=(4, 3))
    total = Sum()
    total.update_state(values[:1])
    total.update_state(values[1:], sample_weight=[1, 0, 2])
    assert total.result() == pytest.approx(values[0].sum() + values[1].sum() + 2 * values[3].sum())
    total.reset_state()
    assert total([2, 3]) == 5 and total(4) == 9
    y, p = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    root = metrics.RootMeanSquaredError()
    assert root(y, p) == pytest.approx(np.sqrt(((y - p) ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize("steps", [(), (3,)])
def test_one_of_the_largest(steps):
    classes, p = RNG.integers(0, 6, (8, *steps)), RNG.uniform(size=(8, *steps, 6))
    place = (p > np.take_along_axis(p, classes[..., None], -1)).sum(axis=-1)
    for k in (1, 2, 5, 9):
        expected = pytest.approx((place < k).mean())
        assert metrics.SparseTopKCategoricalAccuracy(k)(classes, p) == expected
        assert metrics.SparseTopKCategoricalAccuracy(k)(classes[..., None], p) == expected
        assert metrics.TopKCategoricalAccuracy(k)(np.eye(6)[classes], p) == expected
        ranks = np.argsort(-p, axis=-1)
        by_ids = metrics.SparseTopKCategoricalAccuracy(k, from_sorted_ids=True)
        assert by_ids(classes, ranks) == expected
    assert metrics.sparse_top_k_categorical_accuracy([0], [[np.nan, 0.5]]).tolist() == [False]


def test_a_class_that_does_not_count():
    y, p = np.array([[0, -1], [1, 2]]), RNG.uniform(0.1, 1, (2, 2, 3))
    each = losses.sparse_categorical_crossentropy(y, p, ignore_class=-1)

    def metric(y, *args):
        return metrics.SparseCategoricalCrossentropy(ignore_class=-1)(y, p, *args)

    assert metric(y) == pytest.approx(each.mean())  # as in Keras it is counted all the same
    for weight in (np.ones((2, 2)), RNG.uniform(size=(2, 2))):
        expected = (each * weight).sum() / (weight * (y >= 0)).sum()
        assert metric(y, weight) == metric(y[..., None], weight) == pytest.approx(expected)


# -- in training -----------------------------------------------------------------------------------

# Metrics of one column, of classes as one-hot labels, and of numbers.
OF_BATCHES = {
    "binary": [
        metrics.Precision(), metrics.Recall(0.3), metrics.AUC(), AUC(curve="PR", name="pr"),
        *(cls() for cls in COUNTS), F1Score("micro", 0.5), metrics.BinaryAccuracy(),
    ],
    "classes": [
        metrics.Precision(top_k=2), metrics.Recall([0.2, 0.4], name="at"), F1Score(),
        metrics.AUC(multi_label=True), metrics.TopKCategoricalAccuracy(2), metrics.KLDivergence(),
        metrics.CategoricalHinge(), metrics.CosineSimilarity(), metrics.FBetaScore("weighted", 2.0),
    ],
    "numbers": [
        R2Score(), metrics.RootMeanSquaredError(), metrics.LogCoshError(), metrics.Poisson(),
        metrics.MeanSquaredLogarithmicError(), metrics.MeanAbsolutePercentageError(),
        metrics.Hinge(), metrics.SquaredHinge(), losses.huber,
    ],
}


def trained(kind, **options):
    """A model for such metrics, with data of 11 rows."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(11, 4)).astype(np.float32)
    activation, y = {
        "binary": ("sigmoid", rng.integers(0, 2, (11, 1))),
        "classes": ("softmax", np.eye(3)[rng.integers(0, 3, 11)]),
        "numbers": ("softplus", np.abs(rng.normal(size=(11, 2)))),
    }[kind]
    fastrnn.utils.set_random_seed(2)
    model = fastrnn.Sequential([fastrnn.layers.Dense(y.shape[1], activation=activation)])
    model.compile("sgd", "mse", **options)
    return model, x, y


@pytest.mark.parametrize("kind", OF_BATCHES)
@pytest.mark.parametrize("weighted", [False, True])
def test_in_batches_as_all_at_once(kind, weighted):
    given = OF_BATCHES[kind]
    model, x, y = trained(kind, **{"weighted_metrics" if weighted else "metrics": given})
    weight = np.linspace(0, 2, 11) if weighted else None
    found = [
        model.evaluate(x, y, batch_size=size, sample_weight=weight, verbose=0, return_dict=True)
        for size in (3, 11)
    ]
    p = model.predict(x, verbose=0)
    for metric in map(metrics.get, given):
        metric.reset_state()
        metric.update_state(y, p, weight)
        for results in found:
            np.testing.assert_allclose(results[metric.name], metric.result(), rtol=1e-5)


@pytest.mark.parametrize("kind", OF_BATCHES)
def test_what_joins_batches_does_not_tell_them_apart(kind):
    model, x, y = trained(kind)
    p = model.predict(x, verbose=0)
    for metric in map(metrics.get, OF_BATCHES[kind]):
        if metric.joins_batches:
            metric.reset_state()
            for rows in (slice(0, 4), slice(4, 5), slice(5, 11)):
                metric.update_state(y[rows], p[rows])
            parts = metric.result()
            metric.reset_state()
            np.testing.assert_allclose(parts, metric(y, p), rtol=1e-6)
    assert not metrics.Hinge().joins_batches and not metrics.SquaredHinge().joins_batches


def test_a_metric_of_ones_own_promises_nothing_of_batches():
    assert metrics.BinaryAccuracy().joins_batches and metrics.BinaryAccuracy().works_anywhere

    class Derived(metrics.BinaryAccuracy):
        pass

    assert not Derived().joins_batches and not Derived().works_anywhere

    class Outspoken(metrics.BinaryAccuracy):
        joins_batches = True

    assert Outspoken().joins_batches


class Variables(metrics.Metric):
    """Sums up in variables, as Keras's guide has it."""

    def __init__(self, name="mine", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.seen = self.add_variable(shape=(), initializer="zeros", name="seen")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(np.sum(y_pred))
        self.seen.assign(self.seen + len(y_pred))

    def result(self):
        return self.total / self.seen


class Values(metrics.Metric):
    """Keeps values, and forgets them itself."""

    def __init__(self, name="mine", **kwargs):
        super().__init__(name=name, **kwargs)
        self.values = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.values += [float(p) for p in np.ravel(y_pred)]

    def result(self):
        return float(np.mean(self.values))

    def reset_state(self):
        self.values = []


class Wrapped(Variables):
    """Counts in a variable that is the result, beside a metric of fastrnn's inside of it."""

    def __init__(self, name="mine", **kwargs):
        super().__init__(name, **kwargs)
        self.inner = Mean()
        self.figure = self.add_variable()

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.inner.update_state(y_pred)
        self.figure.assign(self.inner.result())

    def result(self):
        return self.figure


class Derived(Mean):
    """Takes the place of what a mean forgets, with a field that it has only later."""

    def __init__(self, name="mine", **kwargs):
        super().__init__(name=name, **kwargs)
        self.scale = self.add_weight(initializer="ones")

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred)

    def reset_state(self):
        super().reset_state()
        self.scale.assign(1.0)

    def result(self):
        return super().result() * self.scale


@pytest.mark.parametrize("kind", [Variables, Values, Wrapped, Derived])
def test_metrics_written_in_keras_style(kind):
    x = RNG.normal(size=(10, 3)).astype(np.float32)
    model = fastrnn.Sequential([fastrnn.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[kind()])
    history = model.fit(x, np.zeros(10), batch_size=4, epochs=2, verbose=0).history
    assert [type(figure) for figure in history["mine"]] == [float] * 2
    expected = pytest.approx(model.predict(x).mean(), rel=1e-5)
    for _ in range(2):  # the second begins anew
        assert model.evaluate(x, np.zeros(10), batch_size=4, verbose=0)[1] == expected
    metric = kind()
    assert float(metric([0, 0], np.array([1.0, 2.0]))) == 1.5
    assert float(metric([0, 0], np.array([6.0]))) == 3
    metric.reset_state()
    assert float(metric([0], np.array([4.0]))) == 4
    assert metric.get_config() == {"name": "mine", "dtype": None}


def test_variables_of_a_metric():
    metric = Wrapped(dtype="float64")
    metric.inner.kept = metric.inner.add_variable((2,), "ones", "int32", name="kept")
    names = ["total", "seen", "variable", "kept"]
    assert [v.name for v in metric.variables] == names
    kept = metric.variables[-1]
    assert (kept.shape, kept.dtype, kept.path) == ((2,), np.int32, "kept")
    kept.assign_add([1, 2])
    kept.assign_sub(1)
    kept += 1
    assert kept is metric.variables[-1]
    np.testing.assert_array_equal(kept.numpy(), [2, 3])
    np.testing.assert_array_equal(np.asarray(kept, float), [2.0, 3.0])
    for a, b in (
        (kept + 1, [3, 4]), (6 / kept, [3, 2]), (-kept, [-2, -3]), (kept * kept, [4, 9]),
        (np.array([1, 1]) - kept, [-1, -2]), (kept > 2, [False, True]), (kept[1:], [3]),
        (np.maximum(kept, 3), [3, 3]), (fastrnn.ops.square(kept), [4, 9]), (np.sum(kept), 5),
    ):
        assert isinstance(a, (np.ndarray, np.generic))
        np.testing.assert_array_equal(a, b)
    kept.numpy()[0] = kept.value[0] = kept[:][0] = 9  # copies
    assert [int(k) for k in kept] == [2, 3]
    assert metric.total.dtype == np.float64 and not metric.total
    metric.reset_state()
    np.testing.assert_array_equal(kept, [0, 0])
    with pytest.raises(ValueError, match=r"'kept' of a metric: expected .* \(2,\); got shape \(3"):
        kept.assign([1, 2, 3])
    with pytest.raises(TypeError, match=r"Metric 'mine' \(Wrapped\): add_variable: .*name='tp'"):
        metric.add_weight("tp")

    class Early(metrics.Metric):
        def __init__(self):
            self.tp = self.add_weight()

    with pytest.raises(RuntimeError, match=r"Metric Early: call super\(\).__init__\(\) before"):
        Early()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.Metric()([0], [0]), r"Metric: the class has no update_state\(self, "),
        (lambda: metrics.Metric().result(), r"Metric: the class has no result\(self\); write it"),
        (lambda: losses.Loss()([0.0], [0.0]), r"Loss: the class has no rows\(self, target"),
        (lambda: fastrnn.regularizers.Regularizer()(0), r"Regularizer: .* no __call__\(self, w\)"),
        (lambda: fastrnn.regularizers.Regularizer().add_gradient(0, 0), "no add_gradient"),
        (lambda: fastrnn.constraints.Constraint()(0), "Constraint: the class has no __call__"),
        (lambda: fastrnn.initializers.Initializer()(0), "Initializer: the class has no __call__"),
    ],
)
def test_what_a_class_of_ones_own_must_write(call, message):
    with pytest.raises(NotImplementedError, match=message):
        call()


def test_masked_steps_as_in_keras():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 2)), rng.integers(0, 2, (4, 3, 1))
    x[0, 1:], x[1, 2] = 0, 0
    model = fastrnn.Sequential([
        fastrnn.layers.Masking(), fastrnn.layers.SimpleRNN(3, return_sequences=True),
        fastrnn.layers.Dense(1, activation="sigmoid"),
    ])
    own = [metrics.TruePositives(0.3), metrics.RootMeanSquaredError(), metrics.MeanSquaredError()]
    model.compile("sgd", "mse", metrics=own, weighted_metrics=[metrics.TruePositives(0.3)])
    p = model.predict(x, verbose=0)
    mask, weight = (x != 0).any(axis=-1), rng.uniform(size=(4, 3))
    found = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    right = ((p > 0.3) & (y == 1))[..., 0]
    error = ((p - y) ** 2)[..., 0]
    assert found["true_positives"] == right.sum()
    assert found["weighted_true_positives"] == pytest.approx((right * weight).sum())
    assert found["root_mean_squared_error"] == pytest.approx(np.sqrt(error.mean()))
    assert found["mean_squared_error"] == pytest.approx(error[mask].mean())


def test_steps_that_rows_do_not_have_never_count():
    x = [RNG.normal(size=(n, 2)) for n in (3, 1, 2)]
    model = fastrnn.Sequential([
        fastrnn.layers.SimpleRNN(3, return_sequences=True),
        fastrnn.layers.Dense(1, activation="sigmoid"),
    ])
    own = [metrics.TruePositives(0.0), metrics.FalsePositives(0.0), metrics.RootMeanSquaredError()]
    model.compile("sgd", "mse", metrics=own)
    y = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1]])[..., None]
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert (found["true_positives"], found["false_positives"]) == (4, 2)
    errors = [model.predict(row[None], verbose=0)[0] - y[i, : len(row)] for i, row in enumerate(x)]
    expected = np.sqrt(np.mean(np.concatenate(errors) ** 2))
    assert found["root_mean_squared_error"] == pytest.approx(expected, rel=1e-5)


def test_several_figures_of_one_metric(tmp_path, capsys):
    model, x, y = trained("classes", metrics=[F1Score(), Precision([0.2, 0.6])])
    table = tmp_path / "log.csv"
    for verbose in (1, 2):
        history = model.fit(
            x, y, epochs=2, verbose=verbose, validation_data=(x, y),
            callbacks=[fastrnn.callbacks.CSVLogger(table)],
        ).history
        assert "f1_score: " in capsys.readouterr().out
    assert [h.shape for h in history["f1_score"]] == [(3,), (3,)]
    assert history["val_precision"][0].shape == (2,)
    rows = [*csv.DictReader(table.read_text().splitlines())]
    assert json.loads(rows[-1]["f1_score"].strip('"')) == history["f1_score"][-1].tolist()
    loss, f1, precision = model.evaluate(x, y, verbose=0)
    assert isinstance(loss, float) and f1.shape == (3,) and precision.shape == (2,)
    model, x, y = trained("binary", metrics=[F1Score(threshold=0.5)])  # of one column: a number
    assert isinstance(model.evaluate(x, y, verbose=0)[1], float)


@pytest.mark.parametrize(("name", "best"), [
    ("auc", "up"), ("precision", "up"), ("f1_score", "up"), ("false_negatives", "down"),
    ("root_mean_squared_error", "down"), ("kl_divergence", "down"), ("cosine_similarity", "up"),
])
def test_which_way_is_better(name, best):
    model, x, y = trained("classes", metrics=[name if name != "f1_score" else F1Score("macro")])
    callback = fastrnn.callbacks.EarlyStopping(f"val_{name}", patience=1)
    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[callback])
    assert callback._upwards() == (best == "up")


def test_functions_of_losses_as_metrics():
    y, p = np.abs(RNG.normal(size=(5, 2))), np.abs(RNG.normal(size=(5, 2)))
    for function in (losses.huber, losses.log_cosh, losses.cosine_similarity, losses.poisson,
                     losses.mean_squared_error, metrics.hinge):
        metric = metrics.get(function)
        assert (metric.name, metric.direction) == (function.__name__, "down")
        assert metric(y, p) == pytest.approx(function(y, p).mean())
        config = metrics.serialize(function)
        assert (config["module"], config["class_name"]) == ("builtins", "function")
        same = metrics.get(config)
        assert same.name == metric.name and same(y, p) == pytest.approx(metric.result())
    assert metrics.get("cosine_similarity")(y, p) == pytest.approx(
        -losses.cosine_similarity(y, p).mean()
    )
    assert metrics.get(losses.Huber(2.0)).direction == "down"
    assert metrics.get(lambda y, p: y).direction is None


@pytest.mark.parametrize("metric", [
    Precision(np.array([0.2, 0.7]), 2, 1, "p"), Recall(0.25), AUC(50, "pr", "majoring"),
    AUC(thresholds=(0.7, 0.2)), AUC(multi_label=True, num_labels=2, label_weights=np.ones(2)),
    F1Score("micro", 0.5), metrics.FBetaScore(beta=2.0), R2Score(None, 2),
    metrics.TrueNegatives([0.1, 0.2]), metrics.SparseTopKCategoricalAccuracy(3),
    metrics.SparseCategoricalCrossentropy(ignore_class=-1), metrics.LogCoshError(), Sum(),
], ids=lambda metric: type(metric).__name__)  # fmt: skip
def test_configs(metric):
    config = json.loads(json.dumps(metrics.serialize(metric)))
    assert config["module"] == "keras.metrics" and config["registered_name"] is None
    same = metrics.get(config)
    assert type(same) is type(metric) and same.get_config() == metric.get_config()
    if hasattr(metric, "thresholds"):
        assert same.thresholds == metric.thresholds


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
        (lambda: Precision(1.5), ValueError, r"thresholds must lie in \[0, 1\]; got 1.5"),
        (lambda: Recall([0.5, None]), ValueError, "Recall: thresholds"),
        (lambda: Precision(top_k=0), ValueError, "top_k must be a whole number from 1 on"),
        (lambda: Precision(class_id=3)([[1, 0]], [[0.5, 0.5]]), ValueError, "class_id=3: .*(1, 2)"),
        (lambda: Precision(class_id=0)([1], [0.5]), ValueError, "class_id=0"),
        (lambda: Precision()([1, 2], [[0.5, 0.5]]), ValueError, r"one shape; got \(2,\)"),
        (lambda: AUC(1), ValueError, "num_thresholds must be a whole number from 2 on; got 1"),
        (lambda: AUC(thresholds=[2.0]), ValueError, "AUC: thresholds must lie"),
        (lambda: AUC(curve="ROCK"), ValueError, "curve must be one of ROC, PR, PRGAIN; got 'ROCK'"),
        (lambda: AUC(summation_method="none"), ValueError, "must be one of interpolation, minor"),
        (lambda: AUC(num_labels=3), ValueError, "num_labels is for multi_label=True only"),
        (lambda: AUC(multi_label=True, num_labels=2)(np.ones((1, 3)), np.ones((1, 3))), ValueError,
         r"\(rows, 2\); got shape \(1, 3\)"),
        (lambda: F1Score("mean"), ValueError, "F1Score: average must be one of"),
        (lambda: F1Score(threshold=0.0), ValueError, r"threshold must lie in \(0, 1\]"),
        (lambda: metrics.FBetaScore(beta=0.0), ValueError, "beta must be a number above 0"),
        (lambda: F1Score()([1, 0], [0.5, 0.5]), ValueError, r"\(rows, columns\); got shape \(2,\)"),
        (lambda: R2Score("mean"), ValueError, "class_aggregation must be one of"),
        (lambda: R2Score(num_regressors=-1), ValueError, "num_regressors must be a whole number"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
