"""Layers, activations and stacks without gates: what one call returns."""

import itertools

import keras
import numpy as np
from common import (
    as_numpy,
    build_model,
    generator,
    layer_case,
    normal,
    padded_ids,
    time_masks,
)


def simple_rnn_cases():
    """SimpleRNN: every combination of its switches, then activations and odd sizes."""
    B, T, D, H = 5, 7, 3, 4
    x = normal(generator("simple_rnn/x"), B, T, D)
    state = normal(generator("simple_rnn/state"), B, H)
    masks = {"none": None, **time_masks(B, T)}
    cases = {}
    switches = itertools.product((False, True), (False, True), (False, True), (False, True), masks)
    for sequences, states, backwards, initial, kind in switches:
        for zero in (False, True) if kind != "none" else (False,):
            flags = {
                "return_sequences": sequences,
                "return_state": states,
                "go_backwards": backwards,
                "zero_output_for_mask": zero,
            }
            config = {"units": H, **{flag: True for flag, on in flags.items() if on}}
            call = {} if kind == "none" else {"mask": masks[kind]}
            if initial:
                call["initial_state"] = state
            words = [*(f for f, on in flags.items() if on), *["initial_state"] * initial]
            name = "simple_rnn/" + "+".join([f"mask_{kind}", *words])
            cases[name] = layer_case("simple_rnn", "SimpleRNN", config, x, **call)

    for activation, bias in itertools.product(("tanh", "relu", "sigmoid", None), (True, False)):
        config = {"units": H, "activation": activation, "use_bias": bias, "return_sequences": True}
        words = f"activation_{activation}" + "+no_bias" * (not bias)
        cases[f"simple_rnn/{words}"] = layer_case("simple_rnn", "SimpleRNN", config, x)
        masked = layer_case("simple_rnn", "SimpleRNN", config, x, mask=masks["holes"])
        cases[f"simple_rnn/{words}+mask_holes"] = masked

    # Sizes that are no multiple of any register tile, and the smallest there are.
    for B, T, D, H in ((1, 1, 1, 1), (1, 9, 2, 5), (17, 11, 5, 33), (13, 4, 19, 16)):
        x = normal(generator(f"sizes/{B}"), B, T, D)
        config = {"units": H, "return_sequences": True, "return_state": True}
        case = layer_case(f"sizes/{B}", "SimpleRNN", config, x)
        cases[f"simple_rnn/B{B}_T{T}_D{D}_H{H}"] = case
    return cases


def other_layer_cases():
    """Embedding, Dense, Activation, Masking and Dropout."""
    x2 = normal(generator("dense/2"), 6, 5)
    x3 = normal(generator("dense/3"), 4, 3, 5)
    ids = generator("ids").integers(0, 9, (4, 6)).astype("int32")
    zeroed = x3.copy()
    zeroed[0, 1:] = zeroed[2, 0] = zeroed[3] = 0.0
    zeroed[1, 0, 0] = 0.0  # one zero among others: that step stays
    embedding = {"input_dim": 9, "output_dim": 3}
    cases = {
        "embedding": layer_case("embedding", "Embedding", embedding, ids),
        "embedding/one_row": layer_case("embedding", "Embedding", embedding, ids[:1]),
        "embedding/mask_zero": layer_case(
            "embedding", "Embedding", {**embedding, "mask_zero": True}, ids
        ),
        "dense/no_bias": layer_case("dense", "Dense", {"units": 4, "use_bias": False}, x2),
        "masking": layer_case("masking", "Masking", {}, zeroed),
        "masking/value": layer_case(
            "masking", "Masking", {"mask_value": -1.0}, np.where(zeroed == 0, -1, zeroed)
        ),
        "dropout/inference": layer_case("dropout", "Dropout", {"rate": 0.4}, x2),
        "dropout/rate_0": layer_case("dropout", "Dropout", {"rate": 0.0}, x2, training=True),
    }
    for activation in (None, *ACTIVATIONS):
        config = {"units": 4, "activation": activation}
        cases[f"dense/2d+{activation}"] = layer_case("dense", "Dense", config, x2)
        cases[f"dense/3d+{activation}"] = layer_case("dense", "Dense", config, x3)
    for activation in ("relu", "softmax", "tanh"):
        case = layer_case("activation", "Activation", {"activation": activation}, x3)
        cases[f"activation/{activation}"] = case
    return cases


