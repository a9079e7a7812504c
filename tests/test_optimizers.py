"""Optimizers against their formulas, written out weight by weight in float64."""

import copy
import math

import numpy as np
import pytest

import fastrnn
from fastrnn import engines, optimizers
from fastrnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lion,
    Nadam,
    RMSprop,
    schedules,
)
from fastrnn.parameters import Parameter, ParameterStore
from fastrnn.values import RowGradient

SHAPES = [(3, 4), (5,)]


@pytest.fixture(params=["reference", "cpu"])
def engine(request):
    """Run the test on each engine."""
    with engines.using(request.param) as engine:
        yield engine


def numbers(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def run(optimizer, steps=4):
    """Weights after some steps with gradients that differ from step to step."""
    weights = numbers(0)
    for step in range(steps):
        optimizer.apply(numbers(step + 1), weights)
    return weights


def by_formula(rule, steps=4):
    """The same by ``rule(w, g, state, t)``, which returns the new w and keeps a state dict."""
    weights = numbers(0)
    states = [{} for _ in weights]
    for step in range(steps):
        pairs = zip(weights, numbers(step + 1), states, strict=True)
        weights = [rule(w, g, state, step + 1) for w, g, state in pairs]
    return weights


def sgd(lr=0.01, mu=0.0, nesterov=False):
    def rule(w, g, s, t):
        m = s["m"] = mu * s.get("m", 0) - lr * g
        return w + (mu * m - lr * g if nesterov else m)

    return rule


def rmsprop(lr=0.001, rho=0.9, mu=0.0, eps=1e-7, centered=False):
    def rule(w, g, s, t):
        v = s["v"] = rho * s.get("v", 0) + (1 - rho) * g**2
        a = s["a"] = rho * s.get("a", 0) + (1 - rho) * g
        step = lr * g / np.sqrt(v - a**2 * centered + eps)
        m = s["m"] = mu * s.get("m", 0) + step
        return w - m

    return rule


def adam(lr=0.001, b1=0.9, b2=0.999, eps=1e-7, amsgrad=False, decay=0.0):
    def rule(w, g, s, t):
        w = w - w * decay * lr
        m = s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        v = s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        largest = s["h"] = np.maximum(s.get("h", 0), v)
        rate = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        return w - rate * m / (np.sqrt(largest if amsgrad else v) + eps)

    return rule


def adagrad(lr=0.001, start=0.1, eps=1e-7):
    def rule(w, g, s, t):
        a = s["a"] = s.get("a", start) + g**2
        return w - lr * g / np.sqrt(a + eps)

    return rule


def adadelta(lr=0.001, rho=0.95, eps=1e-7):
    def rule(w, g, s, t):
        a = s["a"] = rho * s.get("a", 0) + (1 - rho) * g**2
        step = g * np.sqrt(s.get("d", 0) + eps) / np.sqrt(a + eps)
        s["d"] = rho * s.get("d", 0) + (1 - rho) * step**2
        return w - lr * step

    return rule


def adamax(lr=0.001, b1=0.9, b2=0.999, eps=1e-7):
    def rule(w, g, s, t):
        m = s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        u = s["u"] = np.maximum(b2 * s.get("u", 0), np.abs(g))
        return w - lr / (1 - b1**t) * m / (u + eps)

    return rule


def nadam(lr=0.001, b1=0.9, b2=0.999, eps=1e-7):
    def part(t):
        return b1 * (1 - 0.5 * 0.96**t)

    def rule(w, g, s, t):
        m = s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
        v = s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
        product = math.prod(part(i) for i in range(1, t + 1))
        ahead = part(t + 1) * m / (1 - product * part(t + 1))
        now = (1 - part(t)) * g / (1 - product)
        return w - lr * (ahead + now) / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def lion(lr=0.001, b1=0.9, b2=0.99):
    def rule(w, g, s, t):
        m = s.get("m", 0)
        s["m"] = b2 * m + (1 - b2) * g
        return w - lr * np.sign(b1 * m + (1 - b1) * g)

    return rule


def ftrl(lr=0.001, power=-0.5, start=0.1, l1=0.0, l2=0.0, shrinkage=0.0, beta=0.0):
    def rule(w, g, s, t):
        before = s.get("n", start)
        n = s["n"] = before + g**2
        moved = (n**-power - before**-power) / lr * w
        z = s["z"] = s.get("z", 0) + g + 2 * shrinkage * w - moved
        large = np.abs(z) > l1
        quadratic = n**-power / lr + 2 * (l2 + beta / (2 * lr))
        return np.where(large, (np.sign(z) * l1 - z) / quadratic, 0)

    return rule


CASES = {
    "sgd": (lambda: SGD(), sgd()),
    "momentum": (lambda: SGD(0.1, momentum=0.9), sgd(0.1, 0.9)),
    "nesterov": (lambda: SGD(0.1, momentum=0.9, nesterov=True), sgd(0.1, 0.9, True)),
    "rmsprop": (lambda: RMSprop(), rmsprop()),
    "rmsprop with all": (
        lambda: RMSprop(0.02, rho=0.8, momentum=0.5, epsilon=1e-3, centered=True),
        rmsprop(0.02, 0.8, 0.5, 1e-3, True),
    ),
    "adam": (lambda: Adam(), adam()),
    "amsgrad": (lambda: Adam(0.1, 0.5, 0.6, 1e-3, True), adam(0.1, 0.5, 0.6, 1e-3, True)),
    "adamw": (lambda: AdamW(0.1), adam(0.1, decay=0.004)),
    "decay": (lambda: Adam(0.1, weight_decay=0.3), adam(0.1, decay=0.3)),
    "adagrad": (lambda: Adagrad(), adagrad()),
    "adagrad with all": (lambda: Adagrad(0.1, 0.3, 1e-2), adagrad(0.1, 0.3, 1e-2)),
    "adadelta": (lambda: Adadelta(), adadelta()),
    "adadelta with all": (lambda: Adadelta(1.0, 0.8, 1e-3), adadelta(1.0, 0.8, 1e-3)),
    "adamax": (lambda: Adamax(), adamax()),
    "adamax with all": (lambda: Adamax(0.1, 0.5, 0.6, 1e-3), adamax(0.1, 0.5, 0.6, 1e-3)),
    "nadam": (lambda: Nadam(), nadam()),
    "nadam with all": (lambda: Nadam(0.1, 0.5, 0.6, 1e-3), nadam(0.1, 0.5, 0.6, 1e-3)),
    "lion": (lambda: Lion(), lion()),
    "lion with all": (lambda: Lion(0.1, 0.5, 0.6), lion(0.1, 0.5, 0.6)),
    "ftrl": (lambda: Ftrl(), ftrl()),
    "ftrl with all": (
        lambda: Ftrl(0.1, -0.7, 0.2, 0.6, 0.2, 0.05, 0.3), ftrl(0.1, -0.7, 0.2, 0.6, 0.2, 0.05, 0.3)
    ),
}


def close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_formula(name, engine):
    make, rule = CASES[name]
    close(run(make()), by_formula(rule))


def norm(arrays):
    return math.sqrt(sum((a**2).sum() for a in arrays))


def test_clipping(engine):
    gradients, start = numbers(1), numbers(0)
    limits = {
        "clipnorm": [g * min(1, 2 / norm([g])) for g in gradients],
        "global_clipnorm": [g * min(1, 2 / norm(gradients)) for g in gradients],
        "clipvalue": [np.clip(g, -2, 2) for g in gradients],
        None: gradients,
    }
    for option, clipped in limits.items():
        weights = [w.copy() for w in start]
        SGD(1.0, **({option: 2} if option else {})).apply(gradients, weights)
        close(weights, [w - g for w, g in zip(start, clipped, strict=True)])
    small = [g / 100 for g in gradients]
    for option in limits:
        weights = [w.copy() for w in start]
        SGD(1.0, **({option: 2} if option else {})).apply(small, weights)
        close(weights, [w - g for w, g in zip(start, small, strict=True)])


def test_moving_average(engine):
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.8)
    weights, average, trace = numbers(0), None, numbers(0)
    for step in range(4):
        optimizer.apply(numbers(step + 1), weights)
        trace = [w - 0.1 * g for w, g in zip(trace, numbers(step + 1), strict=True)]
        close(weights, trace)
        average = trace if average is None else [
            0.8 * a + 0.2 * w for a, w in zip(average, trace, strict=True)
        ]
    optimizer.finalize_variable_values(weights)
    close(weights, average)


