"""Layers as configurations, and back.

What models, wrappers and stacks of cells are made again from.
"""

from __future__ import annotations

from fastrnn.registry import Registry

__all__ = ["deserialize", "registry", "serialize"]

# Filled by `fastrnn.layers` and `fastrnn.models`, each with its own classes.
registry = Registry("layer", "keras.layers")
serialize, deserialize = registry.serialize, registry.deserialize