ACTIVATIONS = (
    "elu exponential gelu hard_sigmoid leaky_relu linear relu selu sigmoid silu softmax softplus "
    "softsign swish tanh"
).split()


def activation_cases():
    """Activations by their names, near zero, far from it, and at the ends of float32's range."""
    near = normal(generator("activations"), 6, 7, scale=2.0)
    far = np.array([[-1e4, -90, -20, -9, -3, -2.5, -0.0], [0, 1e-6, 2.5, 3, 9, 20, 80]], "float32")
    return {
        f"{name}/{where}": {
            "activation": name,
            "x": x,
            "output": as_numpy(keras.activations.get(name)(keras.ops.convert_to_tensor(x))),
        }
        for name in ACTIVATIONS
        for where, x in (("near", near), ("far", far))
    }


# --- stacks of layers ---------------------------------------------------------------------------


def stack_cases():
    """Whole stacks: that masks travel, and that layers hand their shapes on."""
    pre = padded_ids("stack/pre", 6, 8, 12, "pre")
    post = padded_ids("stack/post", 6, 8, 12, "post")
    holes = np.where(generator("stack/holes").random((6, 8)) < 0.4, 0, post).astype("int32")
    empty = post.copy()
    empty[2] = 0
    floats = normal(generator("stack/floats"), 6, 8, 3)
    floats[np.where(generator("stack/gaps").random((6, 8)) < 0.4)] = 0.0
    words = ["Embedding", {"input_dim": 12, "output_dim": 3}]
    masked_words = ["Embedding", {"input_dim": 12, "output_dim": 3, "mask_zero": True}]
    sequences = ["SimpleRNN", {"units": 4, "return_sequences": True}]
    backwards = ["SimpleRNN", {"units": 4, "return_sequences": True, "go_backwards": True}]
    zeroing = ["SimpleRNN", {"units": 4, "return_sequences": True, "zero_output_for_mask": True}]
    last = ["SimpleRNN", {"units": 5}]
    dense = ["Dense", {"units": 2, "activation": "softmax"}]
    gap = ["Masking", {}]
    dropout = ["Dropout", {"rate": 0.5}]
    middle = ["Dense", {"units": 3, "activation": "relu"}]
    stacks = {
        "plain": ([words, last, dense], pre),
        "two_layers": ([words, sequences, last, dense], pre),
        "three_layers+dropout": ([words, sequences, dropout, sequences, last, dense], pre),
        "backwards+forwards": ([words, backwards, last, dense], pre),
        "mask_zero+pre": ([masked_words, last, dense], pre),
        "mask_zero+post": ([masked_words, last, dense], post),
        "mask_zero+holes": ([masked_words, last, dense], holes),
        "mask_zero+empty_row": ([masked_words, sequences, last, dense], empty),
        "mask_zero+two_layers": ([masked_words, sequences, last, dense], holes),
        "mask_zero+two_layers+zero_output": ([masked_words, zeroing, last, dense], holes),
        "mask_zero+dense_between": ([masked_words, sequences, middle, dropout, last], holes),
        "mask_zero+sequences_out": ([masked_words, sequences, dense], post),
        "mask_zero+activation": ([masked_words, ["Activation", {"activation": "tanh"}], last], pre),
        "masking": ([gap, last, dense], floats),
        "masking+two_layers": ([gap, sequences, last, dense], floats),
        "masking+backwards": ([gap, backwards, dense], floats),
    }
    cases = {}
    for name, (specification, x) in stacks.items():
        model, weights = build_model(f"stack/{len(specification)}", specification, x)
        output = model.predict(x, batch_size=4, verbose=0)
        cases[name] = {"layers": specification, "weights": weights, "x": x, "output": output}
    return cases
