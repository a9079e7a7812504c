"""NVIDIA GPUs: which there is, or what is missing to use one.

``discovery``
    Asks NVIDIA's driver; imports no package.
"""

from fastrnn.cuda.discovery import is_available

__all__ = ["is_available"]
