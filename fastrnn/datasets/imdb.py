"""The IMDB reviews, labelled by sentiment: 25,000 to train on and 25,000 to test with.

The Large Movie Review Dataset (Maas et al., 2011) in the file that Keras publishes. A review is a
list of word ranks (1 is the most frequent word), a label is 1 for a good opinion and 0 for a bad
one.
"""

import hashlib
import json
import operator
import os
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastrnn.datasets._pickled import read_lists, read_npy_header

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_KNOWN_HASHES = {
    "imdb.npz": "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    "imdb_word_index.json": "md5:bfafd718b763782e994055a2d397834f",
}
_MOST_RANKS = 1 << 22  # more words than any corpus has; a damaged number must not cost gigabytes

# One half of the data: the ranks of each review, and the labels.
_Half = tuple[list[np.ndarray], np.ndarray]


def load_data(
    path="imdb.npz",
    num_words=None,
    skip_top=0,
    maxlen=None,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
):
    """Load the IMDB reviews as lists of word ids, with their labels.

    The file is looked for where ``path`` says; then in the folder that the environment variable
    ``FASTRNN_DATA_HOME`` names; then in Keras's cache (``$KERAS_HOME/datasets`` or
    ``~/.keras/datasets``), into which it is downloaded where it is missing (which needs the
    package pooch: ``pip install fastrnn[data]``). The pickle within it is read without running it.

    Parameters
    ----------
    path : str or path, default "imdb.npz"
        An existing file, or the name of one in the places above.
    num_words : int, optional
        Ids from this one on count as unknown. By default (as in Keras) the highest id there is,
        so that one word, the rarest, is unknown.
    skip_top : int, default 0
        Ids below this one count as unknown.
    maxlen : int, optional
        Reviews of this length and longer (with ``start_char``) are left out, not cut.
    seed : int, default 113
        Of the order in which the reviews come.
    start_char : int or None, default 1
        The id before each review; None puts none there.
    oov_char : int or None, default 2
        The id in place of an unknown word; None leaves unknown words out.
    index_from : int, default 3
        Added to each rank, which makes room for the ids above and for padding, 0.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: object array, shape (N,), of lists of int; y: int64 array, shape (N,), of 0 and 1.

    Raises
    ------
    ValueError
        If the file is damaged, is something else or holds anything but numbers, or if no review
        is shorter than ``maxlen``.
    OSError
        If there is no such file and it cannot be downloaded.
    ImportError
        If there is no such file and pooch, which downloads it, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> reviews = np.empty(2, dtype=object)
    >>> reviews[:] = [[5, 1, 12], [1]]
    >>> labels = np.array([1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = folder + "/tiny.npz"
    ...     np.savez(file, x_train=reviews, y_train=labels, x_test=reviews, y_test=labels)
    ...     (x_train, y_train), _ = load_data(file, num_words=10)
    >>> x_train
    array([list([1, 8, 4, 2]), list([1, 4])], dtype=object)
    >>> y_train
    array([1, 0])
    """
    num_words = _whole("num_words", num_words, or_none=True)
    skip_top = _whole("skip_top", skip_top)
    maxlen = _whole("maxlen", maxlen, or_none=True)
    start_char = _whole("start_char", start_char, or_none=True)
    oov_char = _whole("oov_char", oov_char, or_none=True)
    index_from = _whole("index_from", index_from)

    random = np.random.RandomState(seed)
    halves = [_shuffled(half, random) for half in _read(_find(path, "imdb.npz"))]
    if maxlen:
        halves = [_shorter(half, maxlen, start_char) for half in halves]
    top_rank = max(int(np.concatenate(reviews).max(initial=-1)) for reviews, _ in halves)
    if top_rank >= _MOST_RANKS:
        raise ValueError(f"{path} holds the word rank {top_rank}, which no vocabulary reaches")
    if not num_words:
        num_words = max(top_rank + index_from if top_rank >= 0 else 0, start_char or 0)

    def code(word: int) -> int | None:
        return word if skip_top <= word < num_words else oov_char

    # Every rank is coded once, in a table, and the lists share its ints: a list then costs 8
    # bytes a word, not 36, and the rule runs over the words there are, not over the text.
    table = np.array([code(rank + index_from) for rank in range(top_rank + 1)], dtype=object)
    is_kept = np.not_equal(table, None)
    start = [] if start_char is None or code(start_char) is None else [code(start_char)]

    def code_review(ranks: np.ndarray) -> list[int]:
        if oov_char is None:
            ranks = ranks[is_kept[ranks]]
        return start + table[ranks].tolist()

    data = []
    while halves:  # taken out one after the other, so that the first half's ranks make room
        reviews, labels = halves.pop(0)
        data.append((np.fromiter(map(code_review, reviews), dtype=object), labels))
    return tuple(data)


