"""Random numbers from counters.

Every draw belongs to a seed and the number of the call, never to a thread: the generator of a call
starts at a place of its own in the sequence of a Philox counter, so equal seeds give equal numbers
whatever ran in between.  Seeds that nobody gave come from Python's own generator, as in Keras.
"""

from __future__ import annotations

import operator

import numpy as np

__all__ = ["Stream", "draw_seed", "generator", "set_random_seed", "streams_of"]

_MAX_SEED = 2**32 - 1


def set_random_seed(seed):
    """Make all that follows repeatable, bit for bit.

    Seeds Python's ``random``, from which layers and initializers take the seeds they were not
    given, and NumPy's global generator.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.

    Raises
    ------
    ValueError
        If the seed is anything else.

    Examples
    --------
    >>> set_random_seed(7); a = draw_seed()
    >>> set_random_seed(7); a == draw_seed()
    True
    """
    import random as python_random

    if not isinstance(seed, int) or not 0 <= seed <= _MAX_SEED:
        raise ValueError(f"set_random_seed: expected an integer in [0, 2**32 - 1]; got {seed!r}.")
    python_random.seed(seed)
    np.random.seed(seed)


def draw_seed():
    """A new seed from Python's global generator."""
    import random as python_random

    return python_random.randint(1, 10**9)


def generator(seed, call=0):
    """NumPy's generator of the ``call``-th draw of ``seed``.

    >>> bool(generator(1, call=3).random() == generator(1, call=3).random())
    True
    >>> bool(generator(1, call=3).random() == generator(1, call=4).random())
    False
    """
    # The low words count the numbers of one draw, so draws never run into one another.
    counter = np.array([0, 0, 0, call], np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


class Stream:
    """A seed and how many calls have drawn from it: one for each layer with random numbers.

    Parameters
    ----------
    seed : int, optional
        Default: drawn from Python's global generator.

    Examples
    --------
    >>> a, b = Stream(5), Stream(5)
    >>> bool((a.uniform((2, 3)) == b.uniform((2, 3))).all())
    True
    """

    def __init__(self, seed=None):
        self.seed = draw_seed() if seed is None else check_seed(seed)
        self.calls = 0

    def next(self):
        """The generator of the next call."""
        self.calls += 1
        return generator(self.seed, self.calls)

    def uniform(self, shape):
        """The next call's numbers in [0, 1), float32 of this shape."""
        return self.next().random(shape, np.float32)

    def normal(self, shape):
        """The next call's numbers of mean 0 and variance 1, float32 of this shape."""
        return self.next().standard_normal(shape, np.float32)


def streams_of(layer):
    """The streams of a layer and of the layers inside it, a list in an order that stays.

    >>> from fastrnn.layers import Dropout
    >>> [stream.seed for stream in streams_of(Dropout(0.5, seed=3))]
    [3]
    """
    return [
        value for part in layer.walk() for value in vars(part).values() if isinstance(value, Stream)
    ]


def check_seed(seed):
    """``seed`` as an int.

    Raises
    ------
    ValueError
        If it is no whole number from 0 on.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"seed: expected a whole number from 0 on, or None; got {seed!r}.")
    return number
