"""What layers with a vocabulary have learned, in files.

Their configuration has a vocabulary only if they were made with one.  One that was learned stands
in fastrnn's own files as JSON, in Keras's as a text, a token in a line, below ``assets``; the
weights of its tokens lie there among those of the layers, but have a name.
"""

from __future__ import annotations

import contextlib

from fastrnn.layers.vocabulary import IndexLookup
from fastrnn.layers.words import lines_of
from fastrnn.saving.tree import holders

__all__ = [
    "WEIGHTS", "as_text", "from_text", "in_config", "is_read_by_keras", "places", "with_them",
]

WEIGHTS = "idf_weights"


def with_them(model):
    """The `fastrnn.saving.tree.Holder` of each layer with a vocabulary."""
    return [holder for holder in holders(model) if isinstance(holder.layer, IndexLookup)]


def places(holder):
    """The paths at which Keras keeps what such a layer has learned: a `TextVectorization` has a
    `StringLookup` inside there."""
    inner = type(holder.layer).__name__ == "TextVectorization"
    return [holder.path] + [f"{holder.path}/_lookup_layer"] * inner


def is_read_by_keras(layer):
    """Whether Keras reads `as_text` right.

    It takes many a character for the end of a line, and does not expect the weights of padding.
    """
    tokens = map(str, layer.get_vocabulary(False))
    weights = layer.idf_weights
    return all(token.splitlines() == [token] for token in tokens) and (
        weights is None or len(weights) == layer.vocabulary_size()
    )


def as_text(layer):
    """The vocabulary of a layer, a token in a line."""
    return "\n".join(map(str, layer.get_vocabulary()))


def from_text(layer, text, weights=None):
    """Give a layer what `as_text` wrote, or Keras.

    Raises
    ------
    ValueError
        If it does not fit the layer.
    """
    lines = lines_of(text)
    special, start = [str(token) for token in layer.special], layer.first_token
    if lines[:start] != special:
        raise ValueError(
            f"layer '{layer.name}' ({type(layer).__name__}): expected a vocabulary that begins "
            f"with {special}; got {lines[:start]}."
        )
    tokens = [layer.shown(layer.key_of_line(line)) for line in lines[start:]]
    if tokens:  # else it had not learned any
        layer.restore(tokens, weights)


@contextlib.contextmanager
def in_config(layers):
    """Inside, the configurations of these layers have what they have learned."""
    changed = [layer for layer in layers if layer.learned() is not None]
    for layer in changed:
        layer.input_vocabulary = layer.get_vocabulary()
        if layer.idf_weights is not None:
            layer.input_idf_weights = layer.idf_weights[: layer.vocabulary_size()].tolist()
    try:
        yield
    finally:
        for layer in changed:
            layer.input_vocabulary = layer.input_idf_weights = None
