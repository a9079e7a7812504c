"""Initializers, the seeds behind them, and the registry that all such things share."""

import random as python_random

import numpy as np
import pytest

from fastrnn import initializers, random
from fastrnn.initializers import (
    Constant,
    GlorotUniform,
    Identity,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)
from fastrnn.registry import Configurable, Registry

SCALED = {  # variance times fan, and which fan
    "glorot_uniform": (1.0, "avg"), "glorot_normal": (1.0, "avg"),
    "he_uniform": (2.0, "in"), "he_normal": (2.0, "in"),
    "lecun_uniform": (1.0, "in"), "lecun_normal": (1.0, "in"),
}
NAMES = [*SCALED, "zeros", "ones", "constant", "orthogonal", "identity", "random_uniform",
         "random_normal", "truncated_normal", "variance_scaling"]


@pytest.mark.parametrize("name", SCALED)
def test_scaled_distributions_have_the_variance_they_promise(name):
    scale, fan = SCALED[name]
    n = {"in": 300, "avg": (300 + 100) / 2}[fan]
    values = initializers.get(name)((300, 100))
    assert values.dtype == np.float32
    assert values.var() == pytest.approx(scale / n, rel=0.03)
    assert abs(values.mean()) < 5 * np.sqrt(scale / n / values.size)
    if name.endswith("uniform"):
        limit = np.sqrt(3 * scale / n)
        assert 0.99 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
    else:  # cut off at two standard deviations of the normal before
        assert np.abs(values).max() <= 2 * np.sqrt(scale / n) / 0.8796 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1)), ((7,), (7, 7)), ((3, 5), (3, 5)), ((2, 3, 5), (6, 10))],
)
def test_fans(shape, expected):
    assert initializers.fans(shape) == expected
    assert initializers.fans((2, 3, 5), input_axes=[0], output_axes=[1, 2]) == (2, 15)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (2, 3, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orthogonal(shape, dtype):
    q = Orthogonal(gain=2.0, seed=1)(shape, dtype)
    assert (q.shape, q.dtype) == (shape, np.dtype(dtype))
    q = q.reshape(-1, shape[-1])
    small = q @ q.T if len(q) < len(q.T) else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_orthogonal_is_uniform_in_sign():
    # Without the signs of R's diagonal, QR of a normal matrix has a first row of one sign.
    signs = [np.sign(Orthogonal(seed=s)((1, 1))[0, 0]) for s in range(40)]
    assert {-1.0, 1.0} == set(signs)


def test_ranges():
    values = RandomUniform(-0.3, 0.7, seed=0)((1000,))
    assert values.min() >= -0.3 and values.max() < 0.7 and values.std() > 0.25
    values = RandomNormal(1.0, 0.5, seed=0)((4000,))
    assert values.mean() == pytest.approx(1, abs=0.05)
    assert values.std() == pytest.approx(0.5, rel=0.05)
    values = TruncatedNormal(1.0, 0.5, seed=0)((4000,), "float64")
    assert np.abs(values - 1).max() <= 1.0 and values.dtype == np.float64


def test_constants():
    assert (Constant(2.5)((2, 2)) == 2.5).all()
    assert (initializers.get("zeros")((3,)) == 0).all()
    assert (initializers.get("one")((3,)) == 1).all()
    np.testing.assert_array_equal(Identity(3.0)((2, 3)), [[3, 0, 0], [0, 3, 0]])
    assert Identity()((2, 2)).dtype == np.float32


def test_a_seed_gives_the_same_values_for_each_call():
    one = GlorotUniform(seed=3)
    np.testing.assert_array_equal(one((4, 5)), one((4, 5)))
    np.testing.assert_array_equal(one((4, 5)), GlorotUniform(seed=3)((4, 5)))
    assert (one((4, 5)) != GlorotUniform(seed=4)((4, 5))).any()
    assert (GlorotUniform()((4, 5)) != GlorotUniform()((4, 5))).any()


def test_set_random_seed():
    def draw():
        values = GlorotUniform()((3, 3)), RandomNormal()((3,)), random.Stream().uniform(4)
        return [*values, np.random.random(2), python_random.random()]

    random.set_random_seed(5)
    first = draw()
    random.set_random_seed(5)
    for a, b in zip(first, draw(), strict=True):
        np.testing.assert_array_equal(a, b)
    random.set_random_seed(6)
    assert (draw()[0] != first[0]).any()


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "one"])
def test_set_random_seed_takes_whole_numbers(seed):
    with pytest.raises(ValueError, match="set_random_seed: expected an integer"):
        random.set_random_seed(seed)


