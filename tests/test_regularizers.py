"""Regularizers and constraints."""

import numpy as np
import pytest
from engine_cases import assert_gradient

from fastrnn import constraints, initializers, regularizers
from fastrnn.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from fastrnn.regularizers import L1, L1L2, L2, OrthogonalRegularizer

REGULARIZERS = [
    L1(0.3), L2(0.2), L1L2(0.1, 0.4), OrthogonalRegularizer(0.5),
    OrthogonalRegularizer(0.5, mode="columns"),
]


@pytest.fixture
def w():
    return np.random.default_rng(1).normal(size=(4, 3))


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_gradient_by_differences(regularizer, w):
    dw = np.ones_like(w)
    regularizer.add_gradient(w, dw)
    assert_gradient(dw - 1, lambda: regularizer(w), w)


def test_penalties():
    w = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert L1(0.1)(w) == pytest.approx(0.6)
    assert L2(0.1)(w) == pytest.approx(1.4)
    assert L1L2(0.1, 0.1)(w) == pytest.approx(2.0)
    assert regularizers.get("l1_l2")(w) == 0
    assert isinstance(L2()(w.astype(np.float32)), float)
    # Rows (1, 0) and (1, 1): cosine 1 / sqrt(2), in each of the two orders, over one pair.
    assert OrthogonalRegularizer(1.0)(np.array([[1.0, 0], [1, 1]])) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("name", ["l1", "l2", "l1_l2", "orthogonal_regularizer"])
def test_regularizer_names(name):
    made = regularizers.get(name)
    again = regularizers.get(regularizers.serialize(made))
    assert type(again) is type(made) and again.get_config() == made.get_config()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L1(-1), ValueError, "L1: l1 must be a number from 0 on; got -1"),
        (lambda: L2(float("nan")), ValueError, "l2 must be a number"),
        (lambda: L1L2(l2="x"), ValueError, "l2 must be a number"),
        (lambda: OrthogonalRegularizer(mode="diagonal"), ValueError, "'rows' or 'columns'"),
        (lambda: OrthogonalRegularizer()(np.ones(3)), ValueError, r"matrix; .* shape \(3,\)"),
        (lambda: regularizers.get("l3"), ValueError, "Unknown regularizer: 'l3'"),
        (lambda: regularizers.get(np.sum), TypeError, "add_gradient"),
    ],
)
def test_regularizer_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_constraints(w):
    w *= 2
    norms = np.linalg.norm(w, axis=0)
    limit = float(np.sort(norms)[1])
    np.testing.assert_allclose(
        np.linalg.norm(MaxNorm(limit)(w), axis=0), np.minimum(norms, limit), rtol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(UnitNorm()(w), axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(UnitNorm(axis=1)(w), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(NonNeg()(w), np.where(w > 0, w, 0))
    half = MinMaxNorm(0.5, limit, rate=0.5)(w)
    np.testing.assert_allclose(
        np.linalg.norm(half, axis=0), (norms + np.clip(norms, 0.5, limit)) / 2, rtol=1e-6
    )


@pytest.mark.parametrize("name", ["max_norm", "non_neg", "unit_norm", "min_max_norm", "NonNeg"])
def test_constraint_names(name):
    made = constraints.get(name)
    assert constraints.serialize(made)["module"] == "keras.constraints"
    again = constraints.get(constraints.serialize(made))
    assert type(again) is type(made) and again.get_config() == made.get_config()
    assert made(np.ones((2, 2), np.float32)).dtype == np.float32


def test_unknown_constraint():
    with pytest.raises(ValueError, match="Did you mean 'max_norm'"):
        constraints.get("maxnrom")


@pytest.mark.parametrize("module", [constraints, initializers, regularizers])
def test_snake_case_names_stand_for_the_classes(module):
    names = [name for name in module.__all__ if isinstance(getattr(module, name), type)]
    short = {name for name in names if name.islower()}
    assert {module.get(name).__class__ for name in short} == {getattr(module, n) for n in short}
    bases = {"Constraint", "Initializer", "Regularizer"}
    assert {getattr(module, n) for n in short} == {
        getattr(module, name) for name in set(names) - short - bases
    }
