"""From raw data to arrays: `sequence` pads, `text` turns words into ids and back."""

from fastrnn.preprocessing import sequence, text

__all__ = ["sequence", "text"]
