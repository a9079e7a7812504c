"""Losses: gradients by differences, weights and masks against plain sums, labels that cannot be."""

import numpy as np
import pytest
from engine_cases import assert_gradient

from fastrnn import Input, Sequential, engines, layers, losses, ops, optimizers
from fastrnn.losses import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from fastrnn.models import load_model

LOSSES = {
    "binary": BinaryCrossentropy(),
    "binary, smoothed": BinaryCrossentropy(label_smoothing=0.2),
    "categorical": CategoricalCrossentropy(),
    "categorical, smoothed": CategoricalCrossentropy(label_smoothing=0.2),
    "sparse": SparseCategoricalCrossentropy(),
    "squared": MeanSquaredError(),
    "absolute": MeanAbsoluteError(),
    "percentage": MeanAbsolutePercentageError(),
    "positive, logarithmic": MeanSquaredLogarithmicError(),
    "huber": Huber(),
    "huber, wide": Huber(delta=2.5),
    "log cosh": LogCosh(),
    "cosine": CosineSimilarity(),
    "positive, poisson": Poisson(),
    "shares, divergence": KLDivergence(),
    "hinge": Hinge(),
    "binary labels, hinge": Hinge(),
    "squared hinge": SquaredHinge(),
    "categorical hinge": CategoricalHinge(),
    "binary focal": BinaryFocalCrossentropy(),
    "binary focal, with all": BinaryFocalCrossentropy(True, 0.3, 1.5, label_smoothing=0.2),
    "binary focal, plain": BinaryFocalCrossentropy(gamma=0),
    "categorical focal": CategoricalFocalCrossentropy(),
    "categorical focal, with all": CategoricalFocalCrossentropy(0.4, 3.0, label_smoothing=0.2),
}


@pytest.fixture(params=["reference", "cpu"])
def engine(request):
    """Run the test on each engine."""
    with engines.using(request.param) as engine:
        yield engine


def problem(name, shape, logits, dtype=np.float64):
    """Labels and an output for a loss: probabilities, logits or any numbers."""
    rng = np.random.default_rng(4)
    output = rng.normal(size=shape)
    if "positive" in name:
        y, output = rng.uniform(size=shape), np.exp(output)
    elif "shares" in name:
        y, output = rng.uniform(size=shape), rng.uniform(0.1, 0.9, shape)
    elif "binary" in name:
        y = rng.integers(0, 2, shape)
        output = output if logits else 1 / (1 + np.exp(-output))
    elif name == "sparse" or "categorical" in name:
        y = rng.integers(0, shape[-1], shape[:-1])
        y = np.eye(shape[-1])[y] if name != "sparse" else y
        # Rows of probabilities need not sum to one: the loss divides by the sum.
        output = output if logits else np.exp(output)
    else:
        y = rng.normal(size=shape)
    return y, output.astype(dtype)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (4, 2, 3)])
def test_gradient_by_differences(name, logits, shape, engine):
    if "categorical" in name and shape[-1] == 1:
        shape = (5, 2)
    loss = LOSSES[name]
    y, output = problem(name, shape, logits)
    target = loss.target(y, output.shape, output.dtype)
    weight = np.random.default_rng(5).uniform(0.1, 1, output.shape[:-1]).reshape(-1)

    def total():
        return float((loss.flat(target, output, weight, logits)[0] * weight).sum())

    _, gradient = loss.flat(target, output, weight, logits)
    assert gradient.shape == output.shape
    assert_gradient(gradient, total, output)


@pytest.mark.parametrize("kind", ["binary", "categorical", "sparse"])
def test_logits_never_overflow(kind, engine):
    shape = (4, 1) if kind == "binary" else (4, 2)
    y = np.array([[0], [1], [0], [1]])
    y = {"binary": y, "categorical": np.hstack([1 - y, y]), "sparse": y}[kind]
    z = np.array([[300.0], [-300.0], [-300.0], [300.0]], np.float32)
    z = z if kind == "binary" else np.hstack([np.zeros_like(z), z])
    loss = LOSSES[kind]
    values, gradient = loss.flat(
        loss.target(y, shape, np.float32), z, np.ones(4, np.float32), True
    )
    np.testing.assert_allclose(values, [300, 300, 0, 0], atol=1e-6)
    np.testing.assert_allclose(gradient[:, -1], [1, -1, 0, 0], atol=1e-6)


