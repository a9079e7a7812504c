"""What a model is given: the shape of its input, said before there is any."""

from __future__ import annotations

from fastrnn.config import floatx

__all__ = ["Input", "InputLayer"]


class InputLayer:
    """The shape and type of a model's input; the first entry of a `Sequential`.

    Parameters
    ----------
    shape : tuple of int or None
        Of one row: ``(500,)`` for 500 ids, ``(None, 8)`` for any number of steps of 8 features.
    batch_size : int, optional
        Where the number of rows is fixed.
    dtype : str, optional
        Kept for the config; the first layer converts what it is given.
    batch_shape : tuple, optional
        In place of ``shape`` and ``batch_size``, both in one.
    name : str, default "input_layer"

    Raises
    ------
    ValueError
        If neither or both of ``shape`` and ``batch_shape`` are given.
    """

    def __init__(self, shape=None, batch_size=None, dtype=None, batch_shape=None,
                 name="input_layer"):
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                f"Input: expected either shape or batch_shape; got shape={shape}, "
                f"batch_shape={batch_shape}."
            )
        if shape is not None:
            if not isinstance(shape, (list, tuple)):
                raise ValueError(f"Input: shape must be a tuple, such as (500,); got {shape!r}.")
            batch_shape = (batch_size, *shape)
        self.batch_shape = tuple(batch_shape)
        self.dtype = dtype or floatx()
        self.name = name

    def get_config(self):
        """The arguments that make an equal one, as a dict."""
        return {"batch_shape": list(self.batch_shape), "dtype": self.dtype, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """A new one from `get_config`'s dict."""
        return cls(**config)

    def __repr__(self):
        return f"<InputLayer {self.batch_shape}>"


def Input(shape=None, batch_size=None, dtype=None, batch_shape=None, name="input_layer"):
    """The input of a model: the same as `InputLayer`.

    >>> Input((500,))
    <InputLayer (None, 500)>
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name)
