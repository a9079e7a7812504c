"""What an engine must know of a recurrent cell: its equations' name and its activations."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CellSpec"]

_GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
_STATES = {"simple_rnn": 1, "lstm": 2, "gru": 1}


class CellSpec(NamedTuple):
    """A recurrent cell without its weights.

    Letters: x W + b is the projected input, U the recurrent kernel, f the activation and s the
    recurrent activation; the gates stand side by side in the columns of W, U and b, in this order.

    ================  ============================================================================
    kind              equations
    ================  ============================================================================
    ``"simple_rnn"``  h' = f(x W + b + h U)
    ``"lstm"``        gates i, f, c, o: c' = s(f) c + s(i) f(c), h' = s(o) f(c')
                      (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)
    ``"gru"``         gates z, r, h: h' = s(z) h + (1 - s(z)) g, where the candidate g is
                      f(x W_h + b_h + s(r) (h U_h + c)) with ``reset_after`` (c: a bias inside),
                      else f(x W_h + b_h + (s(r) h) U_h)  (Cho et al., 2014)
    ================  ============================================================================

    Attributes
    ----------
    kind : {"simple_rnn", "lstm", "gru"}
    activation : str, default "tanh"
    recurrent_activation : str, default "sigmoid"
        Of the gates; a SimpleRNN has none.
    reset_after : bool, default True
        Of a GRU: multiply by the reset gate after the product with U rather than before it.

    Examples
    --------
    >>> CellSpec("lstm").gates, CellSpec("lstm").states
    (4, 2)
    """

    kind: str
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    reset_after: bool = True

    @property
    def gates(self):
        """G: how many times H columns the kernels have."""
        return _GATES[self.kind]

    @property
    def states(self):
        """How many arrays (B, H) make a state: h, for an LSTM h and c."""
        return _STATES[self.kind]
