"""The layers around recurrent ones: wrappers, pooling, normalization, merging; masks."""

import keras
from common import all_pairs, as_numpy, generator, gradient_case, normal
from recipes import make
from recurrent_cases import KINDS, B, D, H, T, inputs, named


def bidirectional_cases():
    """Every merge mode, own backward layers, states and masks: all pairs of options."""
    x, masks = inputs()
    options = {
        "kind": list(KINDS),
        "merge_mode": ["concat", "sum", "mul", "ave", None],
        "mask": list(masks),
        "return_sequences": [False, True],
        "return_state": [False, True],
        "initial_state": [False, True],
        "zero_output_for_mask": [False, True],
        "own_backward_layer": [False, True],
    }
    cases = {}
    for row in all_pairs(options):
        class_name, config = KINDS[row["kind"]]
        switches = ("return_sequences", "return_state", "zero_output_for_mask")
        config = {"units": H, **config, **{key: True for key in switches if row[key]}}
        wrapper = {"layer": [class_name, config], "merge_mode": row["merge_mode"]}
        if row["own_backward_layer"]:
            own = {**config, "go_backwards": True, "activation": "sigmoid", "use_bias": False}
            wrapper["backward_layer"] = [class_name, own]
        call = {} if row["mask"] == "none" else {"mask": masks[row["mask"]]}
        if row["initial_state"]:
            count = 4 if class_name == "LSTM" else 2
            call["initial_state"] = [
                normal(generator(f"bidirectional/state/{i}"), B, H) for i in range(count)
            ]
        name = "bidirectional/" + named(row)
        data = f"bidirectional/{row['kind']}/{row['own_backward_layer']}"
        cases[name] = gradient_case(data, ["Bidirectional", wrapper], x, **call)
    # Two directions that differ in kind and width.
    wrapper = {
        "layer": ["LSTM", {"units": 3, "return_sequences": True}],
        "backward_layer": ["GRU", {"units": 2, "return_sequences": True, "go_backwards": True}],
    }
    cases["bidirectional/lstm+gru"] = gradient_case(
        "bidirectional/lstm+gru", ["Bidirectional", wrapper], x, mask=masks["holes"]
    )
    return cases


def other_cases():
    """TimeDistributed, shapes, pooling, normalization and merging, masked where they take it."""
    x, masks = inputs()
    flat_x = normal(generator("flat/x"), B, D)
    nested = normal(generator("nested/x"), 2, 3, T, D)
    pair = [x, normal(generator("pair"), B, T, D)]
    three = [*pair, normal(generator("three"), B, T, D)]
    wide = [x, normal(generator("wide"), B, T, 2)]
    long = [x, normal(generator("long"), B, 3, D)]
    post, holes = {"mask": masks["post"]}, {"mask": masks["holes"]}

    def over_time(inner):
        return ["TimeDistributed", {"layer": inner}]

    small = ["Dense", {"units": 2, "activation": "tanh"}]
    plans = {
        "time_distributed/dense": (over_time(small), x, {}),
        "time_distributed/dense+mask": (over_time(small), x, post),
        "time_distributed/activation": (over_time(["Activation", {"activation": "relu"}]), x, {}),
        "time_distributed/flatten": (over_time(["Flatten", {}]), nested, {}),
        "time_distributed/lstm": (over_time(["LSTM", {"units": 2}]), nested, {}),
        "time_distributed/gru+sequences": (
            over_time(["GRU", {"units": 2, "return_sequences": True}]),
            nested,
            {},
        ),
        "time_distributed/pooling": (over_time(["GlobalAveragePooling1D", {}]), nested, {}),
        "repeat_vector": (["RepeatVector", {"n": 3}], flat_x, {}),
        "flatten": (["Flatten", {}], x, {}),
        "flatten/2d": (["Flatten", {}], flat_x, {}),
        "flatten/channels_first": (["Flatten", {"data_format": "channels_first"}], x, {}),
        "reshape": (["Reshape", {"target_shape": [D, T]}], x, {}),
        "reshape/-1": (["Reshape", {"target_shape": [-1]}], x, {}),
        "layer_normalization": (["LayerNormalization", {}], x, {}),
        "layer_normalization/2d": (["LayerNormalization", {}], flat_x, {}),
        "layer_normalization/no_center+epsilon": (
            ["LayerNormalization", {"center": False, "epsilon": 0.1}],
            x,
            {},
        ),
        "layer_normalization/no_scale": (["LayerNormalization", {"scale": False}], x, {}),
        "batch_normalization/inference": (["BatchNormalization", {}], x, {}),
        "batch_normalization": (["BatchNormalization", {}], x, {"training": True}),
        "batch_normalization/momentum": (
            ["BatchNormalization", {"momentum": 0.7, "epsilon": 0.1}],
            x,
            {"training": True},
        ),
        "batch_normalization/2d": (["BatchNormalization", {}], flat_x, {"training": True}),
        "batch_normalization/no_center": (
            ["BatchNormalization", {"center": False}],
            x,
            {"training": True},
        ),
        "batch_normalization/no_scale": (
            ["BatchNormalization", {"scale": False}],
            x,
            {"training": True},
        ),
        "batch_normalization/frozen": (
            ["BatchNormalization", {"trainable": False}],
            x,
            {"training": True},
        ),
        "batch_normalization/mask": (["BatchNormalization", {}], x, {"training": True, **holes}),
        "batch_normalization/mask+inference": (["BatchNormalization", {}], x, holes),
        "spatial_dropout_1d/inference": (["SpatialDropout1D", {"rate": 0.5}], x, {}),
    }
    for name in ("GlobalAveragePooling1D", "GlobalMaxPooling1D"):
        for word, config in {
            "": {},
            "+keepdims": {"keepdims": True},
            "+channels_first": {"data_format": "channels_first"},
            "+both": {"keepdims": True, "data_format": "channels_first"},
        }.items():
            plans[f"{name}{word}"] = ([name, config], x, {})
    for word, mask in (("post", post), ("holes", holes), ("empty", {"mask": masks["empty"]})):
        plans[f"GlobalAveragePooling1D+mask_{word}"] = (["GlobalAveragePooling1D", {}], x, mask)
    plans["GlobalAveragePooling1D+keepdims+mask"] = (
        ["GlobalAveragePooling1D", {"keepdims": True}],
        x,
        holes,
    )
    for name in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        plans[f"{name}/2"] = ([name, {}], pair, {})
        plans[f"{name}/3"] = ([name, {}], three, {})
    plans["Subtract"] = (["Subtract", {}], pair, {})
    plans["Concatenate/widths"] = (["Concatenate", {}], wide, {})
    plans["Concatenate/steps"] = (["Concatenate", {"axis": 1}], long, {})
    plans["Dot/1"] = (["Dot", {"axes": 1}], wide, {})
    plans["Dot/2"] = (["Dot", {"axes": 2}], long, {})
    plans["Dot/1+2"] = (["Dot", {"axes": [1, 2]}], [x, normal(generator("dot"), B, 2, T)], {})
    plans["Dot/normalize"] = (["Dot", {"axes": 2, "normalize": True}], long, {})
    return {
        name: gradient_case(f"others/{layer[0]}", layer, values, **call)
        for name, (layer, values, call) in plans.items()
    }


