"""HDF5 files that may have been made to do harm: read with care, and written as Keras does.

An HDF5 file can point to other files, and declare arrays that are larger than any memory while next
to nothing is stored.  Here only what lies in the file itself is followed, and `check_expansion`
draws the line at what compression may gain.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os

import numpy as np

__all__ = ["Reader", "check_expansion", "h5py", "write_names"]

# Floats hardly shrink, all zeros shrink a thousandfold; Keras itself does not compress.
MOST_EXPANSION = 100
ALWAYS_ALLOWED = 1 << 26

_ATTRIBUTE_LIMIT = 64512  # HDF5 has no room for larger attributes


def h5py():
    """The package h5py, or ImportError that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "Keras's files need the package h5py: pip install fastrnn[keras]"
        ) from error
    return h5py


def check_expansion(what, declared, stored):
    """ValueError if ``declared`` bytes cannot have come of ``stored`` ones in good faith."""
    if declared > max(ALWAYS_ALLOWED, MOST_EXPANSION * stored):
        raise ValueError(
            f"{what} declares {declared:,} bytes, but {stored:,} are stored; it is not read."
        )


class Reader:
    """An HDF5 file, open for reading.

    Parameters
    ----------
    content : path or bytes
    what : str
        What to call it in messages.

    Raises
    ------
    ValueError
        If it is no HDF5 file, is cut off, or declares more than it stores.
    """

    def __init__(self, content, what):
        self.what = what
        self.h5py = h5py()
        size = len(content) if isinstance(content, bytes) else os.path.getsize(content)
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        with self.damage():
            self.file = self.h5py.File(source, "r")
        try:
            with self.damage():
                self.numbers = self._survey(size)
        except ValueError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        with contextlib.suppress(OSError, RuntimeError):
            self.file.close()

    @contextlib.contextmanager
    def damage(self):
        """What h5py raises on damaged files becomes a ValueError."""
        try:
            yield
        except (OSError, RuntimeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{self.what} cannot be read: it is cut off, damaged or something else ({error})."
            ) from error

    def _survey(self, size):
        """How many numbers there are in all."""
        total, numbers = 0, 0

        def visit(name, thing):
            nonlocal total, numbers
            if isinstance(thing, self.h5py.Dataset) and thing.shape is not None:
                count = math.prod(thing.shape)
                check_expansion(
                    f"{self.what}: array '{name}'", count * thing.dtype.itemsize,
                    thing.id.get_storage_size(),
                )
                total, numbers = total + count * thing.dtype.itemsize, numbers + count

        self.file.visititems(visit)  # each object once, and only those within the file
        check_expansion(self.what, total, size)
        return numbers

    # -- finding things ----------------------------------------------------------------------

    def find(self, path, parent=None):
        """The group or array at ``path``, or None.

        Raises
        ------
        ValueError
            If a link on the way leads elsewhere, as to another file.
        """
        thing = self.file if parent is None else parent
        for name in path.split("/") if path else ():
            if not isinstance(thing, self.h5py.Group) or not name:
                return None
            with self.damage():
                link = thing.get(name, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self.h5py.HardLink):
                raise ValueError(
                    f"{self.what}: '{path}' is a link to elsewhere; only what lies in the file "
                    "itself is read."
                )
            with self.damage():
                thing = thing[name]
        return thing

    def group(self, path, parent=None):
        """The group at ``path``, or None."""
        thing = self.find(path, parent)
        if thing is not None and not isinstance(thing, self.h5py.Group):
            raise ValueError(f"{self.what}: '{path}' should be a group; it is an array.")
        return thing

    def array(self, path, parent=None):
        """The array at ``path``, checked but not read: it has a shape, and ``[()]`` reads it.

        Raises
        ------
        ValueError
            If there is none, or it is none of numbers, or lies outside the file.
        """
        thing = self.find(path, parent)
        if not isinstance(thing, self.h5py.Dataset):
            found = "nothing" if thing is None else "a group"
            raise ValueError(f"{self.what}: expected an array at '{path}'; there is {found}.")
        with self.damage():
            if thing.is_virtual or thing.external:
                raise ValueError(
                    f"{self.what}: the values of '{path}' lie in another file; they are not read."
                )
            if thing.shape is None or thing.dtype.kind not in "fiu":
                raise ValueError(
                    f"{self.what}: expected numbers at '{path}'; got {thing.dtype}."
                )
        return Stored(self, thing)

    # -- attributes --------------------------------------------------------------------------

    def text(self, name, of=None):
        """An attribute as a str, or None."""
        with self.damage():
            value = (self.file if of is None else of).attrs.get(name)
            if value is None:
                return None
            value = value.decode("utf-8") if isinstance(value, bytes) else value
        if not isinstance(value, str):
            raise ValueError(f"{self.what}: expected text in '{name}'; got {type(value).__name__}.")
        return value

    def names(self, name, of):
        """An attribute that is a list of names; a long one comes in pieces, numbered."""
        with self.damage():
            pieces = [name]
            if name not in of.attrs:
                numbered = (f"{name}{i}" for i in itertools.count())
                pieces = itertools.takewhile(lambda piece: piece in of.attrs, numbered)
            values = [value for piece in pieces for value in np.ravel(of.attrs[piece])]
            values = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
        if not all(isinstance(v, str) for v in values):
            raise ValueError(f"{self.what}: expected names in '{name}'; got {values[:3]}.")
        return values


class Stored:
    """An array in an HDF5 file: its shape, and its values where they are asked for."""

    def __init__(self, reader, dataset):
        self._reader = reader
        self._dataset = dataset
        self.shape = dataset.shape
        self.dtype = dataset.dtype

    def __getitem__(self, everything):
        with self._reader.damage():
            return self._dataset[()]


def write_names(group, name, names):
    """A list of names as an attribute, in pieces where it would be too large for one."""
    array = np.array([n.encode() for n in names])
    pieces = 1
    while any(p.nbytes > _ATTRIBUTE_LIMIT for p in np.array_split(array, pieces)):
        pieces += 1
    if pieces == 1:
        group.attrs[name] = array
    else:
        for i, piece in enumerate(np.array_split(array, pieces)):
            group.attrs[f"{name}{i}"] = piece