def test_a_stream_depends_on_seed_and_call_alone():
    one, other = random.Stream(9), random.Stream(9)
    first = one.uniform((3, 4))
    one.uniform((1000,))  # the size of a draw does not move the next
    third = one.uniform((3, 4))
    np.testing.assert_array_equal(first, other.uniform((3, 4)))
    other.next()
    np.testing.assert_array_equal(third, other.uniform((3, 4)))
    assert (first != third).any()
    assert first.dtype == np.float32 and 0 <= first.min() and first.max() < 1


@pytest.mark.parametrize("name", NAMES)
def test_names_configs_and_back(name):
    made = initializers.get(name)
    cls = type(made)
    assert type(initializers.get(cls.__name__)) is cls
    assert initializers.get(made) is made
    assert type(initializers.get(cls)) is cls
    config = initializers.serialize(made)
    assert config["module"] == "keras.initializers"
    assert config["class_name"] == cls.__name__
    assert config["registered_name"] is None
    again = initializers.get(config)
    assert type(again) is cls and again.get_config() == made.get_config()
    if "seed" in made.get_config():
        seeded = cls.from_config(made.get_config() | {"seed": 4})
        np.testing.assert_array_equal(
            seeded((3, 4)), initializers.get(initializers.serialize(seeded))((3, 4))
        )


def test_config_of_a_named_setting_has_no_other_arguments():
    assert GlorotUniform(seed=2).get_config() == {
        "seed": 2, "input_axes": None, "output_axes": None
    }


def test_none_and_functions():
    assert initializers.get(None) is None and initializers.serialize(None) is None

    def halves(shape, dtype=None):
        return np.full(shape, 0.5, dtype)

    assert initializers.get(halves) is halves
    config = initializers.serialize(halves)
    assert config["class_name"] == "function" and config["config"] == "halves"
    with pytest.raises(ValueError, match="the function 'halves', which fastrnn does not have"):
        initializers.get(config)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: initializers.get("glorot_unifrom"), ValueError, "Did you mean 'glorot_uniform'?"),
        (lambda: initializers.get(3), TypeError, "initializer: expected a name"),
        (lambda: initializers.get({"config": {}}), ValueError, "'class_name'"),
        (lambda: GlorotUniform(seed=1.5), ValueError, "seed: expected a whole number"),
        (lambda: GlorotUniform(seed=-1), ValueError, "seed: expected a whole number"),
        (lambda: Orthogonal()((3,)), ValueError, r"two axes; got \(3,\)"),
        (lambda: Identity()((3,)), ValueError, "shape of a matrix"),
        (lambda: VarianceScaling(scale=0), ValueError, "scale must be positive"),
        (lambda: VarianceScaling(mode="fan"), ValueError, "mode must be one of"),
        (lambda: VarianceScaling(distribution="cauchy"), ValueError, "distribution must be"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_registry_knows_a_class_of_ones_own_by_its_module():
    class Mine(initializers.Initializer):
        def __init__(self, by=1.0):
            self.by = by

    config = initializers.serialize(Mine(2.0))
    assert config["registered_name"] == "Mine" and config["module"] == __name__
    assert config["config"] == {"by": 2.0}


def test_configurable_reads_arguments_through_kwargs():
    class Base(Configurable):
        def __init__(self, a, b=2):
            self.a, self.b = a, b

    class Derived(Base):
        def __init__(self, c, **kwargs):
            super().__init__(**kwargs)
            self.c = c

    config = Derived(3, a=1).get_config()
    assert config == {"a": 1, "b": 2, "c": 3}
    assert Derived.from_config(config).get_config() == config


def test_registry_names_do_not_depend_on_case_or_underscores():
    kinds = Registry("kind", "keras.kinds")

    @kinds.add("rms_prop")
    class RMSProp(Configurable):
        pass

    for name in ("rms_prop", "RMSProp", "rmsprop", "RMSPROP"):
        assert kinds.find(name) is RMSProp