def test_moving_average_is_taken_over(engine):
    optimizer = SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    (w,), g = numbers(0, [(3,)]), np.ones(3)
    start = w.copy()
    optimizer.apply([g], [w])
    optimizer.apply([g], [w])
    np.testing.assert_allclose(w, start - 0.15)  # the mean of start - 0.1 and start - 0.2


def test_gathered_gradients_are_averaged(engine):
    optimizer = Adam(0.1, gradient_accumulation_steps=2)
    weights = numbers(0)
    for step in range(5):
        optimizer.apply(numbers(step + 1), weights)
    assert optimizer.iterations == 2
    means = [
        [(a + b) / 2 for a, b in zip(numbers(i), numbers(i + 1), strict=True)] for i in (1, 3)
    ]
    expected, plain = numbers(0), Adam(0.1)
    for gradients in means:
        plain.apply(gradients, expected)
    close(weights, expected)


def test_a_missing_gradient_leaves_weight_and_slots_alone(engine):
    optimizer = AdamW(0.1)
    weights = numbers(0)
    before = weights[1].copy()
    with pytest.warns(UserWarning, match="no gradient for 1 of its variables"):
        optimizer.apply([numbers(1)[0], None], weights)
    np.testing.assert_array_equal(weights[1], before)
    assert (optimizer.state()["velocity/1"] == 0).all()
    assert (weights[0] != numbers(0)[0]).all()


