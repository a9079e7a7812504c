"""Read a saved array of lists of whole numbers without unpickling it.

``np.savez`` stores an array of Python lists as a pickle, and a pickle is a program: to load it
is to run it. IMDB's file is such a one, so this module reads that program instead of running it.
What stands before the lists (which array, which dtype) is followed by a machine that knows four
names and calls none; the lists, 14 MB of them in each half of IMDB, are decoded by NumPy.
Whatever else a pickle could hold is refused, by name.

The second gain is memory: unpickled, a whole number is an object of 28 bytes; here it is an
int32.
"""

import contextlib
import pickletools
import re
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np

_HEAD_BYTES = 4096  # np.savez needs some 200 before the first list
_CHUNK_BYTES = 1 << 18  # decoded at a time; the work space is some thirty times as large
_SEGMENT_BYTES = 128  # all segments of a chunk are walked together, in so many steps

# The names such a file mentions, as "module name", and what they are called here. NumPy 2 moved
# the first; the last is how Python 3 writes bytes in protocol 2.
_NAMES = {
    "numpy.core.multiarray _reconstruct": "reconstruct",
    "numpy._core.multiarray _reconstruct": "reconstruct",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}

# What pickle writes for a constant, for each opcode that such a file uses.
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONSTANTS_WITH_ARGUMENT = {
    "BININT", "BININT1", "BININT2", "SHORT_BINSTRING", "SHORT_BINBYTES", "SHORT_BINUNICODE",
    "BINUNICODE",
}  # fmt: skip
_MARK = object()
_DAMAGED = "it does not hold an array of lists, or is damaged"

# The opcodes that may stand among the lists: the letter that stands for each in _GRAMMAR, and
# the number of bytes of its argument.
_BODY = {
    b"K": ("i", 1),  # a whole number of one byte,
    b"M": ("i", 2),  # of two,
    b"J": ("i", 4),  # of four
    b"]": ("]", 0),  # a new list
    b"(": ("(", 0),  # what follows, up to the next 'e', goes into the list before
    b"e": ("e", 0),
    b"a": ("a", 0),  # the one thing before this goes into the list before that
    b"q": ("p", 1),  # remember the list under a number: given
    b"r": ("p", 4),
    b"\x94": ("p", 0),  # or counted
    b"h": ("g", 1),  # recall a list by its number
    b"j": ("g", 4),
    b"t": ("t", 0),  # end of the array's state, in which the lists come last,
    b"b": ("b", 0),  # of the array
    b".": (".", 0),  # and of the pickle
    b"\x95": ("f", 8),  # says how to buffer what follows, and means nothing
}
_LETTER = np.zeros(256, np.uint8)
_ARGUMENT_BYTES = np.zeros(256, np.uint8)
for _code, (_letter, _size) in _BODY.items():
    _LETTER[ord(_code)] = ord(_letter)
    _ARGUMENT_BYTES[ord(_code)] = _size
_ARGUMENT_MASK = (256 ** np.minimum(_ARGUMENT_BYTES, 4).astype(np.int64) - 1).astype(np.uint32)
_N_STATES = int(_ARGUMENT_BYTES.max()) + 1

# The grammar of all that follows the opening of the outer list. Pickle fills a list in batches of
# a thousand, "( … e", and adds what is left over, where it is only one, by "a". The next letter
# always decides, so the possessive forms (*+, ?+) change nothing but the cost of a bad file.
_LIST = r"(?:\]p?+(?:\(i*+e)*+(?:ia)?+|g)"
_GRAMMAR = re.compile(rf"p?+(?:\({_LIST}*+e)*+(?:{_LIST}a)?+tp?+b\.".encode())


def read_lists(stream: BinaryIO) -> list[np.ndarray]:
    """Read ``.npy`` data that is a 1-D object array of lists of whole numbers.

    Nothing in the data is imported, called or run. Pickle protocols 2 to 5 are understood, as
    Python 2 and 3 write them.

    Parameters
    ----------
    stream : binary file
        Positioned where the data begins. It is read once, forwards, to its end.

    Returns
    -------
    list of int32 arrays, shape (length of the list,)
        One for each list, and all of them views of one buffer.

    Raises
    ------
    ValueError
        If the data is anything else, is cut off, or holds a number outside 0 … 2**31 - 1.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> lists = np.empty(2, dtype=object)
    >>> lists[:] = [[5, 300], [7]]
    >>> file = io.BytesIO()
    >>> np.save(file, lists)
    >>> _ = file.seek(0)
    >>> read_lists(file)
    [array([  5, 300], dtype=int32), array([7], dtype=int32)]
    """
    shape, dtype = read_npy_header(stream)
    if dtype != np.dtype(object) or len(shape) != 1:
        raise ValueError(
            f"expected an array of lists (1-D, dtype object), got shape {shape}, dtype {dtype}"
        )
    start = stream.read(_HEAD_BYTES)
    n_lists, n_remembered, position = _read_head(start)
    lists = _read_body(stream, start[position:], n_remembered)
    if not len(lists) == n_lists == shape[0]:
        raise ValueError(f"it holds {len(lists)} lists where it says {n_lists} of {shape[0]}")
    return lists