def test_probabilities_are_clipped_in_single_precision(engine):
    # 1 - 1e-7 is 1 - 2**-23 in float32, so the two ends differ.
    assert BinaryCrossentropy()([[1.0]], [[0.0]]) == pytest.approx(16.118, abs=1e-3)
    assert BinaryCrossentropy()([[0.0]], [[1.0]]) == pytest.approx(15.942, abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("steps", [(), (3,)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "sum", "none", None,
                                       "mean_with_sample_weight"])
def test_reductions_and_weights(name, steps, reduction, engine):
    shape = (4, *steps, 2)
    y, output = problem(name, shape, False)
    loss = LOSSES[name]
    config = loss.get_config() | {"reduction": reduction}
    config["dtype"] = "float64"
    each = type(loss)(**config | {"reduction": "none"})(y, output)
    assert each.shape == shape[:-1]
    rng = np.random.default_rng(6)
    weights = [None, rng.uniform(size=4), rng.uniform(size=(4, 1)), rng.uniform(size=shape[:-1])]
    for weight in weights:
        found = type(loss)(**config)(y, output, sample_weight=weight)
        w = np.ones(4) if weight is None else weight
        w = w if w.shape == shape[:-1] else w.reshape(4, *[1] * len(steps))
        weighted = each * w
        if reduction in ("none", None):
            np.testing.assert_allclose(found, weighted, rtol=1e-6)
            continue
        over = {"sum": 1, "mean_with_sample_weight": np.broadcast_to(w, each.shape).sum()}
        expected = weighted.sum() / over.get(reduction, each.size)
        assert found == pytest.approx(expected)
        assert isinstance(found, float)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "none"])