def mask_cases():
    """The mask that goes on to the next layer."""
    x, masks = inputs()
    sequences = {"units": 2, "return_sequences": True}
    one = {
        "simple_rnn": ["SimpleRNN", {"units": 2}],
        "lstm+sequences": ["LSTM", sequences],
        "gru+sequences+go_backwards": ["GRU", {**sequences, "go_backwards": True}],
        "bidirectional": ["Bidirectional", {"layer": ["GRU", {"units": 2}]}],
        "bidirectional+sequences": ["Bidirectional", {"layer": ["GRU", sequences]}],
        "time_distributed": ["TimeDistributed", {"layer": ["Dense", {"units": 2}]}],
        "dense": ["Dense", {"units": 2}],
        "activation": ["Activation", {"activation": "tanh"}],
        "dropout": ["Dropout", {"rate": 0.5}],
        "spatial_dropout_1d": ["SpatialDropout1D", {"rate": 0.5}],
        "layer_normalization": ["LayerNormalization", {}],
        "batch_normalization": ["BatchNormalization", {}],
        "average_pooling": ["GlobalAveragePooling1D", {}],
    }
    cases = {}
    for name, specification in one.items():
        layer = make(keras.layers, specification)
        layer.build(x.shape)
        mask = as_numpy(layer.compute_mask(x, keras.ops.array(masks["holes"])))
        cases[name] = {
            "layer": specification,
            "x": x,
            "mask": masks["holes"],
            "after": mask,
        }
    other = normal(generator("pair"), B, T, D)
    short = normal(generator("long"), B, 3, D)
    for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
        for word, given in (
            ("both", [masks["post"], masks["holes"]]),
            ("one", [masks["post"], None]),
        ):
            cases[f"{name}/{word}"] = merged_mask([name, {}], [x, other], given)
    for word, given in (
        ("both", [masks["post"], masks["holes"][:, :3]]),
        ("one", [None, masks["holes"][:, :3]]),
    ):
        cases[f"Concatenate/steps/{word}"] = merged_mask(
            ["Concatenate", {"axis": 1}], [x, short], given
        )
    cases["Dot"] = merged_mask(["Dot", {"axes": 2}], [x, other], [masks["post"]] * 2)
    return cases


def merged_mask(specification, x, masks):
    """Compute the mask of a layer that takes several inputs."""
    layer = make(keras.layers, specification)
    given = [None if m is None else keras.ops.array(m) for m in masks]
    after = layer.compute_mask([keras.ops.array(part) for part in x], given)
    return {"layer": specification, "x": x, "mask": masks, "after": as_numpy(after)}
