"""Load with Keras what fastrnn saved for it, and compare.

    python tests/exchange/check_in_keras.py FOLDER

``FOLDER`` holds model files (``.keras``, ``.h5``), weights for some of them (``.weights.h5``), and
for each model an ``.npz`` of inputs ``x0``, ``x1``, …, labels ``t``, the output ``y`` and, of a
compiled model, ``later``: the output after two more steps of training, and maybe ``scores``: what
evaluate says, sorted by name. Prints a line for each file; the exit status is 1 if one differs.
"""

import importlib.util
import logging
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault(
    "KERAS_BACKEND", next(filter(importlib.util.find_spec, ("tensorflow", "jax", "torch")), "numpy")
)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import calls
import keras
import numpy as np

TOLERANCE = {"y": 1e-5, "later": 1e-4, "scores": 1e-4}


def loaded(path):
    return keras.models.load_model(path, custom_objects=calls.classes(keras))


def check(path, folder):
    """The largest differences of one file's model, by what was compared."""
    expected = dict(np.load(folder / (path.name.partition(".")[0] + ".npz")))
    xs = [expected[f"x{i}"] for i in range(sum(name.startswith("x") for name in expected))]
    xs = [keras.ops.convert_to_tensor(x) if x.dtype.kind == "U" else x for x in xs]
    xs = xs if len(xs) > 1 else xs[0]
    if path.name.endswith(".weights.h5"):
        model = loaded(path.with_name(path.name.replace(".weights.h5", ".keras")))
        for weight in model.weights:
            weight.assign(weight * 0)
        model.load_weights(path)
    else:
        model = loaded(path)
    found = {"y": model.predict(xs, verbose=0)}
    # Keras 3.15.1 cannot train on from a legacy file, not from its own either.
    if "scores" in expected and path.suffix == ".keras":
        scores = model.evaluate(xs, expected["t"], verbose=0, return_dict=True)
        found["scores"] = np.concatenate([np.ravel(scores[name]) for name in sorted(scores)])
    if "later" in expected and path.suffix == ".keras":
        for _ in range(2):
            model.train_on_batch(xs, expected["t"])
        found["later"] = model.predict(xs, verbose=0)
    return {
        name: float(np.abs(values - expected[name]).max()) for name, values in found.items()
    }


def main(folder):
    logging.getLogger("absl").setLevel(logging.ERROR)
    # An optimizer's state that Keras does not take is a mistake of ours.
    warnings.filterwarnings("error", message="Skipping variable loading")
    good = True
    for path in sorted(folder.glob("*")):
        if path.suffix == ".npz":
            continue
        differences = check(path, folder)
        fits = all(d <= TOLERANCE[name] for name, d in differences.items())
        good &= fits
        shown = ", ".join(f"{name} {d:.1e}" for name, d in differences.items())
        print(f"{path.name}: {shown} {'ok' if fits else 'DIFFERS'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