def test_weights_left_out_of_the_decay(engine):
    kernel, bias = (Parameter(n, np.ones((2, 2))) for n in ("kernel", "bias"))
    free = Parameter("free", np.ones((2, 2)))
    for p, path in zip((kernel, bias, free), ("a/kernel", "a/bias", "b/kernel"), strict=True):
        p.path = path
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_list=[free], var_names=["bias"])
    optimizer.apply([np.zeros((2, 2))] * 3, [kernel, bias, free])
    assert [p.numpy()[0, 0] for p in (kernel, bias, free)] == pytest.approx([0.95, 1, 1])
    with pytest.raises(ValueError, match="before the first step"):
        optimizer.exclude_from_weight_decay(var_names=["kernel"])


def test_a_store_is_updated_in_one_pass_and_constraints_follow(engine):
    parameters = [Parameter(n, w) for n, w in zip("ab", numbers(0), strict=True)]
    parameters[1].constraint = lambda w: np.maximum(w, 0)
    store = ParameterStore(parameters)
    optimizer = RMSprop(0.1)
    optimizer.bind(store)
    for p, g in zip(parameters, numbers(1), strict=True):
        p.grad[...] = g
    optimizer.step()
    expected = [rmsprop(0.1)(w, g, {}, 1) for w, g in zip(numbers(0), numbers(1), strict=True)]
    close([p.numpy() for p in parameters], [expected[0], np.maximum(expected[1], 0)])
    assert (parameters[1].numpy() == 0).any()


# Those that have no kernels.
FORMULAS = [Adagrad, Adadelta, Adamax, Nadam, Lion, Ftrl]


@pytest.mark.parametrize("settings", [
    {}, {"weight_decay": 0.1}, {"clipnorm": 0.5}, {"clipvalue": 0.1}, {"global_clipnorm": 0.5},
    {"use_ema": True}, {"gradient_accumulation_steps": 2},
], ids=str)
@pytest.mark.parametrize("cls", [RMSprop, *FORMULAS])
def test_gradients_of_rows_that_rest_count_like_others(engine, settings, cls):
    rng = np.random.default_rng(2)
    steps = [(rng.permutation(6)[:3].astype(np.int32), rng.normal(size=(3, 4))) for _ in range(4)]
    stores = []
    for rests in (True, False):
        table = Parameter("embeddings", np.ones((6, 4)))
        store = ParameterStore([Parameter("kernel", np.ones((3, 3))), table])
        stores.append(store)
        optimizer = cls(0.1, **settings)
        optimizer.bind(store)
        for rows, values in steps:
            gradient = RowGradient(np.sort(rows), values)
            store.zero_grad()
            store.parameters[0].grad[...] = values[0, 0]
            if rests:
                table.add_rows(gradient)
                assert table.resting is gradient
            else:
                engines.current().add_rows(gradient, table.grad)
            optimizer.step()
            assert table.resting is None
    close([stores[0].value], [stores[1].value])


