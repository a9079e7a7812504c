"""What a model is given: the shape of its input, said before there is any."""

from __future__ import annotations

from fastrnn.config import floatx
from fastrnn.graph import Node
from fastrnn.layers.base import Layer

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """The shape and type of a model's input; its ``output`` is the symbolic tensor.

    Parameters
    ----------
    shape : tuple of int or None
        Of one row: ``(500,)`` for 500 ids, ``(None, 8)`` for any number of steps of 8 features.
    batch_size : int, optional
        Where the number of rows is fixed.
    dtype : str, optional
        Kept for the config; the layers that read it convert what they are given.
    sparse, ragged, optional : bool, default False
        Only False is supported.  Sequences of different lengths need no ``ragged``: any input with
        steps takes lists of them.
    batch_shape : tuple, optional
        In place of ``shape`` and ``batch_size``, both in one.
    input_tensor : None
        Not supported.
    input_shape, batch_input_shape
        ``shape`` and ``batch_shape``, by the names of older versions of Keras.
    name : str, optional
        Default: "input_layer", numbered.

    Raises
    ------
    ValueError
        If neither or both of ``shape`` and ``batch_shape`` are given, or an argument that is not
        supported.
    """

    supports_masking = True

    def __init__(self, shape=None, batch_size=None, dtype=None, sparse=None, ragged=None,
                 batch_shape=None, input_tensor=None, optional=False, name=None, input_shape=None,
                 batch_input_shape=None):
        shape = input_shape if shape is None else shape
        batch_shape = batch_input_shape if batch_shape is None else batch_shape
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                f"Input: expected either shape or batch_shape; got shape={shape}, "
                f"batch_shape={batch_shape}."
            )
        if shape is not None:
            if not isinstance(shape, (list, tuple)):
                raise ValueError(f"Input: shape must be a tuple, such as (500,); got {shape!r}.")
            batch_shape = (batch_size, *shape)
        given = {"sparse": sparse, "ragged": ragged, "input_tensor": input_tensor,
                 "optional": optional}
        for argument, value in given.items():
            if value is not None and value is not False:
                raise ValueError(f"Input: {argument} is not supported; got {value!r}.")
        super().__init__(name=name)
        self.dtype = dtype or floatx()
        self.batch_shape = tuple(batch_shape)
        self.build(self.batch_shape)
        Node(self, None, self.batch_shape, self.dtype)

    def get_config(self):
        """The arguments that make an equal one, as a dict."""
        return {
            "batch_shape": list(self.batch_shape), "dtype": self.dtype, "sparse": False,
            "ragged": False, "name": self.name, "optional": False,
        }

    def __call__(self, *args, **kwargs):
        raise TypeError(f"Input '{self.name}' is applied to nothing; its output is `.output`.")

    def __repr__(self):
        return f"<InputLayer {self.batch_shape}>"


def Input(shape=None, batch_size=None, dtype=None, sparse=None, ragged=None, batch_shape=None,
          name=None, tensor=None, optional=False):
    """The input of a model, a symbolic tensor: the output of an `InputLayer`.

    Examples
    --------
    >>> Input((500,), name="words")
    <SymbolicTensor (None, 500) of 'words'>
    """
    layer = InputLayer(
        shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name
    )
    return layer.output