def read_npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Read the header of ``.npy`` data: the array's shape and dtype."""
    major, _ = np.lib.format.read_magic(stream)
    read_header = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }.get(major)
    if read_header is None:
        raise ValueError(f"expected .npy data of version 1 or 2, got {major}")
    shape, _, dtype = read_header(stream)
    return shape, dtype


def _read_head(start: bytes) -> tuple[int, int, int]:
    """Follow the pickle up to its first list.

    Returns the length that the array is to have, the number of things remembered so far, and the
    position after the list's opening. On the stack are constants; what pickle would make by a
    call or a change is a tuple that says so, and is never made.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, position in _operations(start):
            name = opcode.name
            if name == "EMPTY_LIST":
                return _array_length(stack), len(memo), position + 1
            if name in ("PROTO", "FRAME"):
                continue
            if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in _CONSTANTS_WITH_ARGUMENT:
                stack.append(argument)
            elif name == "GLOBAL":
                stack.append(_known_name(argument))
            elif name == "STACK_GLOBAL":
                stack[-2:] = [_known_name(" ".join(stack[-2:]))]
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "TUPLE":
                mark = [i for i, item in enumerate(stack) if item is _MARK][-1]
                stack[mark:] = [tuple(stack[mark + 1 :])]
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                size = int(name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            elif name in ("REDUCE", "BUILD"):
                stack[-2:] = [(name, stack[-2], stack[-1])]
            else:
                raise _refusal(name, argument)
    except (IndexError, KeyError, TypeError):  # not on the stack, not in the memo, not a name
        raise ValueError(_DAMAGED) from None
    raise ValueError(_DAMAGED)


def _operations(data: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int]]:
    """The pickle's opcodes, each with its argument and its position. Nothing is run."""
    operations = pickletools.genops(data)
    with contextlib.suppress(StopIteration):
        while True:
            with warnings.catch_warnings():  # of a backslash in a name, which is refused anyhow
                warnings.simplefilter("ignore")
                operation = next(operations)
            yield operation


def _known_name(name: str) -> tuple[str, str]:
    if name not in _NAMES:
        raise _refusal("GLOBAL", name)
    return "name", _NAMES[name]


def _array_length(stack: list[Any]) -> int:
    """Check what was put together before the lists, and return the array's length in it."""
    reconstruct, ndarray, dtype, encode = (
        ("name", name) for name in ("reconstruct", "ndarray", "dtype", "encode")
    )
    match stack:
        case [
            ("REDUCE", function, (cls, (0,), letter)),
            mark,
            1,  # version of the state that follows
            (int(length),),
            ("BUILD", ("REDUCE", dtype_function, ("O8" | "O4" | "O", 0, 1)), dtype_state),
            0,  # not in Fortran's order
        ] if (
            (function, cls, dtype_function, mark) == (reconstruct, ndarray, dtype, _MARK)
            and letter in ("b", b"b", ("REDUCE", encode, ("b", "latin1")))
            and dtype_state == (3, "|", None, None, None, -1, -1, 63)
        ):
            return length
    raise ValueError(_DAMAGED)


def _refusal(opcode: str, argument: Any) -> ValueError:
    what = opcode if argument is None else f"{opcode} {argument!r:.80}"
    return ValueError(
        "it may hold lists of whole numbers (0 to 2147483647) and nothing else, but the pickle "
        f"in it asks for {what}; nothing in it was run"
    )


