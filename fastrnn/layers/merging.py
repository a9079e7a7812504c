"""Layers with several inputs and one output: Add, Concatenate, Dot and their like.

``forward`` takes a list of arrays and a list of masks (entries None, or None for no masks at all);
``backward`` returns a list of gradients, ``compute_output_shape`` takes a list of shapes.

Letters: B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import functools
import operator

import numpy as np

from fastrnn import engines
from fastrnn.config import epsilon
from fastrnn.differentiable import stretched, summed_to
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given, check_mask
from fastrnn.masks import StepMask, counts_of

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Merge",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class Merge(Layer):
    """The base of layers that merge entry by entry.

    Inputs of fewer axes get axes of length 1 behind the batch; axes of length 1 are stretched.
    The output has a mask where all inputs have one: a step counts if it counts in any input.
    """

    supports_masking = True
    inputs = None  # how many there must be, if that is fixed

    # -- to be written by each layer -----------------------------------------------------------

    def merge(self, x, counts):
        """``(y, tape)`` of arrays that fit; ``counts`` has bool arrays that fit too, or None."""
        raise NotImplementedError

    def merge_backward(self, tape, dy):
        """The gradients of all inputs, each in the shape that it was stretched to."""
        raise NotImplementedError

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        shapes = self.check_shapes(input_shape)
        ndim = max(map(len, shapes))
        try:
            return stretched(*(aligned(shape, ndim) for shape in shapes))
        except ValueError:
            raise self.misfit("inputs whose shapes are equal, or 1", shapes) from None

    def check_shapes(self, shapes):
        """The shapes as a list, or ValueError unless there are as many as there must be."""
        if not isinstance(shapes, (list, tuple)) or not all(
            isinstance(shape, (list, tuple)) for shape in shapes
        ):
            raise self.misfit("a list of inputs", shapes)
        if not shapes or self.inputs not in (None, len(shapes)):
            raise self.misfit(f"a list of {self.inputs or 'one or more'} inputs", shapes)
        batches = {shape[0] for shape in shapes} - {None}
        if len(batches) > 1:
            raise self.misfit("inputs with equally many rows", shapes)
        return [tuple(shape) for shape in shapes]

    def misfit(self, expected, shapes):
        """The error for inputs of these shapes."""
        if isinstance(shapes, (list, tuple)) and shapes and isinstance(shapes[0], (list, tuple)):
            shapes = f"{len(shapes)} of shapes {', '.join(str(tuple(s)) for s in shapes)}"
        return ValueError(
            f"Layer '{self.name}' ({type(self).__name__}): expected {expected}; got {shapes}."
        )

    # -- the layer's work ----------------------------------------------------------------------

    def forward(self, x, mask=None, training=False):
        x = [engines.dense(part) for part in x]
        shapes = self.check_shapes([part.shape for part in x])
        ndim = max(part.ndim for part in x)
        counts = []
        for part, m in zip(x, self._masks(mask, x), strict=True):
            if part.ndim > 2:
                check_mask(self, m, part.shape[:2])
            counts.append(steps_of(m, part, ndim))
        try:
            y, tape = self.merge([part.reshape(aligned(part.shape, ndim)) for part in x], counts)
        except ValueError:
            self.compute_output_shape(shapes)  # says what does not fit
            raise
        return y, (shapes, tape)

    def backward(self, tape, dy):
        shapes, tape = tape
        return [
            unstretched(dx, shape)
            for dx, shape in zip(self.merge_backward(tape, dy), shapes, strict=True)
        ]

    def compute_mask(self, x, mask=None):
        masks = self._masks(mask, x)
        if any(m is None for m in masks):
            ragged = filled(masks)
            return ragged and ragged.given.all_given()
        return functools.reduce(either, masks)

    def _masks(self, mask, x):
        """The masks as a list as long as ``x``."""
        if mask is None:
            return [None] * len(x)
        if not isinstance(mask, (list, tuple)) or len(mask) != len(x):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected a list of {len(x)} masks, "
                f"one for each input, or None; got {mask!r}."
            )
        return list(mask)

    # -- use on NumPy arrays -----------------------------------------------------------------------

    def convert_input(self, x):
        if not isinstance(x, (list, tuple)):
            raise self.misfit("a list of inputs", f"{type(x).__name__} of shape {np.shape(x)}")
        return [super(Merge, self).convert_input(part) for part in x]


class Add(Merge):
    """The sum of all inputs.

    Examples
    --------
    >>> Add()([np.ones((1, 2)), np.ones((1, 2))])
    array([[2., 2.]], dtype=float32)
    """

    def merge(self, x, counts):
        return functools.reduce(operator.add, x), len(x)

    def merge_backward(self, tape, dy):
        return [dy] * tape


class Subtract(Merge):
    """The first of two inputs less the second.

    Examples
    --------
    >>> Subtract()([np.full((1, 2), 3.0), np.ones((1, 2))])
    array([[2., 2.]], dtype=float32)
    """

    inputs = 2

    def merge(self, x, counts):
        return x[0] - x[1], None

    def merge_backward(self, tape, dy):
        return [dy, -dy]


class Average(Merge):
    """The mean of all inputs.

    Examples
    --------
    >>> Average()([np.full((1, 2), 3.0), np.ones((1, 2))])
    array([[2., 2.]], dtype=float32)
    """

    def merge(self, x, counts):
        return functools.reduce(operator.add, x) / len(x), len(x)

    def merge_backward(self, tape, dy):
        return [dy / tape] * tape


class Multiply(Merge):
    """The product of all inputs, entry by entry.

    A masked step of an input counts as ones; where all inputs have masks, steps that count in none
    are zero.

    Examples
    --------
    >>> Multiply()([np.full((1, 2), 3.0), np.full((1, 2), 2.0)])
    array([[6., 6.]], dtype=float32)
    """

    def merge(self, x, counts):
        factors = [
            part if c is None else np.where(c, part, 1) for part, c in zip(x, counts, strict=True)
        ]
        y, shown = functools.reduce(operator.mul, factors), None
        if all(c is not None for c in counts):
            shown = functools.reduce(operator.or_, counts)
            y = np.where(shown, y, 0)
        return y, (factors, counts, shown)

    def merge_backward(self, tape, dy):
        factors, counts, shown = tape
        dy = dy if shown is None else np.where(shown, dy, 0)
        gradients = []
        for i, c in enumerate(counts):
            d = functools.reduce(operator.mul, factors[:i] + factors[i + 1 :], dy)
            gradients.append(d if c is None else np.where(c, d, 0))
        return gradients


class Choice(Merge):
    """One of the inputs for each entry, found by going through them one after the other."""

    def beats(self, new, old):
        """Whether an entry takes the place of the one found so far; equal ones do not."""
        raise NotImplementedError

    def merge(self, x, counts):
        y, shown, taken = x[0], counts[0], []
        for part, c in zip(x[1:], counts[1:], strict=True):
            take = self.beats(part, y)
            # Masked steps are not compared: what counts goes before what does not.
            if shown is not None:
                take = take | ~shown
            if c is not None:
                take = take & c
            shown = None if shown is None or c is None else shown | c
            y = np.where(take, part, y)
            taken.append(take)
        return y, taken

    def merge_backward(self, tape, dy):
        gradients = []
        for take in reversed(tape):
            gradients.append(np.where(take, dy, 0))
            dy = np.where(take, 0, dy)
        return [dy, *reversed(gradients)]


class Maximum(Choice):
    """The largest of all inputs, entry by entry; of equal ones the first has the gradient.

    Examples
    --------
    >>> Maximum()([np.array([[1.0, 4.0]]), np.array([[2.0, 3.0]])])
    array([[2., 4.]], dtype=float32)
    """

    def beats(self, new, old):
        return new > old


class Minimum(Choice):
    """The smallest of all inputs, entry by entry; of equal ones the first has the gradient.

    Examples
    --------
    >>> Minimum()([np.array([[1.0, 4.0]]), np.array([[2.0, 3.0]])])
    array([[1., 3.]], dtype=float32)
    """

    def beats(self, new, old):
        return new < old


class Concatenate(Merge):
    """All inputs side by side.

    Parameters
    ----------
    axis : int, default -1
        Along which they are put together; in all other axes their shapes are equal.

    Notes
    -----
    Side by side in features, a step counts if it counts in any input, one without a mask included;
    one after the other in steps, the masks are put together too.

    Examples
    --------
    >>> Concatenate()([np.ones((2, 3)), np.zeros((2, 1))]).shape
    (2, 4)
    """

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = operator.index(axis)

    def _axis(self, ndim):
        return self.axis + ndim if self.axis < 0 else self.axis

    def compute_output_shape(self, input_shape):
        shapes = self.check_shapes(input_shape)
        axis, ndim = self._axis(len(shapes[0])), len(shapes[0])
        if not 0 < axis < ndim or any(len(shape) != ndim for shape in shapes):
            raise self.misfit(f"inputs of equally many axes, with axis {self.axis}", shapes)
        output = []
        for a, sizes in enumerate(zip(*shapes, strict=True)):
            known = set(sizes) - {None}
            if a == axis:
                output.append(None if None in sizes else sum(sizes))
            elif len(known) > 1:
                raise self.misfit(f"inputs whose shapes differ in axis {self.axis} only", shapes)
            else:
                output.append(known.pop() if known else None)
        return tuple(output)

    def merge(self, x, counts):
        axis = self._axis(x[0].ndim)
        ends = np.cumsum([part.shape[axis] for part in x])[:-1]
        return np.concatenate(x, axis=axis), (ends, axis)

    def merge_backward(self, tape, dy):
        return [engines.current().asarray(d) for d in np.split(dy, *tape)]

    def compute_mask(self, x, mask=None):
        masks = self._masks(mask, x)
        if all(m is None for m in masks) or x[0].ndim < 3:
            return None
        if self._axis(x[0].ndim) == 1:
            mask = StepMask.from_array(side_by_side(masks, x))
            if filled(masks) is not None:
                given = side_by_side([m and m.given for m in masks], x)
                mask = mask.within(StepMask.from_array(given).all_given())
            return mask
        if any(m is None for m in masks):
            rows, steps = x[0].shape[:2]
            return StepMask.from_lengths(np.full(rows, steps), steps).within(filled(masks))
        return functools.reduce(either, masks)

    def get_config(self):
        return super().get_config() | {"axis": self.axis}


class Dot(Merge):
    """Products of two inputs, row by row, summed over an axis of each: scores of attention.

    Parameters
    ----------
    axes : int or (int, int)
        The axis of both inputs, or of each, over which to sum; not the batch.
    normalize : bool, default False
        Bring what is summed to length 1 first, which gives the cosine.

    Notes
    -----
    The output has the remaining axes of the first input, then those of the second; its mask is
    none.

    Examples
    --------
    >>> query, keys = np.ones((2, 5)), np.ones((2, 3, 5))
    >>> Dot(axes=(1, 2))([query, keys]).shape
    (2, 3)
    """

    inputs = 2

    def __init__(self, axes, normalize=False, **kwargs):
        super().__init__(**kwargs)
        both = [axes, axes] if isinstance(axes, int) else axes
        if not isinstance(both, (list, tuple)) or len(both) != 2 or not all(
            isinstance(axis, int) for axis in both
        ):
            raise ValueError(
                f"Layer '{self.name}' (Dot): axes must be a whole number or two of them; "
                f"got {axes!r}."
            )
        self.axes = axes if isinstance(axes, int) else list(axes)
        self.normalize = normalize

    def _axes(self, shapes):
        """The axes as numbers from 1 on."""
        given = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        axes = [a + len(s) if a < 0 else a for a, s in zip(given, shapes, strict=True)]
        if not all(0 < a < len(s) for a, s in zip(axes, shapes, strict=True)):
            raise self.misfit(f"inputs with axes={self.axes} behind the batch", shapes)
        return axes

    def compute_output_shape(self, input_shape):
        shapes = self.check_shapes(input_shape)
        axes = self._axes(shapes)
        first, second = (shape[a] for shape, a in zip(shapes, axes, strict=True))
        if None not in (first, second) and first != second:
            raise self.misfit(f"inputs of equal size in axes={self.axes}", shapes)
        (batch, *left), (_, *right) = (
            (*shape[:a], *shape[a + 1 :]) for shape, a in zip(shapes, axes, strict=True)
        )
        return batch, *(left + right or [1])

    def forward(self, x, mask=None, training=False):
        for part in self._masks(mask, x):
            check_given(self, part)
        x = [engines.dense(part) for part in x]
        output_shape = self.compute_output_shape([part.shape for part in x])
        axes = self._axes([part.shape for part in x])
        # (B, remaining entries, entries summed over) each, whatever the axes are.
        moved = [np.moveaxis(part, a, -1) for part, a in zip(x, axes, strict=True)]
        left, right = (part.reshape(len(part), -1, part.shape[-1]) for part in moved)
        scales = [None, None]
        if self.normalize:
            scales = [inverse_length(part) for part in (left, right)]
            left, right = left * scales[0], right * scales[1]
        y = left @ right.swapaxes(1, 2)
        return y.reshape(output_shape), (left, right, scales, axes, [m.shape for m in moved])

    def backward(self, tape, dy):
        left, right, scales, axes, shapes = tape
        dy = dy.reshape(len(left), left.shape[1], right.shape[1])
        gradients = []
        for d, part, scale, axis, shape in zip(
            (dy @ right, dy.swapaxes(1, 2) @ left), (left, right), scales, axes, shapes, strict=True
        ):
            if scale is not None:
                d = unit_backward(part, scale, d)
            gradients.append(engines.current().asarray(np.moveaxis(d.reshape(shape), -1, axis)))
        return gradients

    def compute_mask(self, x, mask=None):
        return None

    def get_config(self):
        return super().get_config() | {"axes": self.axes, "normalize": self.normalize}


# -- the layers as functions ------------------------------------------------------


def add(inputs, **kwargs):
    """`Add` applied to a list of inputs."""
    return Add(**kwargs)(inputs)


def subtract(inputs, **kwargs):
    """`Subtract` applied to a list of two inputs."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs, **kwargs):
    """`Multiply` applied to a list of inputs."""
    return Multiply(**kwargs)(inputs)