def test_a_gradient_that_rests_shows_when_it_is_asked_for(engine):
    table = Parameter("embeddings", np.zeros((4, 2)))
    gradient = RowGradient(np.array([1, 3], np.int32), np.ones((2, 2)))
    table.add_rows(gradient)  # nobody said that the gradient was zero before
    assert table.resting is None
    store = ParameterStore([table])
    store.zero_grad()
    for times in (1, 2, 3):  # the first rests, the second finds it resting
        table.add_rows(gradient)
        assert (table.resting is gradient) == (times == 1)
    assert table.grad[:, 0].tolist() == [0, 3, 0, 3]
    assert store.grad[:8].tolist() == [0, 0, 3, 3, 0, 0, 3, 3]
    store.zero_grad()
    table.add_rows(gradient)
    assert store.grad[:8].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    table.add_rows(gradient)
    store.zero_grad()
    assert not table.grad.any()


def test_apply_takes_pairs_scaled_gradients_and_the_variables_it_knows(engine):
    plain, weights = SGD(0.1), numbers(0)
    plain.apply(numbers(1), weights)
    scaled, others = SGD(0.1, loss_scale_factor=8.0), numbers(0)
    scaled.apply_gradients(zip([8 * g for g in numbers(1)], others, strict=True))
    close(weights, others)
    plain.apply(numbers(2))
    scaled.apply([8 * g for g in numbers(2)])
    close(weights, others)
    # Part of the variables, in another order.
    with pytest.warns(UserWarning, match="no gradient for 1"):
        plain.apply([numbers(3)[1]], [weights[1]])
    close([weights[1]], [others[1] - 0.1 * numbers(3)[1]])
    assert plain.iterations == 3


def test_learning_rate_can_be_read_set_and_computed():
    optimizer = SGD(0.5)
    w = np.zeros(1)
    optimizer.apply([np.ones(1)], [w])
    optimizer.learning_rate = 0.25
    optimizer.apply([np.ones(1)], [w])
    assert w[0] == -0.75 and optimizer.learning_rate == 0.25
    falling = SGD(lambda step: 1.0 / (step + 1))
    w = np.zeros(1)
    for _ in range(3):
        falling.apply([np.ones(1)], [w])
    assert w[0] == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    assert falling.learning_rate == 0.25


def test_learning_rate_of_a_function_without_arguments():
    rate = [0.5]
    optimizer = SGD(lambda: rate[0])
    w = np.zeros(1)
    optimizer.apply([np.ones(1)], [w])
    rate[0] = 0.25
    optimizer.apply([np.ones(1)], [w])
    assert w[0] == -0.75


# What Keras 3.15.1 makes of 50 steps, in single precision: three entries of the weights, and of
# the weights after `finalize_variable_values`.
KERAS_RUNS = {
    "ema": (
        lambda: SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9),
        [1.13963, -1.51451, 11.283], [-0.562605, 1.02425, 9.44437],
    ),
    "ema, overwriting": (
        lambda: Adam(0.05, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=5),
        [0.241588, 0.979859, 0.00168054], None,
    ),
    "accumulation": (
        lambda: RMSprop(0.01, gradient_accumulation_steps=3), [0.166986, 0.915452, -0.100044], None,
    ),
    "accumulation, ema and clipping": (
        lambda: Adam(0.05, gradient_accumulation_steps=4, use_ema=True, ema_momentum=0.8,
                     ema_overwrite_frequency=3, global_clipnorm=1.0),
        [0.194721, 0.883996, -0.0637866], None,
    ),
    "adamw": (lambda: AdamW(0.01, weight_decay=0.1), [0.177996, 0.889712, -0.0732575], None),
    "decay and clipnorm": (
        lambda: SGD(0.1, weight_decay=0.05, clipnorm=0.5), [0.135725, 0.630485, -0.0228372], None,
    ),
    "centred, clipvalue and decay": (
        lambda: RMSprop(0.01, momentum=0.5, centered=True, clipvalue=0.3, weight_decay=0.02),
        [0.324924, 0.980914, 0.065461], None,
    ),
    "amsgrad and global_clipnorm": (
        lambda: Adam(0.05, amsgrad=True, global_clipnorm=0.7), [0.459334, 0.993482, 0.392873], None,
    ),
    "nesterov, schedule and decay": (
        lambda: SGD(schedules.ExponentialDecay(0.1, 5, 0.8), momentum=0.9, nesterov=True,
                    weight_decay=0.01),
        [0.656226, 0.626726, 6.09175], None,
    ),
    "accumulation, schedule and decay": (
        lambda: Adam(schedules.CosineDecay(0.1, 30), gradient_accumulation_steps=2,
                     weight_decay=0.01),
        [0.500274, 0.977936, -0.00404463], None,
    ),
    "excluded from decay": (
        lambda: AdamW(0.01, weight_decay=0.5), [0.148617, 0.72278, -0.0797918], None,
    ),
    "loss scale and clipvalue": (
        lambda: Adam(0.05, loss_scale_factor=8.0, clipvalue=0.02),
        [0.447298, 1.38306, 0.365359], None,
    ),
}


