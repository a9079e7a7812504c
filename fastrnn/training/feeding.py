"""From what users give as x, y and weights to what training takes, with all checks.

Letters: N rows in all, T steps, D features, C columns of the output.
"""

from __future__ import annotations

import functools

import numpy as np

from fastrnn import engines, losses
from fastrnn.adapters import (
    Data,
    JointRows,
    RaggedRows,
    entries,
    filled_up,
    is_ragged,
    of_rank,
    rows_of,
    texts_of,
    weights_of_classes,
)
from fastrnn.checks import check_finite, fits, row_count, shown
from fastrnn.graph import flatten
from fastrnn.layers.operators import GetItem
from fastrnn.sources import Source, Streamed
from fastrnn.training.compiling import Compiled

__all__ = ["Fed"]


class Fed(Compiled):
    """What a model makes of the data that it is given: `Data`, checked, or `Streamed`."""

    def _rows(self, x):
        self.move()
        if not self.built:
            self.expect(x)
        names = self.input_names
        if len(names) == 1:
            x = _alone("x", x, names, lambda a: self.built and _is_whole(a, self.input_shape))
            return self._rows_of_input("x", x, self.convert_input, 0)
        given = entries("x", x, names, more=True)
        parts = [
            self._rows_of_input(f"x['{name}']", own, functools.partial(self.convert_part, i), i)
            for i, (name, own) in enumerate(zip(names, given, strict=True))
        ]
        counts = [len(part) for part in parts]
        if len(set(counts)) > 1:
            counts = ", ".join(f"{c} for '{n}'" for n, c in zip(names, counts, strict=True))
            raise ValueError(
                f"Model '{self.name}': expected equally many rows for all inputs; got {counts}."
            )
        return JointRows(parts)

    def _rows_of_input(self, name, x, convert, i):
        make = texts_of if self.takes_texts(i) else rows_of
        rows = make(x, convert, name, self.input_shapes[i] if self.built else None)
        if not self.built:
            self.build(rows.build_shape)
        expected = self.input_shapes[i]
        if len(rows.shape) != len(expected):
            raise ValueError(
                f"Model '{self.name}': expected {name} of {len(expected)} axes, like "
                f"{shown(expected)}, with which it was built; got shape {rows.shape}."
            )
        return rows

    def _data(self, x, y, sample_weight=None):
        """x, y and weights as `Data`, checked."""
        rows = self._rows(x)
        names = self.output_names
        if [h.name for h in self._scores.heads] != (names if len(names) > 1 else [None]):
            # Compiled before it was built.
            self._scores = self._scores_for(self._compiled)
        heads = self._scores.heads
        if y is None:
            raise ValueError(f"Model '{self.name}': expected labels y beside x; got none.")
        if len(names) == 1:
            def is_all(inside):
                return hasattr(inside, "__len__") and 1 < len(rows) == len(inside)

            ys = [_alone("y", y, names, is_all)]
            weights = [_alone("sample_weight", sample_weight, names, is_all)]
        else:
            ys, weights = self._labels(y, names), self._weights(sample_weight, names)
        shapes = flatten(self.compute_output_shape(rows.shape))
        by_step = self._steps_followed(rows, shapes)
        parts = rows.parts if isinstance(rows, JointRows) else [rows]
        lengths = [None if i is None else parts[i].lengths for i in by_step]
        found = [
            self._labels_of_output(*own, len(rows))
            for own in zip(heads, ys, weights, shapes, self.output_dtypes, lengths, strict=True)
        ]
        if len(names) == 1:
            return Data(rows, *found[0], by_step[0])
        targets, weights = map(list, zip(*found, strict=True))
        return Data(rows, targets, weights, by_step)

    def _labels(self, y, names):
        """The labels of each output; None for those that need none."""
        needed = [h.name for h in self._scores.heads if h.loss or any(h._given)]
        if len(needed) < len(names) and isinstance(y, (list, tuple)) and len(y) == len(needed):
            y = dict(zip(needed, y, strict=True))
        return entries("y", y, names, missing=True)

    def _weights(self, sample_weight, names):
        """The weights of the rows for each output: the same for all, or a list or dict."""
        if isinstance(sample_weight, (list, tuple, dict)):
            return entries("sample_weight", sample_weight, names, missing=True)
        return [sample_weight] * len(names)

    def _labels_of_output(self, head, y, weight, output_shape, dtype, lengths, rows):
        """Labels and weights of one output, checked; None where there are none."""
        where = f" of output '{head.name}'" if head.name else ""
        if y is None:
            if head.loss or any(head._given):
                raise ValueError(
                    f"Model '{self.name}': expected labels y{where} beside x; got none."
                )
        elif row_count("y", y) != rows:
            raise ValueError(
                f"Model '{self.name}': expected one label for each row; x has {rows} rows, "
                f"y{where} has {len(y)}."
            )
        if len(output_shape) > 2 and output_shape[1] is None and y is not None:
            raise ValueError(
                f"Model '{self.name}': y{where} has labels of steps, and how many there are "
                "differs from batch to batch: give TextVectorization an output_sequence_length."
            )
        if y is not None and len(output_shape) > 2:
            y = filled_up(f"y{where}", y, lengths)
        if weight is not None and is_ragged(weight):
            weight = filled_up(f"sample_weight{where}", weight, lengths)
        dtype = np.dtype(dtype)
        target = head.target(y, output_shape, dtype)
        if target is not None:
            target = engines.current().staged(target)
        if weight is not None:
            weight = losses.sample_weights(weight, rows, tuple(output_shape[1:-1]))
            check_finite("sample_weight", weight)
            weight = weight.astype(dtype, copy=False)
        return target, weight

    def inputs_of(self, x):
        """``(x, mask)`` of rows that make one batch; the weights are made for them if need be."""
        return self._rows(x).batch(slice(None))

    def batch_of(self, x, y, sample_weight=None, class_weight=None):
        """``(x, mask, target, weight)`` of rows that make one batch."""
        data = self._by_class(self._data(x, y, sample_weight), class_weight)
        return data.batch(slice(None))

    def _streamed(self, method, x, class_weight=None, shuffle=False, **others):
        """`Streamed` for an ``x`` that makes batches; the others have no place beside it."""
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{method}: {name} has no place beside an x that makes batches, "
                    f"{type(x).__name__}: each of them is (x, y) or (x, y, sample_weight)."
                )
        return Streamed(self, Source(x, shuffle), class_weight)

    def _steps_followed(self, rows, shapes):
        """For each output the number of the ragged input that its steps are those of, or None."""
        parts = rows.parts if isinstance(rows, JointRows) else [rows]
        ragged = [i for i, part in enumerate(parts) if isinstance(part, RaggedRows)]
        if not ragged:
            return [None] * len(shapes)
        try:
            shapes = self._output_shapes_of_steps(parts, {i: -1 - i for i in ragged})
        except ValueError:  # inputs that are merged step by step have their steps in common
            shapes = self._output_shapes_of_steps(parts, dict.fromkeys(ragged, -1 - ragged[0]))
        if any(len(shape) > 2 and shape[1] is None for shape in shapes):
            self._check_no_steps_taken()
        return [
            -1 - shape[1] if len(shape) > 2 and (shape[1] or 0) < 0 else None for shape in shapes
        ]

    def _check_no_steps_taken(self):
        """Raise if a layer takes steps of sequences of different lengths: labels do not follow.

        That one does shows in the output's shape, which does not say how many are left.
        """
        for layer in self.walk():
            if isinstance(layer, GetItem) and not layer.keeps_steps(len(layer.input_shape)):
                raise ValueError(
                    f"Layer '{layer.name}' (GetItem): takes some steps of sequences of different "
                    "lengths, where labels for the steps that are left cannot follow. Pad x to one "
                    "length (preprocessing.sequence.pad_sequences)."
                )

    def _output_shapes_of_steps(self, parts, steps):
        """The shapes of the outputs where the inputs, by number, have so many ``steps``.

        Numbers of steps that nobody has say where they come out again.
        """
        shapes = [
            (part.shape[0], steps[i], *part.shape[2:]) if i in steps else part.shape
            for i, part in enumerate(parts)
        ]
        return flatten(self.compute_output_shape(shapes if len(parts) > 1 else shapes[0]))

    def _by_class(self, data, class_weight):
        """The same data, weighted by class."""
        if class_weight is None:
            return data
        if isinstance(data.target, list):
            raise ValueError(
                f"class_weight: model '{self.name}' has {len(data.target)} outputs; give "
                "sample_weight, a list with weights for each of them."
            )
        if data.weight is not None:
            raise ValueError("Give sample_weight or class_weight, not both.")
        by_step = len(self.compute_output_shape(data.rows.shape)) > 2
        weight = weights_of_classes(data.target, class_weight, by_step)
        weight = weight.astype(self.output_dtypes[0])
        return data._replace(weight=weight)


def _is_whole(inside, expected):
    """Whether what is alone in a list is the data of an input, and not a row of them."""
    if np.ndim(inside) == len(expected):
        return True
    return (
        isinstance(inside, np.ndarray) and fits(of_rank(inside, expected).shape, expected)
        and not fits((1, *inside.shape), expected)
    )


def _alone(argument, given, names, fits):
    """What a model with one input (or output) was given, without a list or dict of one around it.

    ``fits`` tells whether what is inside a list is the whole: else the list is the data.
    """
    if isinstance(given, dict):
        return entries(argument, given, names, more=argument == "x")[0]
    if isinstance(given, (list, tuple)) and len(given) == 1 and fits(given[0]):
        return given[0]
    return given