def average(inputs, **kwargs):
    """`Average` applied to a list of inputs."""
    return Average(**kwargs)(inputs)


def maximum(inputs, **kwargs):
    """`Maximum` applied to a list of inputs."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs, **kwargs):
    """`Minimum` applied to a list of inputs."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs, axis=-1, **kwargs):
    """`Concatenate` applied to a list of inputs."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs, axes=-1, **kwargs):
    """`Dot` applied to a list of two inputs."""
    return Dot(axes=axes, **kwargs)(inputs)


# -- what they share ------------------------------------------------------------


def aligned(shape, ndim):
    """A shape with axes of length 1 behind the batch, up to ``ndim``.

    >>> aligned((2, 3), 4)
    (2, 1, 1, 3)
    """
    return shape[0], *[1] * (ndim - len(shape)), *shape[1:]


def unstretched(dx, shape):
    """The gradient of an array of that shape, which was aligned and stretched to that of ``dx``."""
    return summed_to(dx, aligned(shape, dx.ndim)).reshape(shape)


def steps_of(mask, x, ndim):
    """A mask as a bool array that meets ``x``; None where it has none, or was aligned."""
    if mask is None or x.ndim != ndim or ndim < 3:
        return None
    counts = counts_of(mask).reshape(*mask.shape, *[1] * (ndim - 2))
    return engines.current().asarray(counts)


def side_by_side(masks, x):
    """The masks of sequences, one behind the other, as an array; None stands for all steps."""
    return np.concatenate([
        np.ones(part.shape[:2], bool) if m is None else np.asarray(m)
        for part, m in zip(x, masks, strict=True)
    ], axis=1)  # fmt: skip


def either(a, b):
    """The mask of the steps that count in one of two masks."""
    if a is b:
        return a
    return StepMask.from_array(np.asarray(a) | np.asarray(b)).within(filled([a, b]))


def filled(masks):
    """The first of some masks (or None) that knows of filling; None if there is none."""
    return next((m for m in masks if m is not None and m.given is not None), None)


def inverse_length(x):
    """1 / |x| over the last axis, which stays; at most 1 / epsilon."""
    length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
    return 1 / np.maximum(length, x.dtype.type(epsilon()))


def unit_backward(unit, scale, dunit):
    """The gradient of x for ``unit = x * scale``: of it, only what is at right angles counts."""
    along = (dunit * unit).sum(axis=-1, keepdims=True) * unit
    return scale * (dunit - np.where(scale < 1 / epsilon(), along, 0))