@pytest.mark.parametrize("name", KERAS_RUNS)
def test_many_steps_as_in_keras(name, engine):
    make, after, final = KERAS_RUNS[name]
    rng, optimizer = np.random.default_rng(0), make()
    weights = [
        Parameter(n, rng.normal(size=shape).astype(np.float32))
        for n, shape in (("kernel", (4, 3)), ("bias", (3,)))
    ]
    if name == "excluded from decay":
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    for _step in range(50):
        optimizer.apply([rng.normal(size=w.shape).astype(np.float32) for w in weights], weights)
    found = [np.concatenate([w.numpy().ravel() for w in weights])[[0, 7, 13]]]
    optimizer.finalize_variable_values(weights)
    found.append(np.concatenate([w.numpy().ravel() for w in weights])[[0, 7, 13]])
    np.testing.assert_allclose(found, [after, final or after], rtol=2e-5, atol=2e-5)


def test_a_rate_that_is_changed_by_hand_acts_from_the_next_step_on():
    model = fastrnn.Sequential([fastrnn.layers.Dense(1, use_bias=False)])
    model.compile(SGD(0.5, momentum=0.9), "mse")
    x, y = np.ones((2, 1)), np.zeros((2, 1))
    model.fit(x, y, verbose=0)
    before, slots = model.get_weights()[0], model.optimizer.state()
    model.optimizer.learning_rate = 0.0
    model.fit(x, y, verbose=0)
    moved = model.get_weights()[0] - before
    np.testing.assert_allclose(moved, 0.9 * slots["momentum/0"], rtol=1e-6)
    assert model.optimizer.iterations == 2


def test_layers_that_are_frozen_midway_keep_weights_and_slots():
    fastrnn.utils.set_random_seed(1)
    model = fastrnn.Sequential([
        fastrnn.layers.SimpleRNN(3), fastrnn.layers.Dense(2), fastrnn.layers.Dense(1)
    ])
    model.compile(Adam(0.1), "mse")
    x, y = np.ones((4, 5, 2)), np.ones((4, 1))
    model.fit(x, y, verbose=0)
    rnn, middle, last = (layer.get_weights() for layer in model.layers)
    slots = model.optimizer.state()
    model.layers[1].trainable = False
    model.fit(x, y, verbose=0)
    for a, b in zip(model.layers[1].get_weights(), middle, strict=True):
        np.testing.assert_array_equal(a, b)
    for layer, old in ((model.layers[0], rnn), (model.layers[2], last)):
        assert all((a != b).any() for a, b in zip(layer.get_weights(), old, strict=True))
    # The slots of the weights that are left went on from where they were.
    now = model.optimizer.state()
    assert {name for name in now if name.startswith("velocity")} == {
        f"velocity/{i}" for i in range(5)
    }
    for old, new in ((0, 0), (1, 1), (2, 2), (5, 3), (6, 4)):
        assert (now[f"velocity/{new}"] >= 0.998 * slots[f"velocity/{old}"]).all()
        assert now[f"velocity/{new}"].any()
    assert int(now["iteration"]) == 2


