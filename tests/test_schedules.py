"""Learning-rate schedules: their values in Keras, their way into optimizers, configs and files."""

import json
import math

import numpy as np
import pytest

import fastrnn
from fastrnn import optimizers
from fastrnn.optimizers import SGD, Adam, schedules
from fastrnn.optimizers.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

STEPS = (0, 1, 5, 10, 17, 33, 59)

# Of Keras 3.15.1, at those steps.
KERAS = [
    (ExponentialDecay(0.1, 7, 0.9),
     [0.1, 0.0985061, 0.0927505, 0.0860265, 0.0774238, 0.0608536, 0.0411462]),
    (ExponentialDecay(0.1, 7, 0.9, staircase=True),
     [0.1, 0.1, 0.1, 0.09, 0.081, 0.06561, 0.0430467]),
    (InverseTimeDecay(0.1, 7, 0.9),
     [0.1, 0.0886076, 0.0608696, 0.04375, 0.0313901, 0.0190736, 0.0116473]),
    (InverseTimeDecay(0.1, 7, 0.9, staircase=True),
     [0.1, 0.1, 0.1, 0.0526316, 0.0357143, 0.0217391, 0.0121951]),
    (PiecewiseConstantDecay([3, 10], [1.0, 0.5, 0.1]),
     [1, 1, 0.5, 0.5, 0.1, 0.1, 0.1]),
    (PolynomialDecay(0.1, 10),
     [0.1, 0.09001, 0.05005, 0.0001, 0.0001, 0.0001, 0.0001]),
    (PolynomialDecay(0.1, 10, end_learning_rate=0.01, power=2.0, cycle=True),
     [0.1, 0.0829, 0.0325, 0.01, 0.012025, 0.0127563, 0.010025]),
    (PolynomialDecay(0.1, 10, end_learning_rate=0.01, power=0.5),
     [0.1, 0.0953815, 0.0736396, 0.01, 0.01, 0.01, 0.01]),
    (CosineDecay(0.1, 15),
     [0.1, 0.0989074, 0.075, 0.025, 0, 0, 0]),
    (CosineDecay(0.1, 15, alpha=0.2, warmup_target=0.5, warmup_steps=5),
     [0.1, 0.18, 0.5, 0.4, 0.138197, 0.1, 0.1]),
    (CosineDecayRestarts(0.1, 5),
     [0.1, 0.0904508, 0.1, 0.05, 0.0975528, 0.00244718, 0.0345491]),
    (CosineDecayRestarts(0.1, 5, t_mul=1.0, m_mul=0.8, alpha=0.1),
     [0.1, 0.0914058, 0.082, 0.0676, 0.0401597, 0.0181512, 0.0107382]),
    (CosineDecayRestarts(0.1, 4, t_mul=1.5, m_mul=0.7),
     [0.1, 0.0853553, 0.0653109, 0.049, 0.00573191, 0.0239739, 0.0151116]),
]


@pytest.mark.parametrize(("schedule", "expected"), KERAS, ids=lambda a: type(a).__name__)
def test_values_of_keras(schedule, expected):
    found = [schedule(step) for step in STEPS]
    assert all(type(rate) is float for rate in found)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-8)


def test_restarts_come_at_their_steps():
    schedule = CosineDecayRestarts(1.0, 10, t_mul=3.0, m_mul=0.5)
    for restart, step in enumerate((0, 10, 40, 130, 400, 1210)):  # 10 * (3**i - 1) / 2
        assert schedule(step) == pytest.approx(0.5**restart)
        if step:
            assert schedule(step - 1) < schedule(step)


@pytest.mark.parametrize("schedule", [pair[0] for pair in KERAS], ids=lambda a: type(a).__name__)
def test_configs(schedule):
    config = json.loads(json.dumps(schedules.serialize(schedule)))
    assert config["module"] == "keras.optimizers.schedules" and config["registered_name"] is None
    assert config["class_name"] == type(schedule).__name__
    again = schedules.deserialize(config)
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert [again(step) for step in STEPS] == [schedule(step) for step in STEPS]