@pytest.mark.parametrize(
    "weights", [[1, 2, 0, 3], np.array([1, 2, 0, 3]), np.array([1.0, 2, 0, 3]),
                np.array([1, 2, 0, 3], np.float32)],
    ids=["a list", "whole numbers", "float64", "float32"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_any_type(name, reduction, weights, dtype, engine):
    y, output = problem(name, (4, 2), False)
    config = LOSSES[name].get_config() | {"reduction": reduction, "dtype": dtype}
    kind = type(LOSSES[name])
    each = kind(**config | {"reduction": "none"})(y, output)
    found = kind(**config)(y, output, sample_weight=weights)
    expected = each * np.asarray(weights)
    expected = expected if reduction == "none" else expected.mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert kind(**config).row_weights((4,), dtype, np.asarray(weights)).dtype == dtype


def test_a_mask_divides_by_the_steps_that_count():
    mask = np.array([[True, True, False], [True, False, False]])
    weight = np.array([2.0, 1.0])
    loss = MeanSquaredError()
    np.testing.assert_allclose(
        loss.row_weights((2, 3), np.float64, None, mask), np.array([1, 1, 0, 1, 0, 0]) / 3
    )
    np.testing.assert_allclose(
        loss.row_weights((2, 3), np.float64, weight, mask), np.array([2, 2, 0, 1, 0, 0]) / 3
    )
    assert (loss.row_weights((2, 3), np.float64, None, np.zeros((2, 3), bool)) == 0).all()
    total = MeanSquaredError(reduction="mean_with_sample_weight")
    np.testing.assert_allclose(
        total.row_weights((2, 3), np.float64, weight, mask), np.array([2, 2, 0, 1, 0, 0]) / 5
    )


IGNORED = np.array([[0, -1, 2], [1, 3, -1]])

# Of Keras 3.15.1 with ignore_class: for each reduction, without weights and with them.
KERAS_IGNORED = {
    -1: {"sum_over_batch_size": (1.76128, 1.5746), "sum": (7.04513, 6.29839),
         "mean_with_sample_weight": (1.76128, 1.92084)},
    2: {"sum_over_batch_size": (1.93821, 1.46751), "sum": (9.69103, 7.33754),
        "mean_with_sample_weight": (1.93821, 2.21284)},
}


@pytest.mark.parametrize("ignored", KERAS_IGNORED)
@pytest.mark.parametrize("reduction", KERAS_IGNORED[-1])
def test_a_class_that_does_not_count(ignored, reduction, engine):
    rng = np.random.default_rng(0)
    output = rng.random((2, 3, 4))
    output /= output.sum(-1, keepdims=True)
    y = IGNORED if ignored == -1 else np.abs(IGNORED)
    loss = SparseCategoricalCrossentropy(ignore_class=ignored, reduction=reduction)
    for weight, expected in zip((None, rng.random((2, 3))), KERAS_IGNORED[ignored][reduction],
                                strict=True):
        assert loss(y, output, sample_weight=weight) == pytest.approx(expected, abs=1e-5)
    each = losses.sparse_categorical_crossentropy(y, output, ignore_class=ignored)
    assert ((each == 0) == (y == ignored)).all()
    assert losses.get(losses.serialize(loss)).ignore_class == ignored


def test_a_class_that_does_not_count_has_no_gradient(engine):
    loss, z = SparseCategoricalCrossentropy(ignore_class=-1), np.random.default_rng(1)
    z = z.normal(size=(2, 3, 4))
    target = loss.target(IGNORED, z.shape, z.dtype)
    mask = np.array([[True, True, False], [True, True, True]])
    weight = loss.row_weights((2, 3), z.dtype, None, loss.counted(target, mask))
    np.testing.assert_allclose(weight, np.array([1, 0, 0, 1, 1, 0]) / 3)

    def total():
        return float((loss.flat(target, z, weight, True)[0] * weight).sum())

    _, gradient = loss.flat(target, z, weight, True)
    assert_gradient(gradient, total, z)
    assert (gradient[IGNORED == -1] == 0).all()
    none = np.full((2, 3), -1)
    assert loss(none, np.full((2, 3, 4), 0.25)) == 0


def test_training_without_the_class_that_does_not_count():
    import fastrnn

    x = np.random.default_rng(2).normal(size=(2, 3, 5))

    def trained(y, loss, weight=None):
        fastrnn.utils.set_random_seed(1)
        model = fastrnn.Sequential([fastrnn.layers.Dense(4, activation="softmax")])
        model.compile(fastrnn.optimizers.SGD(0.1), loss)
        model.fit(x, y, epochs=3, verbose=0, sample_weight=weight)
        return model.get_weights()

    found = trained(IGNORED, SparseCategoricalCrossentropy(ignore_class=-1))
    expected = trained(
        np.maximum(IGNORED, 0), SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
        IGNORED >= 0,
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


NAMES = {
    losses.binary_crossentropy: (BinaryCrossentropy, "binary"),
    losses.categorical_crossentropy: (CategoricalCrossentropy, "categorical"),
    losses.sparse_categorical_crossentropy: (SparseCategoricalCrossentropy, "sparse"),
    losses.mean_squared_error: (MeanSquaredError, "squared"),
    losses.mean_absolute_error: (MeanAbsoluteError, "absolute"),
    losses.mean_absolute_percentage_error: (MeanAbsolutePercentageError, "percentage"),
    losses.mean_squared_logarithmic_error: (MeanSquaredLogarithmicError, "positive"),
    losses.huber: (Huber, "huber"),
    losses.log_cosh: (LogCosh, "log cosh"),
    losses.cosine_similarity: (CosineSimilarity, "cosine"),
    losses.poisson: (Poisson, "positive"),
    losses.kl_divergence: (KLDivergence, "shares"),
    losses.hinge: (Hinge, "hinge"),
    losses.squared_hinge: (SquaredHinge, "hinge"),
    losses.categorical_hinge: (CategoricalHinge, "categorical"),
    losses.binary_focal_crossentropy: (BinaryFocalCrossentropy, "binary"),
    losses.categorical_focal_crossentropy: (CategoricalFocalCrossentropy, "categorical"),
}


@pytest.mark.parametrize("function", NAMES, ids=lambda function: function.__name__)
def test_functions_and_names(function):
    name, (cls, kind) = function.__name__, NAMES[function]
    for identifier in (name, cls.__name__, cls, function, losses.serialize(cls())):
        assert type(losses.get(identifier)) is cls
    loss = losses.get(name)
    assert loss.name == {"huber": "huber_loss"}.get(name, name)
    assert losses.serialize(loss)["module"] == "keras.losses"
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()
    y, output = problem(kind, (4, 3), False)
    values = function(y, output)
    assert values.shape == (4,)
    assert cls()(y, output) == pytest.approx(values.mean())


# By hand: labels, predictions, and the loss of each row.
BY_HAND = {
    "percentage": ([[2.0, 4.0], [0.0, 1.0]], [[1.0, 5.0], [0.0, 1.0]], [37.5, 0]),
    "positive, logarithmic": ([[0.0], [np.e - 1]], [[np.e - 1], [-3.0]], [1, 1]),
    "huber": ([[0.0, 0.0], [0.0, 0.0]], [[0.5, 3.0], [-1.0, 0.0]], [1.3125, 0.25]),
    "huber, wide": ([[0.0]], [[3.0]], [4.375]),
    "log cosh": ([[0.0], [0.0]], [[100.0], [-100.0]], [99.306853, 99.306853]),
    "cosine": ([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]], [[6.0, 8.0], [1.0, 1.0], [-2.0, 0.0]],
               [-1, 0, 1]),
    "positive, poisson": ([[2.0], [0.0]], [[1.0], [3.0]], [1, 3]),
    "shares, divergence": ([[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]], [0.693147, 0]),
    "hinge": ([[-1.0, 1.0], [1.0, 1.0]], [[-2.0, 0.5], [0.0, -1.0]], [0.25, 1.5]),
    "squared hinge": ([[-1.0, 1.0], [1.0, 1.0]], [[-2.0, 0.5], [0.0, -1.0]], [0.125, 2.5]),
    "categorical hinge": ([[0.0, 1.0], [1.0, 0.0]], [[0.5, 1.0], [3.0, 1.0]], [0.5, 0]),
    "binary focal": ([[1.0], [0.0]], [[0.5], [0.5]], [0.173287, 0.173287]),
    "categorical focal": ([[0.0, 1.0]], [[0.5, 0.5]], [0.0433217]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_by_hand(name, engine):
    y, output, expected = BY_HAND[name]
    loss = LOSSES[name]
    each = type(loss)(**loss.get_config() | {"reduction": "none"})
    np.testing.assert_allclose(each(y, output), expected, rtol=1e-5, atol=1e-5)
    assert loss(y, output) == pytest.approx(np.mean(expected), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_is_of_the_output_s_type(name, dtype, engine):
    y, output = problem(name, (4, 3), False, np.dtype(dtype))
    target = LOSSES[name].target(y, output.shape, output.dtype)
    found = LOSSES[name].flat(target, output, np.full(4, 0.25, dtype), False)
    assert [part.dtype for part in found] == [dtype, dtype]


def test_zeros_are_signs_where_no_other_label_is_there(engine):
    p = [[0.5], [0.5], [-2.0]]
    assert Hinge(reduction="none")([0, 1, 0], p).tolist() == [1.5, 0.5, 0]
    assert Hinge(reduction="none")([0, 1, -1], p).tolist() == [1, 0.5, 0]
    assert SquaredHinge(reduction="none")([0, 1, 0], p).tolist() == [2.25, 0.25, 0]
    assert Hinge()(np.zeros((0, 1)), np.zeros((0, 1))) == 0


def test_batches_are_looked_at_one_by_one_where_the_loss_asks_for_it():
    import fastrnn

    model = fastrnn.Sequential([fastrnn.layers.Dense(1, use_bias=False)])
    model.build((None, 1))
    model.set_weights([np.array([[0.5]])])
    x, y = np.ones((4, 1)), np.array([0, 1, 0, -1])
    # The first batch holds 0 and 1 alone: its 0 counts as -1, that of the second does not.
    for loss, expected in (("hinge", 1.5 + 0.5 + 1 + 1.5), ("squared_hinge", 5.75)):
        model.compile("sgd", loss)
        assert model.evaluate(x, y, batch_size=2, verbose=0) == pytest.approx(expected / 4)


def test_where_several_are_largest_the_gradient_is_shared(engine):
    loss = CategoricalHinge()
    _, gradient = loss.flat(
        np.array([[1.0, 0, 0]]), np.array([[0.0, 0.5, 0.5]]), np.ones(1), False
    )
    np.testing.assert_allclose(gradient, [[-1, 0.5, 0.5]])


def test_a_prediction_of_zero_length_has_a_gradient(engine):
    loss = CosineSimilarity()
    values, gradient = loss.flat(np.array([[1.0, 0]]), np.zeros((1, 2)), np.ones(1), False)
    assert values[0] == 0 and np.isfinite(gradient).all() and gradient[0, 0] < 0


@pytest.mark.parametrize("cls", [CosineSimilarity, CategoricalHinge, KLDivergence])
def test_a_prediction_of_one_axis_is_a_row(cls):
    y, p = [0.25, 0.75], [0.5, 0.5]
    assert cls()(y, p) == pytest.approx(cls()([y], [p]))
    assert Huber()(y, p) == pytest.approx(Huber()([y], [p]))  # a mean either way


def test_a_weight_for_each_class(engine):
    y, p = np.eye(2), np.array([[0.5, 0.5], [0.25, 0.75]])
    each = losses.categorical_focal_crossentropy(y, p, alpha=[0.5, 2.0])
    plain = losses.categorical_focal_crossentropy(y, p, alpha=1.0)
    np.testing.assert_allclose(each, plain * [0.5, 2], rtol=1e-6)
    loss = CategoricalFocalCrossentropy([0.5, 2.0])
    assert losses.get(losses.serialize(loss)).alpha == [0.5, 2.0]


@pytest.mark.parametrize("name", ["binary focal", "categorical focal"])
def test_focal_losses_are_of_probabilities(name):
    # Keras clips them even where it was given logits.
    assert LOSSES[name].activation is None
    z = np.array([[0.0, 300.0]], np.float32)
    values, gradient = LOSSES[name].flat(
        np.array([[1.0, 0.0]], np.float32), z, np.ones(1, np.float32), True
    )
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


SHORT = {
    "mse": MeanSquaredError, "mae": MeanAbsoluteError, "bce": BinaryCrossentropy,
    "mape": MeanAbsolutePercentageError, "msle": MeanSquaredLogarithmicError, "kld": KLDivergence,
}


@pytest.mark.parametrize("alias", [*SHORT, *map(str.upper, SHORT)])
def test_short_names(alias):
    assert type(losses.get(alias)) is SHORT[alias.lower()]


def test_labels_of_any_plain_type_and_shape():
    output = np.array([[0.2], [0.7], [0.6]], np.float32)
    expected = BinaryCrossentropy()(np.array([[0.0], [1.0], [1.0]], np.float32), output)
    for y in ([0, 1, 1], [[0], [1], [1]], np.array([False, True, True]),
              np.array([0, 1, 1], ">i8"), np.array([0, 9, 1, 9, 1])[::2],
              np.array([0, 1, 1], object), np.array([0, 1, 1], np.uint8)):
        assert BinaryCrossentropy()(y, output) == pytest.approx(expected, rel=1e-6)
    frozen = np.array([0.0, 1, 1])
    frozen.flags.writeable = False
    assert BinaryCrossentropy()(frozen, output) == pytest.approx(expected, rel=1e-6)
    assert BinaryCrossentropy()([0.5, 1, 0.25], output) > 0  # soft labels


BAD_LABELS = [
    ("binary", [0, 2, 1], (3, 1), ValueError, "expected labels 0 or 1 .*; got 2"),
    ("binary", [0, -1, 1], (3, 1), ValueError, "got -1"),
    ("binary", [0, np.nan, 1], (3, 1), ValueError, "y: expected finite numbers; got nan in row 1"),
    ("binary", [0, 1, 1], (3, 2), ValueError, r"shape .*\(3, 2\); got shape \(3,\).*sparse_cat"),
    ("binary", [0, 1], (3, 1), ValueError, r"\(3, 1\); got shape \(2, 1\)"),
    ("binary", ["no", "yes", "no"], (3, 1), TypeError, "y: expected numbers; got .* dtype <U3"),
    ("binary", [[0], [1, 1], [0]], (3, 1), ValueError, "y: .*different lengths"),
    ("sparse", [0, 3, 1], (3, 3), ValueError, "class numbers from 0 to 2.*; got 3"),
    ("sparse", [0, -1, 1], (3, 3), ValueError, "got -1"),
    ("sparse", [0, 0.5, 1], (3, 3), ValueError, "got 0.5"),
    ("sparse", [0, np.inf, 1], (3, 3), ValueError, "got inf in row 1"),
    ("sparse", np.eye(3), (3, 3), ValueError, "For one-hot labels, use categorical_crossentropy"),
    ("categorical", [0, 1, 2], (3, 3), ValueError, "For class numbers, use sparse_categorical"),
    ("categorical", [0, 1, 2], (3, 1), ValueError, "For one column use binary_crossentropy"),
    ("categorical", np.full((3, 3), np.nan), (3, 3), ValueError, "got nan in row 0"),
    ("squared", [[1, 2], [3, 4], [5, 6]], (3, 1), ValueError, r"\(3, 1\); got shape \(3, 2\)"),
    ("squared", [1, np.inf, 2], (3, 1), ValueError, "got inf in row 1"),
]


@pytest.mark.parametrize(("name", "y", "shape", "error", "message"), BAD_LABELS)
def test_bad_labels(name, y, shape, error, message):
    with pytest.raises(error, match=message):
        LOSSES[name].target(y, shape, np.dtype(np.float32))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: losses.get("binary_crosentropy"), ValueError, "mean 'binary_crossentropy'"),
        (lambda: losses.get(lambda y, p: 0)([1], [1]), TypeError, "expected symbolic .*; got 0"),
        (lambda: losses.get(lambda y, p: np.abs(y - p))([1], [1]), TypeError, "fastrnn.ops"),
        (lambda: losses.get(lambda y, p: p[:, None])([[1, 2]], [[1, 2]]), ValueError,
         r"'<lambda>'.*expected call\(y_true, y_pred\) to give a number for each row.*\(1, 1, 2\)"),
        (lambda: MeanSquaredError(reduction="average"), ValueError, "reduction must be one of"),
        (lambda: BinaryCrossentropy(label_smoothing=2), ValueError, "label_smoothing must lie"),
        (lambda: BinaryCrossentropy(axis=0), ValueError, "only axis=-1"),
        (lambda: SparseCategoricalCrossentropy(ignore_class=-1)([5], [[0.5, 0.5]]), ValueError,
         "from 0 to 1.*; got 5"),
        (lambda: MeanSquaredError()([[1.0]], [[1.0]], [1, 2]), ValueError,
         r"one weight for each row, shape \(1,\); got shape \(2,\)"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_loss_of_ones_own():
    class Cubed(losses.Loss):
        def rows(self, target, output, weight, from_logits):
            error = output - target
            return np.abs(error**3).mean(axis=1), 3 * error * np.abs(error) * weight[:, None]

    assert Cubed()([[0.0], [1.0]], [[2.0], [1.0]]) == pytest.approx(4.0)


# -- written as a function or a call ---------------------------------------------------------------


def root(y_true, y_pred):
    return ops.sqrt(ops.mean(ops.square(y_true - y_pred)))


def by_row(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def by_entry(y_true, y_pred):
    return ops.abs(y_true - y_pred) * 2


class Pinball(losses.Loss):
    def __init__(self, q=0.9, name="pinball", **kwargs):
        super().__init__(name=name, **kwargs)
        self.q = q

    def call(self, y_true, y_pred):
        error = y_true - y_pred
        return ops.mean(ops.maximum(self.q * error, (self.q - 1) * error), axis=-1)


def of_sequences(y_true, y_pred):
    return ops.max(by_row(y_true, y_pred), axis=-1)


def wave(*shape, by=1.0):
    return np.sin(by * np.arange(np.prod(shape))).reshape(shape)


# Of three steps of SGD(0.3) on SimpleRNN(2) and Dense(2), whose weights are waves, in Keras 3.15.1.
# Whether steps come out, and whether rows are weighted.
TRAINED = {
    "row": (by_row, False, False, [2.640142, 0.552461, 0.458115]),
    "rows weighted": (by_row, False, True, [3.655568, 0.51031, 0.468806]),
    "steps": (by_row, True, False, [1.630507, 0.649424, 0.584964]),
    "entries": (by_entry, False, False, None),
    "one number": (root, False, True, [1.787337, 1.326264, 0.9718]),
    "one of steps": (root, True, False, None),
    "sequences": (of_sequences, True, True, [3.286296, 1.269467, 0.770043]),
    "class": (Pinball(0.7), False, True, [0.531629, 0.502433, 0.471509]),
    "class, sum": (Pinball(0.7, reduction="sum"), False, True, [2.658146, 1.945943, 1.260407]),
}  # fmt: skip


def trained(loss, sequences, weighted):
    model = Sequential([
        Input((4, 3)), layers.SimpleRNN(2, return_sequences=sequences), layers.Dense(2),
    ])  # fmt: skip
    model.set_weights([wave(*w.shape, by=0.7) for w in model.get_weights()])
    model.compile(optimizers.SGD(0.3), loss)
    x = wave(5, 4, 3)
    y = wave(*model.predict(x, verbose=0).shape, by=1.3)
    weight = np.linspace(0.2, 2, 5) if weighted else None
    return [model.train_on_batch(x, y, sample_weight=weight) for _ in range(3)]


@pytest.mark.parametrize("name", [name for name, case in TRAINED.items() if case[-1]])
def test_training_with_a_loss_of_ones_own_as_in_keras(name):
    *case, expected = TRAINED[name]
    np.testing.assert_allclose(trained(*case), expected, atol=2e-6)


def test_a_function_trains_as_the_loss_that_it_is():
    assert trained(by_row, False, True) == trained("mse", False, True)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", TRAINED)
def test_gradient_of_a_loss_of_ones_own(name, engine):
    given, sequences, weighted, _ = TRAINED[name]
    loss = losses.get(given)
    shape = (5, 4, 2) if sequences else (5, 2)
    output, y = wave(*shape), wave(*shape, by=1.3) + 0.05  # nowhere the same
    with engines.using(engine):
        weight = loss.row_weights(
            shape[:-1], output.dtype, np.linspace(0.2, 2, 5) if weighted else None
        )

        def value():
            rows, gradient = loss.flat(loss.target(y, shape, output.dtype), output, weight, False)
            return float((rows * weight).sum()), gradient

        assert_gradient(value()[1], lambda: value()[0], output)


def test_a_loss_of_ones_own_called_by_itself_and_in_a_file(tmp_path):
    y, p = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.5, 2.0], [2.0, 4.0]])
    assert losses.get(by_row)(y, p) == pytest.approx(0.3125)
    np.testing.assert_allclose(Pinball(0.5, reduction="none")(y, p), [0.125, 0.25])
    model = Sequential([Input((3,)), layers.Dense(2)])
    model.compile("sgd", Pinball(0.7))
    model.save(tmp_path / "model.fastrnn")
    again = load_model(tmp_path / "model.fastrnn", {"Pinball": Pinball})
    assert again.evaluate(wave(2, 3), y, verbose=0) == model.evaluate(wave(2, 3), y, verbose=0)
    model.compile("sgd", by_row)
    model.save(tmp_path / "model.fastrnn")
    again = load_model(tmp_path / "model.fastrnn", {"by_row": by_row})
    assert again.evaluate(wave(2, 3), y, verbose=0) == model.evaluate(wave(2, 3), y, verbose=0)


def test_batches_of_many_sizes_are_drawn_for_a_few():
    """Rows that come in few sizes, steps in any number: a graph for each number of rows."""
    loss = losses.get(by_row)
    for steps in range(1, 40):
        loss(np.zeros((2, steps, 3)), np.ones((2, steps, 3)))
    assert len(loss._drawn._drawn) == 1
