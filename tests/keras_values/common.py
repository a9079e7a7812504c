"""What all modules that compute values share: Keras, drawing numbers, calling layers, storing."""

import hashlib
import json
import os
import zlib
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
from recipes import flat, make

if os.environ["KERAS_BACKEND"] == "tensorflow":  # which values with gradients need
    import tensorflow as tf

HERE = Path(__file__).parent

# --- storing ------------------------------------------------------------------------------------


class Shelf:
    """Arrays one after the other, each once, in one long array for each dtype."""

    def __init__(self):
        self.parts, self.sizes, self.places = {}, {}, {}

    def put(self, array):
        """Store the array; return the text that says where: dtype, offset and shape."""
        content = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).digest()
        if content not in self.places:
            kind = array.dtype.name
            offset = self.sizes.get(kind, 0)
            self.parts.setdefault(kind, []).append(array.ravel())
            self.sizes[kind] = offset + array.size
            shape = ",".join(map(str, array.shape))
            self.places[content] = f"@{kind} {offset} {shape}"
        return self.places[content]

    def write(self, path):
        np.savez_compressed(path, **{k: np.concatenate(part) for k, part in self.parts.items()})


def put_away(tree, shelf):
    """Return the tree with each array replaced by its place on the shelf."""
    if isinstance(tree, dict):
        return {key: put_away(value, shelf) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [put_away(value, shelf) for value in tree]
    if isinstance(tree, np.ndarray):
        return shelf.put(tree)
    if isinstance(tree, np.generic):
        return tree.item()
    return tree


def save(file, topics):
    """Write the topics as one JSON file and one file of arrays."""
    shelf = Shelf()
    lines = []
    for topic, cases in put_away(topics, shelf).items():
        body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cases[name])}" for name in cases)
        lines.append(f" {json.dumps(topic)}: {{\n{body}\n }}")
    (HERE / f"{file}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    shelf.write(HERE / f"{file}.npz")


# --- drawing ------------------------------------------------------------------------------------


def generator(name):
    """Return a generator seeded by `name`."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(rng, *shape, scale=1.0):
    """Draw float32 normals."""
    return (scale * rng.standard_normal(shape)).astype("float32")


def draw_weights(rng, shapes):
    """Draw weights large enough to matter, small enough that no recurrence explodes."""
    scales = [1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.3 for shape in shapes]
    return [normal(rng, *shape, scale=s) for shape, s in zip(shapes, scales, strict=True)]


def time_masks(rows, steps):
    """Return one mask of each kind that padding makes; in "empty" two rows have no valid step."""
    rng = generator("masks")
    lengths = rng.integers(1, steps + 1, rows)
    lengths[0] = steps
    post = np.arange(steps) < lengths[:, None]
    holes = rng.random((rows, steps)) < 0.6
    empty = post.copy()
    empty[1] = empty[-1] = False
    return {"pre": post[:, ::-1].copy(), "post": post, "holes": holes, "empty": empty}


def padded_ids(data, rows, steps, words, side):
    """Draw rows of word ids of different lengths, padded with 0 on one side."""
    rng = generator(data)
    ids = rng.integers(1, words, (rows, steps)).astype("int32")
    lengths = rng.integers(1, steps + 1, rows)
    keep = np.arange(steps) < lengths[:, None]
    return np.where(keep if side == "post" else keep[:, ::-1], ids, 0).astype("int32")


# --- calling ------------------------------------------------------------------------------------


def as_numpy(value):
    """Turn a backend tensor, or lists of them, into NumPy arrays."""
    if isinstance(value, (list, tuple)):
        return [as_numpy(v) for v in value]
    return None if value is None else keras.ops.convert_to_numpy(value)


def shapes_of(x):
    """Return the shape of an array, or a list of shapes."""
    return [part.shape for part in x] if isinstance(x, list) else x.shape


def built_layer(data, specification, x):
    """Make a layer for inputs like `x`; return it and its weights, drawn by the name `data`."""
    layer = make(keras.layers, specification)
    layer.build(shapes_of(x))
    return layer, fill(layer, data + "/weights")


def fill(layer, data):
    """Draw the weights of a layer or model by the name `data`, set and return them."""
    weights = draw_weights(generator(data), [w.shape for w in layer.weights])
    weights = [
        np.abs(value) + 0.5 if w.name == "moving_variance" else value
        for w, value in zip(layer.weights, weights, strict=True)
    ]
    layer.set_weights(weights)
    return weights


def layer_case(data, class_name, config, x, **call):
    """Call one layer on `x`; weights are drawn by the name `data`."""
    layer, weights = built_layer(data, [class_name, config], x)
    return {
        "class": class_name,
        "config": config,
        "weights": weights,
        "x": x,
        "call": call,
        "output": as_numpy(layer(x, **call)),
    }


def gradient_case(data, specification, x, initial_state=None, **call):
    """Call one layer; keep its outputs, their mask, and the gradients of a scalar loss.

    The loss is the sum of all outputs, each times a fixed random number: `d_output` is its
    gradient by the outputs, from which a layer's way back starts.
    """
    layer, weights = built_layer(data, specification, x)
    inputs = tf.nest.map_structure(tf.constant, x)
    states = [] if initial_state is None else tf.nest.map_structure(tf.constant, initial_state)
    given = {"initial_state": states} if states else {}
    variables = [w.value for w in layer.trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([*flat(inputs), *flat(states)])
        output = layer(inputs, **given, **call)
        d_output = [normal(generator(f"d{tuple(y.shape)}"), *y.shape) for y in flat(output)]
        loss = tf.add_n([tf.reduce_sum(y * d) for y, d in zip(flat(output), d_output, strict=True)])
    return {
        "layer": specification,
        "weights": weights,
        "x": x,
        "initial_state": initial_state,
        "call": call,
        "output": as_numpy(output),
        "d_output": d_output,
        "dx": as_numpy(gradient(tape, loss, inputs)),
        "d_states": as_numpy(gradient(tape, loss, states)),
        "d_weights": as_numpy(gradient(tape, loss, variables)),
        # Statistics that the call itself moved.
        "weights_after": [as_numpy(w.value) for w in layer.non_trainable_weights],
    }


def gradient(tape, loss, sources):
    """Return the gradients of the loss, zeros where it does not depend on a source."""
    return tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def sum_gradients_by_row(optimizer):
    """Make a TensorFlow optimizer see the gradient of an embedding as every other backend does.

    TensorFlow hands it over as one slice for each token, and Keras squares the slices before it
    adds those of one row, where the equations (and the JAX backend) square the row's sum. That
    is a flaw of one backend, so the values are computed without it.
    """
    apply = optimizer.apply
    optimizer.apply = lambda grads, variables: apply(
        [tf.convert_to_tensor(g) for g in grads], variables
    )
    return optimizer


def build_model(data, specification, x, weights=None):
    """Return a Sequential on inputs like `x`, and the weights drawn for it."""
    model = keras.Sequential([make(keras.layers, layer) for layer in specification])
    model.build((None, *x.shape[1:]))
    if weights is None:
        weights = fill(model, data + "/weights")
    else:
        model.set_weights(weights)
    return model, weights


def compiled_arguments(arguments):
    """Turn the descriptions of an optimizer and a loss into objects."""

    def named(module, what):
        if isinstance(what, dict):
            return getattr(module, what["class"])(**what["config"])
        return module.get(what)

    return {
        **arguments,
        "optimizer": sum_gradients_by_row(named(keras.optimizers, arguments["optimizer"])),
        "loss": named(keras.losses, arguments["loss"]),
    }


# --- coverage -----------------------------------------------------------------------------------


def all_pairs(options):
    """Return a few dicts in which every value of an option meets every value of each other one.

    Greedy: each dict is built option by option, from the values that meet the most new pairs.

    Parameters
    ----------
    options : dict of str to list
    """
    names = list(options)
    missing = {
        (a, i, b, j)
        for n, a in enumerate(names)
        for b in names[n + 1 :]
        for i in range(len(options[a]))
        for j in range(len(options[b]))
    }
    rng = np.random.default_rng(0)
    rows = []
    while missing:
        a, i, b, j = min(missing)
        best, gain = None, 0
        for _ in range(30):
            row = {name: int(rng.integers(len(values))) for name, values in options.items()}
            row |= {a: i, b: j}
            met = {m for m in missing if row[m[0]] == m[1] and row[m[2]] == m[3]}
            if len(met) > gain:
                best, gain, covered = row, len(met), met
        missing -= covered
        rows.append({name: options[name][k] for name, k in best.items()})
    return rows
