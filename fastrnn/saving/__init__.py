"""Models in files: `native` is fastrnn's own format."""

from fastrnn.saving.native import load_model, read_extra, save_model

__all__ = ["load_model", "read_extra", "save_model"]
