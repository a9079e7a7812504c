"""Values that travel between layers beside plain arrays.

Letters: B rows in a batch, T steps, D features, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Lookup", "RowGradient"]


class Lookup(NamedTuple):
    """``table[ids]`` that nobody has carried out yet.

    A linear map commutes with a lookup, ``E[ids] @ W + b == (E @ W + b)[ids]``, and a batch holds
    far fewer different ids than steps.  So a layer that multiplies its input may take the lookup
    as it is, multiply the rows of the table that occur, and hand on a `Lookup` in turn.

    Attributes
    ----------
    ids : int32 array of shape (B, T) or (B,)
        Row numbers, each in [0, V).
    table : float array of shape (V, D)
    count : opaque, optional
        What an engine found out about which ids occur, so as not to look again.
    """

    ids: Any
    table: Any
    count: Any = None

    @property
    def shape(self):
        """The shape that ``table[ids]`` has."""
        return *self.ids.shape, self.table.shape[1]

    @property
    def ndim(self):
        return self.ids.ndim + 1

    @property
    def dtype(self):
        return self.table.dtype


class RowGradient(NamedTuple):
    """The gradient of a table of which only some rows were used.

    Attributes
    ----------
    rows : int32 array of shape (n,)
        Row numbers, ascending, each once.
    values : float array of shape (n, D)
        Their gradients; those of all other rows are zero.
    """

    rows: Any
    values: Any
