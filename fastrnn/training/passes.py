"""How data are gone through: in how many batches, of how many rows, how many of them at a time."""

from __future__ import annotations

import warnings

from fastrnn.checks import whole
from fastrnn.training.run import stateful_layers

__all__ = [
    "BATCH_SIZE", "batches_together", "check_batches_alike", "positive", "reached",
    "size_of_batches", "steps_of_epoch",
]

BATCH_SIZE = 32
# Rows and steps that go through the layers in one pass where nobody asks for single batches: what
# is done once a pass, as projecting the table of an Embedding, is then done for many rows.
PASS_ROWS, PASS_STEPS = 1024, 1 << 19


def positive(name, value, default):
    """An argument that counts something; ``default`` where it was not given."""
    if value is None:
        return default
    if not whole(value):
        raise ValueError(f"{name}: expected a whole number from 1 on; got {value!r}.")
    return int(value)


def size_of_batches(given, rows, steps):
    """How many rows are in a batch: as given, else so many that ``steps`` batches have all rows,
    as in Keras; `BATCH_SIZE` where neither is given."""
    if given is not None:
        return given
    return BATCH_SIZE if steps is None else -(-rows // steps)


def reached(rows, batch_size, steps):
    """How many of the rows are in the first ``steps`` batches (None: in all)."""
    return rows if steps is None else min(rows, steps * batch_size)


def steps_of_epoch(given, rows, batch_size):
    """How many batches an epoch has at most; with a warning where the data have fewer than asked
    for."""
    there = -(-rows // batch_size)
    steps = positive("steps_per_epoch", given, there)
    if steps > there > 0:
        warnings.warn(
            f"steps_per_epoch={steps}: {rows} rows make {there} batches of {batch_size}; an epoch "
            "ends with them.", stacklevel=3,
        )
        return there
    return steps


def batches_together(batch_size, shape):
    """How many batches of rows of this shape make one pass; rows do not depend on one another."""
    if isinstance(shape, list):  # of several inputs
        return min(batches_together(batch_size, part) for part in shape)
    steps = shape[1] if len(shape) > 1 and shape[1] else 512
    return max(1, min(PASS_ROWS, PASS_STEPS // steps) // batch_size)


def check_batches_alike(model, sizes):
    """Raise ValueError where batches of different sizes would meet layers that keep states.

    ``sizes`` has pairs: a number of rows, and how many of them are in a batch.
    """
    met = {min(rows, size) for rows, size in sizes}
    met |= {rows % size for rows, size in sizes if rows > size and rows % size}
    if len(met) > 1 and (layers := stateful_layers(model)):
        shown = ", then ".join(f"{rows} rows in batches of {size}" for rows, size in sizes)
        raise ValueError(
            f"Layer '{layers[0].name}' ({type(layers[0]).__name__}): stateful=True keeps a state "
            f"for each row: expected batches of one size; got {shown}: batches of "
            f"{' and '.join(map(str, sorted(met)))}. Choose a batch_size that divides the data."
        )
