"""What the tests that compare with Keras share: reading its values, and comparing them."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest

import fastrnn

__all__ = [
    "ABSENT",
    "TOLERANCE",
    "check",
    "check_arguments",
    "each",
    "engine",
    "load",
    "named",
]

TOLERANCE = 1e-5

# What Keras's calls take that fastrnn has no use for: other ways to run, and storage formats.
ABSENT = {
    "auto_scale_loss",
    "gradient_accumulation_steps",
    "jit_compile",
    "lora_alpha",
    "lora_rank",
    "loss_scale_factor",
    "quantization_config",
    "run_eagerly",
    "steps_per_execution",
}


def load(name):
    """Return the topics of one file, with each array in the place of its reference."""
    folder = Path(__file__).parent
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)

    def attach(tree):
        if isinstance(tree, dict):
            return {key: attach(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [attach(value) for value in tree]
        if isinstance(tree, str) and tree.startswith("@"):
            kind, offset, *shape = tree[1:].split(" ")
            shape = [int(n) for n in shape[0].split(",")] if shape[0] else []
            start = int(offset)
            return arrays[kind][start : start + int(np.prod(shape))].reshape(shape)
        return tree

    return attach(json.loads((folder / f"{name}.json").read_text()))


def each(cases):
    """Run a test with each case, under the case's name."""
    return pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in cases.items()])


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    """Run the test on each engine."""
    with fastrnn.engines.using(request.param):
        yield request.param


def named(module, what):
    """Return the optimizer or loss that a case describes; a name stays a name."""
    if isinstance(what, dict):
        return getattr(module, what["class"])(**what["config"])
    return what


def check(actual, expected, tolerance=TOLERANCE, where=""):
    """Compare arrays, or lists of them, in structure, shape, type and value."""
    if isinstance(expected, list):
        assert isinstance(actual, (list, tuple)), f"{where}: {type(actual)} is no list"
        assert len(actual) == len(expected), f"{where}: {len(actual)} for {len(expected)} parts"
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            check(a, e, tolerance, f"{where}[{i}]")
    else:
        assert isinstance(actual, np.ndarray), f"{where}: {type(actual)} is no array"
        found, wanted = (actual.shape, actual.dtype), (expected.shape, expected.dtype)
        assert found == wanted, f"{where}: {found} for {wanted}"
        np.testing.assert_allclose(actual, expected, tolerance, tolerance, err_msg=where)


def check_arguments(function, expected):
    """Compare the arguments of a call, their order, and defaults that are plain values."""
    parameters = inspect.signature(function).parameters
    of_any_layer = {"dtype", "name"} - set(parameters)  # taken as keywords
    expected = [pair for pair in expected if pair[0] not in ABSENT | of_any_layer]
    names = [argument for argument, _ in expected]
    assert [p for p in parameters if p in names] == names
    for argument, default in expected:
        if "required" in default:
            assert parameters[argument].default is inspect.Parameter.empty, argument
        elif "default" in default:
            assert parameters[argument].default == default["default"], argument
