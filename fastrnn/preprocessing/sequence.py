"""Sequences of different lengths in one array."""

import operator

import numpy as np

_SIDES = ("pre", "post")


def pad_sequences(
    sequences, maxlen=None, dtype="int32", padding="pre", truncating="pre", value=0.0
):
    """Put sequences of different lengths into one array, one a row.

    Parameters
    ----------
    sequences : sequence of N sequences
        Lists of numbers, or arrays of shape (length, …), the same after the length for all.
    maxlen : int, optional
        T, the length of all rows. By default, that of the longest sequence.
    dtype : dtype, default "int32"
        Of the result.
    padding : {"pre", "post"}, default "pre"
        Where the padding goes: before or after a sequence shorter than T.
    truncating : {"pre", "post"}, default "pre"
        What a sequence longer than T loses: its beginning or its end.
    value : number or str, default 0.0
        What to pad with.

    Returns
    -------
    array of ``dtype``, shape (N, T, …)
        An empty sequence becomes a row of nothing but ``value``.

    Raises
    ------
    ValueError
        If ``sequences`` is not a sequence of sequences, their shapes do not agree, a number does
        not fit ``dtype``, or an argument is none of those above.
    TypeError
        If ``maxlen`` is not a whole number.

    Examples
    --------
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]])
    array([[0, 0, 1],
           [0, 2, 3],
           [4, 5, 6]], dtype=int32)
    >>> pad_sequences([[1], [4, 5, 6]], maxlen=2, padding="post", value=-1)
    array([[ 1, -1],
           [ 5,  6]], dtype=int32)
    """
    for name, side in (("padding", padding), ("truncating", truncating)):
        if side not in _SIDES:
            raise ValueError(f'{name} must be "pre" or "post", got {side!r}')
    dtype = np.dtype(dtype)
    if isinstance(value, str) and dtype.kind not in "OSU":
        raise ValueError(
            f"value={value!r} is a str, which dtype {dtype} cannot hold; use dtype=object"
        )
    lengths = _lengths(sequences)
    if maxlen is None:
        if not lengths:
            raise ValueError("sequences is empty: give at least one, or say maxlen")
        maxlen = max(lengths)
    elif operator.index(maxlen) < 1:
        raise ValueError(f"maxlen must be at least 1, got {maxlen}")

    shape = _shape_of_a_step(sequences)
    padded = np.full((len(lengths), maxlen, *shape), value, dtype)
    for i, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        if not length:  # an empty list does not tell its shape
            continue
        if length > maxlen:
            sequence = sequence[-maxlen:] if truncating == "pre" else sequence[:maxlen]
            length = maxlen
        row = padded[i, maxlen - length :] if padding == "pre" else padded[i, :length]
        try:
            # NumPy would stretch some other shapes to the row's, or take a list for an object.
            # Not so with a row of two numbers and more: there the assignment below is the check.
            if (shape or length == 1 or dtype.hasobject) and np.shape(sequence) != row.shape:
                raise ValueError(f"expected the shape {row.shape}, got {np.shape(sequence)}")
            row[...] = sequence
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"sequences[{i}] does not fit: {error}") from error
    return padded


def _lengths(sequences) -> list[int]:
    try:
        n_sequences = len(sequences)
    except TypeError:
        raise ValueError(
            f"sequences must be a list of sequences, got {type(sequences).__name__}"
        ) from None
    lengths = [0] * n_sequences
    for i, sequence in enumerate(sequences):
        if isinstance(sequence, (str, bytes)) or not hasattr(sequence, "__len__"):
            raise ValueError(
                f"sequences must be a list of sequences of numbers, got {sequence!r:.80} at "
                f"position {i}"
            )
        lengths[i] = len(sequence)
    return lengths


def _shape_of_a_step(sequences) -> tuple[int, ...]:
    """The shape of one element: () for numbers. The first sequence that has one decides."""
    for i, sequence in enumerate(sequences):
        if len(sequence):
            try:
                return np.shape(sequence)[1:]
            except ValueError as error:
                raise ValueError(f"sequences[{i}] has no shape: {error}") from error
    return ()
