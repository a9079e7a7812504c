"""Recurrent layers, cells, and the layers around them, against values that Keras 3.15.1 computed.

``keras_values/make_keras_values.py`` says how they were made. Gradients are those of a loss that is
the sum of all outputs, each times a given number.
"""

import numpy as np
import pytest
from keras_values.reading import check, check_arguments, each, engine, load
from keras_values.recipes import flat, make

from fastrnn import engines, layers
from fastrnn.masks import StepMask

__all__ = ["engine"]  # a fixture

VALUES = load("recurrent_values")

# The mean of a row without steps is NaN in Keras, 0 / 0; here it is zero, and so is its gradient.
NO_STEPS = VALUES["layers"]["GlobalAveragePooling1D+mask_empty"]
assert np.isnan(NO_STEPS["output"]).any()
NO_STEPS |= {key: np.nan_to_num(NO_STEPS[key]) for key in ("output", "dx")}


def built(specification, x, weights):
    """Return the layer that a case describes, with its weights."""
    layer = make(layers, specification)
    layer.build([part.shape for part in x] if isinstance(x, list) else x.shape)
    layer.set_weights(weights)
    return layer


def step_masks(mask):
    """Return a mask, or a list of them, as layers hand them on."""
    return list(map(StepMask.of, mask)) if isinstance(mask, list) else StepMask.of(mask)


def as_arrays(layer, tree):
    """Return outputs or gradients, however they are nested, as NumPy arrays."""
    if isinstance(tree, (list, tuple)):
        return [as_arrays(layer, part) for part in tree]
    return layer._to_host(tree)


def like(tree, leaves):
    """Return the leaves, a list, nested as `tree` is."""
    leaves = iter(leaves)

    def nest(part):
        return [nest(p) for p in part] if isinstance(part, (list, tuple)) else next(leaves)

    return nest(tree)


def check_both_ways(layer, case):
    """Compare outputs, then the gradients of inputs, initial states and weights."""
    call = dict(case["call"])
    mask, training = step_masks(call.pop("mask", None)), call.pop("training", False)
    if case["initial_state"] is not None:
        call["initial_state"] = case["initial_state"]
    y, tape = layer.forward(layer.convert_input(case["x"]), mask, training, **call)
    check(as_arrays(layer, y), case["output"], where="output")
    check([p.numpy() for p in layer.non_trainable_weights], case["weights_after"])

    for parameter in layer.parameters:
        parameter.grad[...] = 0
    dy = [engines.current().asarray(d) for d in case["d_output"]]
    dx = layer.backward(tape, like(y, dy))
    if case["initial_state"] is not None:
        dx, *d_states = dx
        check(as_arrays(layer, d_states), case["d_states"], 2e-5, "gradient of states")
    check(as_arrays(layer, dx), case["dx"], 2e-5, "gradient of x")
    gradients = [layer._to_host(p.grad) for p in layer.trainable_parameters]
    check(gradients, case["d_weights"], 2e-5, "gradients of weights")


@each(VALUES["layers"])
def test_layer_and_its_gradients(case, engine):
    check_both_ways(built(case["layer"], case["x"], case["weights"]), case)


@each(VALUES["layers"])
def test_call_on_arrays(case):
    layer = built(case["layer"], case["x"], case["weights"])
    call = dict(case["call"])
    if case["initial_state"] is not None:
        call["initial_state"] = case["initial_state"]
    check(layer(case["x"], **call), case["output"])


# --- dropout ------------------------------------------------------------------------------------


@each(VALUES["dropout"])
def test_dropout_with_the_same_masks(case, engine, monkeypatch):
    masks = list(case["noise"])

    def drawn(stream, shape, rate, dtype):
        count = int(np.prod(shape)) // masks[0].size
        taken = [masks.pop(0) for _ in range(count)]
        return np.stack(taken).reshape(shape).astype(dtype)

    for module in (layers.cells, layers.core):
        monkeypatch.setattr(module, "dropout_mask", drawn)
    check_both_ways(built(case["layer"], case["x"], case["weights"]), case)
    assert not masks  # as many as in Keras


@each(VALUES["noise"])
def test_axes_along_which_dropout_differs(case):
    y = make(layers, case["layer"])(case["x"], training=True)
    assert [bool((y != y.take([0], axis)).any()) for axis in range(3)] == case["differs"]


# --- states -------------------------------------------------------------------------------------


@each(VALUES["stateful"])
def test_states_that_stay(case, engine):
    layer = built(case["layer"], case["calls"][0]["x"], case["weights"])
    for call, output in zip(case["calls"], case["outputs"], strict=True):
        if call is None:
            layer.reset_state()
        else:
            check(layer(**call), output)
    check(as_arrays(layer, flat(layer.states)), case["states"])


@each(VALUES["cells"])
def test_one_step_of_a_cell(case, engine):
    cell = built(case["layer"], case["x"], case["weights"])
    output, after = cell(case["x"], case["states"])
    check(output, case["output"])
    check(after, case["after"])


# --- masks and facts ------------------------------------------------------------------------------


@each(VALUES["masks"])
def test_mask_of_the_output(case):
    layer = make(layers, case["layer"])
    x = case["x"]
    layer.build([part.shape for part in x] if isinstance(x, list) else x.shape)
    mask = layer.compute_mask(layer.convert_input(x), step_masks(case["mask"]))
    if case["after"] is None:
        assert mask is None
    else:
        np.testing.assert_array_equal(np.asarray(mask), case["after"])


@pytest.mark.parametrize("name", VALUES["facts"]["signatures"])
def test_arguments_and_their_order(name):
    check_arguments(getattr(layers, name), VALUES["facts"]["signatures"][name])


@each(VALUES["facts"]["biases"])
def test_first_bias(case):
    layer = make(layers, case["layer"])
    layer.build((None, 3, 3))
    check(layer.get_weights()[2], case["bias"])


@each(VALUES["facts"]["shapes"])
def test_shapes(case):
    layer = make(layers, case["layer"])
    layer.build((None, 6, 2))

    def listed(shape):
        return [listed(part) if isinstance(part, (list, tuple)) else part for part in shape]

    assert listed(layer.compute_output_shape((None, 6, 2))) == case["output_shape"]
    assert [[w.name, list(w.shape)] for w in layer.weights] == case["weights"]
