"""Layers as configurations, and back: what models, wrappers and stacks of cells are made again from."""

from __future__ import annotations

from fastrnn.registry import Registry

__all__ = ["deserialize", "registry", "serialize"]

# Filled by `fastrnn.layers` and `fastrnn.models`, each with its own classes.
registry = Registry("layer", "keras.layers")


def serialize(layer):
    """``layer`` as the dict that Keras writes: module, class_name, config, registered_name."""
    return registry.serialize(layer)


def deserialize(config, custom_objects=None):
    """A new layer, without weights, from `serialize`'s dict.

    Parameters
    ----------
    config : dict
    custom_objects : dict of str to class, optional
        Layers of one's own, by name.

    Raises
    ------
    ValueError
        If the class is not known; the message names the nearest.

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> deserialize(serialize(Dense(3))).units
    3
    """
    own = (custom_objects or {}).get(config.get("class_name")) if isinstance(config, dict) else None
    if own is not None:
        return own.from_config(config["config"])
    return registry.deserialize(config)