@pytest.mark.parametrize("name", [
    "momentum", "rmsprop with all", "amsgrad", "adamw", "adagrad with all", "adadelta with all",
    "adamax", "nadam", "lion", "ftrl with all",
])
def test_state_goes_on_where_it_ended(name, engine):
    make, _ = CASES[name]
    through = run(make(), steps=4)
    first = make()
    weights = run(first, steps=2)
    first.learning_rate *= 1
    second = make()
    second.load_state(first.state())  # before the weights are known
    for step in (2, 3):
        second.apply(numbers(step + 1), weights)
    close(weights, through)
    third = copy.deepcopy(first)
    assert {k: v.tolist() for k, v in third.state().items()} == {
        k: v.tolist() for k, v in first.state().items()
    }


def test_state_of_other_weights_is_refused():
    one, other = Adam(), Adam()
    one.apply([np.ones(3)], [np.zeros(3)])
    other.apply([np.ones(4)], [np.zeros(4)])
    before = other.state()
    with pytest.raises(ValueError, match="state is that of other weights"):
        other.load_state(one.state())
    assert all((other.state()[k] == before[k]).all() for k in before)
    with pytest.raises(ValueError, match="other weights"):
        other.load_state(SGD(momentum=0.5).state() | {"momentum/0": np.zeros(4)})


@pytest.mark.parametrize("cls", FORMULAS)
def test_what_lies_between_weights_disturbs_nobody(engine, cls):
    zero = {"initial_accumulator_value": 0.0} if cls in (Adagrad, Ftrl) else {}
    optimizer, weights = cls(0.1, global_clipnorm=1.0, use_ema=True, **zero), numbers(0)
    for step in range(3):
        optimizer.apply(numbers(step + 1), weights)
    optimizer.finalize_variable_values(weights)
    assert all(np.isfinite(w).all() for w in weights)
    assert not optimizer.store.grad.any()


def test_ftrl_at_a_rate_of_zero(engine):
    optimizer, weights = Ftrl(lambda step: 0.0, beta=0.1), numbers(0)
    optimizer.apply(numbers(1), weights)
    close(weights, numbers(0))


def test_nadam_goes_on_from_a_step_before():
    through, (w,) = Nadam(0.1), numbers(0, [(3,)])
    states = []
    for step in range(4):
        states.append((through.state(), w.copy()))
        through.apply([np.ones(3) * step], [w])
    state, start = states[2]
    through.load_state(state)  # two steps back
    w[...] = start
    for step in (2, 3):
        through.apply([np.ones(3) * step], [w])
    other, (v,) = Nadam(0.1), numbers(0, [(3,)])
    for step in range(4):
        other.apply([np.ones(3) * step], [v])
    close([w], [v])