def _read_body(stream: BinaryIO, rest: bytes, n_remembered: int) -> list[np.ndarray]:
    """Decode all that follows the opening of the outer list."""
    values = bytearray()  # grows where it is; to join pieces would take twice the memory
    letters, starts, numbers = [], [], []
    more = True
    while more:
        block = stream.read(_CHUNK_BYTES)
        more = bool(block)
        opcodes, arguments, rest = _decode(rest + block)

        letter = _LETTER[opcodes]
        is_value = letter == ord("i")
        starts.append(len(values) // 4 + np.cumsum(is_value)[letter == ord("]")])
        values += _whole_numbers(arguments[is_value])
        numbers.append(_numbers(opcodes, arguments, letter))

        # A third number in a row tells the grammar nothing new.
        is_third = is_value[2:] & is_value[1:-1] & is_value[:-2]
        letters.append(np.delete(letter, 2 + np.flatnonzero(is_third)).tobytes())

    text = b"".join(letters).replace(b"f", b"")
    if rest or not text.endswith(b"."):
        raise ValueError("it is cut off, or damaged")
    if not _GRAMMAR.fullmatch(text):
        raise ValueError("it does not hold a list of lists of whole numbers")
    ints = np.frombuffer(values, np.int32)
    bounds = [*np.concatenate(starts).tolist(), len(ints)]
    lists = [ints[start:stop] for start, stop in pairwise(bounds)]
    if b"g" in text:
        return [lists[i] for i in _order(text, np.concatenate(numbers), n_remembered)]
    return lists


def _decode(data: bytes) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Split data into opcodes and their arguments (uint32), and what is left for the next time."""
    codes = np.frombuffer(data, np.uint8)
    positions = _opcode_positions(codes)
    opcodes = codes[positions]
    if not _LETTER[opcodes].all():
        bad = positions[_LETTER[opcodes] == 0][0]
        opcode, argument, _ = next(_operations(data[bad:]))
        raise _refusal(opcode.name, argument)
    ends = positions + 1 + _ARGUMENT_BYTES[opcodes]
    if len(ends) and ends[-1] > len(data):
        positions, opcodes, ends = positions[:-1], opcodes[:-1], ends[:-1]
    words = np.ndarray(len(data) + 1, "<u4", buffer=data + bytes(5), strides=1)  # one at each byte
    arguments = words[positions + 1] & _ARGUMENT_MASK[opcodes]
    return opcodes, arguments, data[ends[-1] if len(ends) else 0 :]


def _opcode_positions(codes: np.ndarray) -> np.ndarray:
    """Where the opcodes are, the first being at 0; the rest are arguments.

    Opcodes differ in size, so each tells only where the next one is. To walk through a million
    of them with few calls of NumPy, the bytes are cut into segments that are walked side by side.
    How far an argument reaches into a segment is not known before the walk, so that every
    possibility (there are few) is tried; afterwards the right ones are picked, from left to right.
    """
    n_segments = -(-len(codes) // _SEGMENT_BYTES)
    sizes = np.ones(n_segments * _SEGMENT_BYTES, np.uint8)
    sizes[: len(codes)] += _ARGUMENT_BYTES[codes]
    sizes = np.ascontiguousarray(sizes.reshape(n_segments, _SEGMENT_BYTES).T)

    following = np.repeat(np.arange(_N_STATES, dtype=np.uint8)[:, None], n_segments, axis=1)
    is_opcode = np.empty((_SEGMENT_BYTES, _N_STATES, n_segments), np.uint8)
    jump = np.empty_like(following)
    for step in range(_SEGMENT_BYTES):
        np.equal(following, step, out=is_opcode[step].view(bool))
        np.multiply(is_opcode[step], sizes[step], out=jump)
        following += jump

    reach, reaches = 0, []
    for reach_after in (following.T - np.uint8(_SEGMENT_BYTES)).tolist():
        reaches.append(reach)
        reach = reach_after[reach]
    chosen = is_opcode[:, reaches, np.arange(n_segments)]
    return np.flatnonzero(chosen.T.ravel()[: len(codes)])


def _whole_numbers(arguments: np.ndarray) -> bytes:
    if len(arguments) and arguments.max() > np.iinfo(np.int32).max:
        raise ValueError("it holds a number below 0; expected whole numbers from 0 to 2147483647")
    return arguments.astype(np.int32).tobytes()


def _numbers(opcodes: np.ndarray, arguments: np.ndarray, letter: np.ndarray) -> np.ndarray:
    """The number under which each 'p' remembers and each 'g' recalls; -1 stands for counted."""
    numbers = np.where(opcodes == 0x94, -1, arguments.astype(np.int64))
    return numbers[(letter == ord("p")) | (letter == ord("g"))]


def _order(text: bytes, numbers: np.ndarray, n_remembered: int) -> np.ndarray:
    """The lists that make up the outer list, where one may stand there several times."""
    letters = np.frombuffer(text, np.uint8)
    is_put, is_get, is_list = (letters == ord(letter) for letter in "pg]")
    current = np.cumsum(is_list) - 1
    is_put_number = is_put[is_put | is_get]
    keys = numbers[is_put_number]
    counted = n_remembered + np.arange(len(keys))
    memo = dict(zip(np.where(keys < 0, counted, keys).tolist(), current[is_put], strict=True))
    recalled = [memo.get(number, -1) for number in numbers[~is_put_number].tolist()]
    if min(recalled) < 0:  # there is no such list, or it is the outer list itself
        raise ValueError(_DAMAGED)
    order = current.copy()
    order[is_get] = recalled
    return order[is_list | is_get]
