"""What an engine must know of a recurrent cell: its equations' name and its activations."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CellSpec"]


class CellSpec(NamedTuple):
    """A recurrent cell without its weights.

    Attributes
    ----------
    kind : str
        ``"simple_rnn"``: h' = act(xz + h U).
    activation : str
        Name of the activation of the new state.
    """

    kind: str
    activation: str = "tanh"
