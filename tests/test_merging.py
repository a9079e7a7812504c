"""Add, Concatenate, Dot and their like: values, gradients, masks, configs, bad input."""

import json

import numpy as np
import pytest
from engine_cases import assert_gradient
from test_layers import ENGINES

from fastrnn import engines, layers
from fastrnn.layers import (
    Add,
    Average,
    Concatenate,
    Dot,
    Embedding,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from fastrnn.masks import StepMask

BY_ENTRY = [Add, Average, Multiply, Maximum, Minimum]
A = np.array([[True, True, False, False], [False] * 4, [True] * 4])
B = np.array([[False, True, True, False], [False, True, False, True], [True, False, False, False]])


def inputs(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def masks_of(*masks):
    return [StepMask.of(mask) for mask in masks]


def check(layer, x, masks=None):
    """All gradients against finite differences; shapes too."""
    layer.build([part.shape for part in x])
    y, tape = layer.forward(layer.convert_input(x), masks)
    assert y.shape == layer.compute_output_shape([part.shape for part in x])
    dy = np.random.default_rng(1).normal(size=y.shape)
    gradients = layer.backward(tape, dy)
    assert [d.shape for d in gradients] == [part.shape for part in x]

    def loss():
        return float((layer.forward(x, masks)[0] * dy).sum())

    for d, part in zip(gradients, x, strict=True):
        assert d.flags.c_contiguous
        assert_gradient(d, loss, part)
    return y


# -- entry by entry ------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", BY_ENTRY)
@pytest.mark.parametrize("shapes", [
    [(3, 4)], [(3, 4)] * 2, [(3, 4, 2)] * 3, [(3, 4, 2), (3, 1, 2)], [(3, 2), (3, 4, 2)],
    [(3, 1, 1), (3, 2), (3, 4, 1)],
], ids=str)  # fmt: skip
def test_gradients(engine, make, shapes):
    with engines.using(engine):
        check(make(dtype="float64"), inputs(*shapes))


@pytest.mark.parametrize("make", BY_ENTRY)
@pytest.mark.parametrize("masks", [
    masks_of(A, B, A), masks_of(A, None, B), masks_of(None, A, None), masks_of(B, B, A),
], ids=["all", "two", "one", "same"])  # fmt: skip
def test_gradients_with_masks(make, masks):
    check(make(dtype="float64"), inputs(*[(3, 4, 2)] * 3), masks)


@pytest.mark.parametrize("engine", ENGINES)
def test_subtract(engine):
    with engines.using(engine):
        a, b = inputs((3, 4, 2), (3, 2))
        y = check(Subtract(dtype="float64"), [a, b])
        np.testing.assert_array_equal(y, a - b[:, None])


def test_values():
    a, b, c = inputs(*[(3, 4)] * 3)
    expected = {
        Add: a + b + c, Average: (a + b + c) / 3, Multiply: a * b * c,
        Maximum: np.maximum(np.maximum(a, b), c), Minimum: np.minimum(np.minimum(a, b), c),
    }
    for make, value in expected.items():
        np.testing.assert_allclose(make(dtype="float64")([a, b, c]), value, rtol=1e-12)


def test_masked_steps_are_no_rivals():
    a, b = inputs(*[(3, 4, 2)] * 2)
    y = Maximum(dtype="float64")([a, b], mask=[A, B])
    np.testing.assert_array_equal(y[A & ~B], a[A & ~B])
    np.testing.assert_array_equal(y[B & ~A], b[B & ~A])
    np.testing.assert_array_equal(y[A & B], np.maximum(a, b)[A & B])
    y = Multiply(dtype="float64")([a, b], mask=[A, B])
    np.testing.assert_array_equal(y[A & ~B], a[A & ~B])
    np.testing.assert_array_equal(y[A & B], (a * b)[A & B])
    assert not y[~(A | B)].any()


def test_the_first_of_equal_ones_has_the_gradient():
    x = [np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), np.array([[1.0, 3.0]])]
    largest, smallest = [[1, 0], [0, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]]
    for make, expected in ((Maximum, largest), (Minimum, smallest)):
        layer = make(dtype="float64")
        _, tape = layer.forward(x)
        found = layer.backward(tape, np.ones((1, 2)))
        np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("make", [*BY_ENTRY, Subtract])
def test_a_step_counts_where_it_counts_in_any_input(make):
    x = inputs(*[(3, 4, 2)] * 2)
    layer = make()
    np.testing.assert_array_equal(layer.compute_mask(x, masks_of(A, B)), A | B)
    same = StepMask.of(A)
    assert layer.compute_mask(x, [same, same]) is same
    assert layer.compute_mask(x, masks_of(A, None)) is None
    assert layer.compute_mask(x, None) is None


# -- Concatenate -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("axis", "shapes"), [
    (-1, [(3, 2), (3, 1), (3, 4)]), (-1, [(3, 4, 2), (3, 4, 3)]), (1, [(3, 4, 2), (3, 1, 2)]),
    (2, [(3, 4, 2)]), (-2, [(3, 4, 2), (3, 2, 2)]),
])  # fmt: skip
def test_concatenate(engine, axis, shapes):
    x = inputs(*shapes)
    with engines.using(engine):
        y = check(Concatenate(axis, dtype="float64"), x)
        np.testing.assert_array_equal(y, np.concatenate(x, axis=axis))


