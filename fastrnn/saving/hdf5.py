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
import mmap
import os
import struct

import numpy as np

__all__ = ["Reader", "check_expansion", "h5py", "write_names"]

# Floats hardly shrink, all zeros shrink a thousandfold; Keras itself does not compress.
MOST_EXPANSION = 100
ALWAYS_ALLOWED = 1 << 26

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\0\0\0"

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
            _check_heaps(content)
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


def _check_heaps(content):
    """OSError for damage on which the HDF5 library would turn in a circle for ever.

    Texts lie in heaps, each a chain of objects of which one tells where the next begins; the
    library follows an object without a length to itself.
    """
    with _bytes_of(content) as data:
        lengths = data[10:11] if data[8:9] > b"\x01" else data[14:15]
        if data[:8] != _SIGNATURE or lengths != b"\x08":
            raise OSError("it does not begin as Keras's files do")
        at, left = data.find(_HEAP), len(data) // 16
        while at >= 0:
            left -= _objects(data, at)
            if left < 0:
                raise OSError("its texts lie one upon the other")
            at = data.find(_HEAP, at + 1)


def _objects(data, start):
    """How many objects there are in the heap at ``start``."""
    at = stop = start + 16
    if stop <= len(data):
        stop = min(start + int.from_bytes(data[start + 8 : stop], "little"), len(data))
    count = 0
    while at + 16 <= stop:
        number, length = struct.unpack_from("<H6xQ", data, at)
        step = 16 + -(-length // 8) * 8 if number else length
        if not step:
            raise OSError(f"the text at byte {at} has no length")
        at, count = at + step, count + 1
    return count


@contextlib.contextmanager
def _bytes_of(content):
    """Bytes as they are; of a file a view that does not read all of it."""
    if isinstance(content, bytes) or not os.path.getsize(content):
        yield content if isinstance(content, bytes) else b""
        return
    with open(content, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield view


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
