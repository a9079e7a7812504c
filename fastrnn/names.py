"""Names: what to say of one that is not known, and new ones."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import defaultdict

__all__ = ["forget_names", "nearest", "snake_case", "unique_name", "unknown", "unused"]

_counters = defaultdict(itertools.count)


def unknown(kind, given, known):
    """The message for an unknown ``kind`` of thing: what was given, the nearest, and all there are.

    >>> print(unknown("optimizer", "rmsprob", ["adam", "rmsprop"]))
    Unknown optimizer: 'rmsprob'. Did you mean 'rmsprop'? Known: adam, rmsprop.
    """
    known = sorted(known)
    return f"Unknown {kind}: {given!r}.{nearest(given, known)} Known: {', '.join(known)}."


def nearest(given, known):
    """The part of a message that asks whether the nearest name was meant; empty if none is near.

    One that begins with another letter must be nearer: "init" was not meant to be "units".

    >>> nearest("rmsprob", ["adam", "rmsprop"])
    " Did you mean 'rmsprop'?"
    >>> nearest("init", ["units", "activation"])
    ''
    """
    given, lowered = str(given).lower(), {name.lower(): name for name in known}
    alike = [name for name in lowered if name[:1] == given[:1]]
    near = [
        *difflib.get_close_matches(given, lowered, n=1, cutoff=0.7),
        *difflib.get_close_matches(given, alike, n=1, cutoff=0.5),
    ]
    return f" Did you mean '{lowered[near[0]]}'?" if near else ""


def snake_case(name):
    """``"SimpleRNN"`` -> ``"simple_rnn"``, as Keras names its layers.

    >>> snake_case("SimpleRNN"), snake_case("LSTM"), snake_case("Dense")
    ('simple_rnn', 'lstm', 'dense')
    """
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unused(name, taken):
    """``name``, numbered if it is taken.

    >>> unused("dense", {"dense", "dense_1"})
    'dense_2'
    """
    names = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(1)))
    return next(n for n in names if n not in taken)


def unique_name(base):
    """``base`` at first, then ``base`` numbered: the name of what was given none.

    >>> unique_name("forest"), unique_name("forest")
    ('forest', 'forest_1')
    """
    n = next(_counters[base])
    return f"{base}_{n}" if n else base


def forget_names():
    """Let `unique_name` begin anew."""
    _counters.clear()