@pytest.mark.parametrize("cls", [optimizers.SGD, optimizers.RMSprop, Adam, optimizers.AdamW])
def test_every_optimizer_takes_one(cls):
    schedule = ExponentialDecay(0.5, 1, 0.5)
    optimizer = cls(schedule)
    for step in range(3):
        assert optimizer.learning_rate == 0.5 ** (step + 1)
        optimizer.apply([np.ones(2)], [np.ones(2)] if step == 0 else None)
    again = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    assert again.get_config()["learning_rate"] == schedules.serialize(schedule)
    assert again.learning_rate == 0.5  # the steps are no part of the config
    again.load_state(optimizer.state())
    again.build([np.ones(2)])
    assert again.learning_rate == 0.5**4


def test_steps_that_only_gather_gradients_count_too():
    optimizer = SGD(ExponentialDecay(1.0, 1, 0.5), gradient_accumulation_steps=2)
    w = np.zeros(1)
    for _ in range(2):
        optimizer.apply([np.ones(1)], [w] if not optimizer.steps else None)
    assert optimizer.learning_rate == 0.25 and w[0] == -0.5


def test_a_rate_that_is_a_schedule_cannot_be_set_to_a_number():
    optimizer = SGD(ExponentialDecay(0.5, 1, 0.5))
    with pytest.raises(TypeError, match="SGD: the learning rate is that of a schedule"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = PolynomialDecay(0.25, 10)
    assert optimizer.learning_rate == 0.25
    other = SGD(0.1)
    other.learning_rate = ExponentialDecay(0.5, 1, 0.5)
    assert other.learning_rate == 0.5


class Warmed(LearningRateSchedule):
    """One of one's own."""

    def __init__(self, rate, steps=4):
        self.rate = rate
        self.steps = steps

    def __call__(self, step):
        return self.rate * min(1, (step + 1) / self.steps)


def test_a_schedule_of_ones_own():
    optimizer = SGD(Warmed(0.5))
    assert optimizer.learning_rate == 0.125
    config = schedules.serialize(Warmed(0.5))
    assert config["config"] == {"rate": 0.5, "steps": 4} and config["registered_name"] == "Warmed"
    again = schedules.deserialize(config, custom_objects={"Warmed": Warmed})
    assert again(3) == 0.5
    with pytest.raises(ValueError, match="Warmed"):
        schedules.deserialize(config)
    with pytest.raises(NotImplementedError, match="Bare must define __call__"):
        type("Bare", (LearningRateSchedule,), {})()(0)


def test_a_schedule_is_saved_with_the_model(tmp_path):
    model = fastrnn.Sequential([fastrnn.Input((3,)), fastrnn.layers.Dense(1)])
    model.compile(Adam(CosineDecay(0.1, 100)), "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 1)), batch_size=1, verbose=0)
    model.save(tmp_path / "model.fastrnn")
    again = fastrnn.models.load_model(tmp_path / "model.fastrnn")
    assert again.optimizer.learning_rate == model.optimizer.learning_rate
    assert again.optimizer.learning_rate == pytest.approx(0.05 * (1 + math.cos(math.pi * 0.04)))
    assert again.optimizer.get_config() == model.optimizer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExponentialDecay(0.1, 0, 0.5), "ExponentialDecay: decay_steps must be above 0"),
        (lambda: InverseTimeDecay(0.1, -1, 0.5), "decay_steps must be above 0; got -1"),
        (lambda: PolynomialDecay(0.1, 0), "decay_steps must be above 0"),
        (lambda: CosineDecay(0.1, 0), "decay_steps must be above 0"),
        (lambda: CosineDecayRestarts(0.1, 0), "first_decay_steps must be above 0"),
        (lambda: CosineDecayRestarts(0.1, 1, t_mul=0.5), "t_mul must be from 1 on; got 0.5"),
        (lambda: PiecewiseConstantDecay([1, 2], [1.0, 2.0]), "got 2 boundaries and 2 values"),
        (lambda: PiecewiseConstantDecay([2, 1], [1.0, 2.0, 3.0]), "ascending order"),
        (lambda: schedules.deserialize({"class_name": "CosineDacay"}), "Did you mean 'CosineDecay"),
        (lambda: SGD({"class_name": "Cosine"}), "learning-rate schedule"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