@pytest.mark.parametrize("cls", FORMULAS)
def test_a_fit_that_goes_on(cls, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(8, 4, 2)), np.ones((8, 1))

    def model():
        fastrnn.utils.set_random_seed(1)
        model = fastrnn.Sequential([fastrnn.layers.SimpleRNN(3), fastrnn.layers.Dense(1)])
        model.compile(cls(0.05), "huber")
        return model

    through, first = model(), model()
    through.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    first.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    first.save(tmp_path / "model.fastrnn")
    second = fastrnn.models.load_model(tmp_path / "model.fastrnn")
    second.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(second.get_weights(), through.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (through.get_weights()[0] != model().fit(x, y, verbose=0).model.get_weights()[0]).any()


def test_what_keras_has_as_variables():
    optimizer = SGD(0.5, momentum=0.9)
    w = np.zeros(2)
    optimizer.learning_rate.assign(optimizer.learning_rate / 2)
    optimizer.apply([np.ones(2)], [w])
    assert w.tolist() == [-0.25, -0.25]
    assert optimizer.learning_rate.numpy() == float(optimizer.learning_rate) == 0.25
    found = {v.path: v.numpy().tolist() for v in optimizer.variables}
    assert found == {"iteration": 1, "learning_rate": 0.25, "momentum/0": [-0.25, -0.25]}
    assert [v.shape for v in optimizer.variables] == [(), (), (2,)]
    assert np.asarray(optimizer.variables[2], np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="learning_rate must be a number from 0"):
        optimizer.learning_rate.assign(-1)
    scheduled = SGD(optimizers.schedules.ExponentialDecay(0.5, 10, 0.9))
    with pytest.raises(TypeError, match="the learning rate is that of a schedule"):
        scheduled.learning_rate.assign(0.1)


@pytest.mark.parametrize("cls", [SGD, RMSprop, Adam, AdamW, *FORMULAS])
def test_names_and_configs(cls):
    for identifier in (cls.__name__, cls.__name__.lower(), cls, cls()):
        assert type(optimizers.get(identifier)) is cls
    optimizer = cls(0.125, clipnorm=1.0, use_ema=True)
    config = optimizers.serialize(optimizer)
    assert config["module"] == "keras.optimizers"
    assert optimizers.get(config).get_config() == optimizer.get_config()
    optimizer.learning_rate = 0.5
    assert optimizer.get_config()["learning_rate"] == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optimizers.get("rmsprob"), ValueError, "Did you mean 'rmsprop'"),
        (lambda: SGD(clipnorm=1, clipvalue=1), ValueError, "clipnorm=1, clipvalue=1"),
        (lambda: SGD("fast"), ValueError, "SGD: learning_rate must be a number"),
        (lambda: SGD(-0.1), ValueError, "learning_rate must be a number"),
        (lambda: SGD(momentum=2), ValueError, "momentum must lie"),
        (lambda: Adam(ema_momentum=2), ValueError, "ema_momentum must lie"),
        (lambda: Adam(ema_overwrite_frequency=0), ValueError, "ema_overwrite_frequency must be"),
        (lambda: Adam(gradient_accumulation_steps=1), ValueError, "from 2 on"),
        (lambda: Adam(beta_3=1), TypeError, "beta_3"),
        (lambda: Lion(beta_1=0), ValueError, r"Lion: beta_1 must lie in \(0, 1\]; got 0"),
        (lambda: Ftrl(learning_rate_power=0.5), ValueError, "learning_rate_power must be 0 or"),
        (lambda: Ftrl(l1_regularization_strength=-1), ValueError, "l1_regularization_strength"),
        (lambda: Ftrl(initial_accumulator_value=-0.1), ValueError, "0 or more; got -0.1"),
        (lambda: SGD().apply([np.ones(2)]), ValueError, "needs the variables"),
        (lambda: SGD().apply([np.ones(2)], []), ValueError, "each of 0 variables; got 1"),
        (lambda: SGD().apply([None], [np.ones(2)]), ValueError, "no gradient for any"),
        (lambda: SGD().apply([np.ones(3)], [np.ones(2)]), ValueError, r"\(2,\); got .*\(3,\)"),
        (lambda: SGD().apply([np.ones(2)], [np.ones(2, int)]), TypeError, "arrays of floats"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_other_variables_are_refused():
    optimizer = SGD()
    optimizer.apply([np.ones(2)], [np.zeros(2)])
    with pytest.raises(ValueError, match="has trained other variables"):
        optimizer.apply([np.ones(2)], [np.zeros(2)])
    with pytest.raises(ValueError, match="has trained other weights"):
        optimizer.bind(ParameterStore([Parameter("w", np.zeros(2))]))


def test_a_rate_set_after_the_state_was_loaded_stays(engine):
    one, other = SGD(0.5, momentum=0.9), SGD(0.1, momentum=0.9)
    one.apply([np.ones(2)], [np.ones(2)])
    other.load_state(one.state())
    assert other.learning_rate == 0.5 and other.iterations == 1
    other.learning_rate = 0.25
    other.apply([np.ones(2)], [np.ones(2)])
    assert other.learning_rate == 0.25 and other.iterations == 2
    np.testing.assert_allclose(other.state()["momentum/0"], -0.5 * 0.9 - 0.25)


def test_arguments_of_older_versions():
    """decay changes nothing, as in Keras 3; lr has another name."""
    with pytest.warns(UserWarning, match="Adam: decay changes nothing.*InverseTimeDecay"):
        assert optimizers.Adam(decay=1e-6).get_config() == optimizers.Adam().get_config()
    with pytest.raises(TypeError, match="Adam: there is no argument 'lr'. Write learning_rate."):
        optimizers.Adam(lr=0.1)
    with pytest.raises(TypeError, match="SGD: there is no argument 'momentun'. Did you mean 'mom"):
        optimizers.SGD(momentun=0.9)