def get_word_index(path="imdb_word_index.json"):
    """Load the dictionary from IMDB's words to their ranks.

    An id from `load_data` is a rank plus ``index_from``. The file is looked for in the same
    places as that of `load_data`.

    Parameters
    ----------
    path : str or path, default "imdb_word_index.json"
        An existing file, or the name of one in those places.

    Returns
    -------
    dict
        From words (str) to ranks (int, from 1, the most frequent word).

    Raises
    ------
    ValueError
        If the file is not such a dictionary.
    OSError
        If there is no such file and it cannot be downloaded.
    ImportError
        If there is no such file and pooch, which downloads it, is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "tiny.json")
    ...     _ = file.write_text('{"the": 1, "film": 2}')
    ...     get_word_index(file)
    {'the': 1, 'film': 2}
    """
    file = _find(path, "imdb_word_index.json")
    try:
        word_index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not a word index: {error}") from error
    if not isinstance(word_index, dict) or not all(type(i) is int for i in word_index.values()):
        raise ValueError(f"{file} is not a word index: expected a dictionary from words to ranks")
    return word_index


def _whole(name: str, value, or_none: bool = False) -> int | None:
    if value is None and or_none:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{name} must not be below 0, got {number}")
    return number


def _shuffled(half: _Half, random: np.random.RandomState) -> _Half:
    reviews, labels = half
    order = np.arange(len(reviews))
    random.shuffle(order)
    return [reviews[i] for i in order], labels[order]


def _shorter(half: _Half, maxlen: int, start_char: int | None) -> _Half:
    reviews, labels = half
    longest = maxlen - 1 - (start_char is not None)
    kept = [i for i, ranks in enumerate(reviews) if len(ranks) <= longest]
    if not kept:
        raise ValueError(
            f"No review is shorter than maxlen={maxlen} (with its start_char): increase maxlen"
        )
    return [reviews[i] for i in kept], labels[kept]


def _read(file: Path) -> list[_Half]:
    """Read both halves in the order in which they are in the file."""
    halves = []
    with _opened(file) as archive:
        for half in ("train", "test"):
            reviews = _read_member(archive, f"x_{half}", read_lists)
            labels = _read_member(archive, f"y_{half}", _read_labels)
            if len(reviews) != len(labels) or not len(labels):
                raise ValueError(
                    f"{file} holds {len(reviews)} reviews in x_{half} and {len(labels)} labels in "
                    f"y_{half}; expected as many of each, and at least one"
                )
            halves.append((reviews, labels))
    return halves


def _opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{file} is not an .npz file, or is cut off: {error}") from error


def _read_member(archive: zipfile.ZipFile, name: str, read: Callable[[BinaryIO], Any]) -> Any:
    try:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in a way that np.savez does not use")
        with archive.open(member) as stream:
            return read(stream)
    except KeyError:
        raise ValueError(
            f"{archive.filename} holds no {name}; expected x_train, y_train, x_test and y_test"
        ) from None
    except (ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        # zipfile's RuntimeError: the member is encrypted.
        reason = str(error) or "it is cut off"
        raise ValueError(f"{name} in {archive.filename} cannot be read: {reason}") from error


def _read_labels(stream: BinaryIO) -> np.ndarray:
    shape, dtype = read_npy_header(stream)
    if dtype.kind not in "iu" or len(shape) != 1:
        raise ValueError(f"expected whole numbers (1-D), got shape {shape}, dtype {dtype}")
    data = stream.read(shape[0] * dtype.itemsize)
    if len(data) != shape[0] * dtype.itemsize:
        raise ValueError("it is cut off")
    return np.frombuffer(data, dtype).astype(np.int64)


def _find(path, name: str) -> Path:
    """Find the file, in the order that `load_data` describes, or download it."""
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.exists() or path.name != str(path):
        what = "is not a file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; give the path of a file like Keras's {name}")
    data_home = os.environ.get("FASTRNN_DATA_HOME")
    if data_home and (file := Path(data_home).expanduser() / path).is_file():
        return file
    return _from_cache(path.name, name)


def _from_cache(file_name: str, name: str) -> Path:
    """Return the file from Keras's cache, downloaded first if it is not there or is another."""
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"
    file = cache / file_name
    if not _is_known(file, name):
        _download(name, file)
    return file


def _is_known(file: Path, name: str) -> bool:
    algorithm, expected = _KNOWN_HASHES[name].split(":")
    if not file.is_file():
        return False
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() == expected


def _download(name: str, file: Path) -> None:
    other_ways = (
        "Get the file in another way and name it by path=, or put it into a folder and set "
        "FASTRNN_DATA_HOME to that; or use fastrnn.datasets.reviews, which needs no download."
    )
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"{file} is not there, and to download it needs the package pooch: "
            f"pip install fastrnn[data]. {other_ways}"
        ) from error
    try:
        pooch.retrieve(
            url=_URL + name,
            known_hash=_KNOWN_HASHES[name],
            fname=file.name,
            path=file.parent,
            # Seconds to connect, and between two pieces: a net that drops packets says nothing.
            downloader=pooch.HTTPDownloader(progressbar=True, timeout=(5, 60)),
        )
    except (OSError, ValueError) as error:
        reason = textwrap.shorten(str(error), 200)
        raise OSError(
            f"Could not download {_URL}{name} into {file.parent} ({reason}). {other_ways}"
        ) from error