def test_masks_of_concatenate():
    x = inputs((3, 4, 2), (3, 4, 5))
    features, steps = Concatenate(), Concatenate(axis=1)
    np.testing.assert_array_equal(features.compute_mask(x, masks_of(A, B)), A | B)
    assert np.asarray(features.compute_mask(x, masks_of(A, None))).all()
    both = steps.compute_mask(x, masks_of(A, B))
    np.testing.assert_array_equal(both, np.concatenate([A, B], axis=1))
    half = np.asarray(steps.compute_mask(x, masks_of(None, B)))
    assert half[:, :4].all()
    np.testing.assert_array_equal(half[:, 4:], B)
    assert steps.compute_mask(x, [None, None]) is None
    assert steps.compute_mask(x, None) is None


# -- Dot ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("axes", "shapes", "formula"), [
    (1, [(3, 4), (3, 4)], "bi,bi->b"), (-1, [(3, 4, 2), (3, 5, 2)], "bti,bsi->bts"),
    ((1, 2), [(3, 2), (3, 4, 2)], "bi,bti->bt"), ((2, 1), [(3, 4, 2), (3, 2)], "bti,bi->bt"),
    ((1, 2), [(3, 4, 2), (3, 5, 4)], "bit,bsi->bts"), (1, [(3, 4, 2), (3, 4, 5)], "bit,bis->bts"),
    ((3, 2), [(2, 2, 3, 4), (2, 3, 4)], "bxyi,bzi->bxyz"),
])  # fmt: skip
def test_dot(engine, normalize, axes, shapes, formula):
    x = inputs(*shapes)
    with engines.using(engine):
        y = check(Dot(axes, normalize, dtype="float64"), x)
    if normalize:
        given = [axes] * 2 if isinstance(axes, int) else axes
        x = [part / np.linalg.norm(part, axis=a, keepdims=True)
             for part, a in zip(x, given, strict=True)]  # fmt: skip
    np.testing.assert_allclose(y, np.einsum(formula, *x).reshape(y.shape), atol=1e-12)
    assert y.ndim > 1


def test_a_vector_of_zeros_has_no_direction():
    layer = Dot(1, normalize=True, dtype="float64")
    x = [np.zeros((1, 3)), np.ones((1, 3))]
    y, tape = layer.forward(x)
    assert y == 0 and all(np.isfinite(d).all() for d in layer.backward(tape, np.ones((1, 1))))
    assert layer.compute_mask(x, masks_of(A, A)) is None


# -- around them ---------------------------------------------------------------------------


def test_layers_as_functions():
    a, b = inputs((2, 3), (2, 3))
    for name in ("add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate"):
        layer = getattr(layers, name.capitalize())
        np.testing.assert_array_equal(getattr(layers, name)([a, b]), layer()([a, b]))
    np.testing.assert_array_equal(layers.dot([a, b], axes=1), Dot(1)([a, b]))
    assert layers.concatenate([a, b], axis=-1, name="both").shape == (2, 6)


def test_lookups_are_carried_out():
    table = Embedding(5, 3)
    table.build((None, 4))
    x, _ = table.forward(np.array([[1, 2, 0, 4]], np.int32))
    y, tape = Add().forward([x, x])
    np.testing.assert_array_equal(y, 2 * engines.dense(x))
    assert len(Add().backward(tape, y)) == 2


@pytest.mark.parametrize("layer", [Add(), Concatenate(axis=1), Dot((1, 2), normalize=True), Dot(1)])
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def test_unknown_sizes():
    assert Add().compute_output_shape([(None, None, 3), (None, 5, 3)]) == (None, None, 3)
    assert Add().compute_output_shape([(None, 3), (None, None, 3)]) == (None, None, 3)
    assert Concatenate().compute_output_shape([(None, None, 3), (2, 5, 3)]) == (2, 5, 6)
    assert Concatenate(1).compute_output_shape([(None, None, 3), (None, 5, 3)]) == (None, None, 3)
    assert Dot((2, 1)).compute_output_shape([(None, None, 3), (None, 3)]) == (None, None)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Add().build((None, 3)), "expected a list of inputs"),
    (lambda: Add()(np.ones((2, 3))), r"'add.*a list of inputs; got ndarray of shape \(2, 3\)"),
    (lambda: Add()([]), "one or more inputs"),
    (lambda: Subtract()(inputs((2, 3))), "a list of 2 inputs; got 1 of shapes"),
    (lambda: Add()(inputs((2, 3), (2, 4))), r"equal, or 1; got 2 of shapes .*3\).*4\)"),
    (lambda: Add().build([(4, 3), (5, 3)]), "equally many rows"),
    (lambda: Concatenate()(inputs((2, 3, 4), (2, 2, 4))), "differ in axis -1 only"),
    (lambda: Concatenate()(inputs((2, 3, 4), (2, 4))), "equally many axes, with axis -1"),
    (lambda: Concatenate(3)(inputs((2, 3), (2, 4))), "with axis 3"),
    (lambda: Concatenate(0)(inputs((2, 3), (2, 3))), "with axis 0"),
    (lambda: Dot("1"), "axes must be a whole number or two of them; got '1'"),
    (lambda: Dot((1, 2, 3)), "axes must be"),
    (lambda: Dot(0)(inputs((2, 3), (2, 3))), "axes=0 behind the batch"),
    (lambda: Dot(1)(inputs((2, 3), (2, 4))), "equal size in axes=1"),
    (lambda: Dot(1)(inputs((2, 3))), "a list of 2 inputs"),
    (lambda: Add()(inputs((2, 3, 1), (2, 3, 1)), mask=[None]), "a list of 2 masks"),
    (lambda: Add()(inputs((3, 5, 1), (3, 5, 1)), mask=[A, B]), r"mask of shape \(3, 5\)"),
])  # fmt: skip
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
