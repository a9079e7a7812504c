"""IMDB's file: coded as Keras codes it, found where it may be, and never run."""

import contextlib
import hashlib
import http.server
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrnn.datasets import _pickled, imdb

RANKS = st.integers(0, 30) | st.sampled_from([255, 256, 65535, 65536, 100_000])
REVIEWS = st.lists(st.lists(RANKS, max_size=12), min_size=1, max_size=6)
PROTOCOLS = [2, 3, 4, 5]


def object_array(items):
    return np.fromiter(items, dtype=object, count=len(items))


def npy(data, n_lists, dtype="|O"):
    """The .npy file of an object array, around any pickle."""
    header = {"descr": dtype, "fortran_order": False, "shape": (n_lists,)}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + data


def write_npz(file, members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in members.items():
            if isinstance(value, np.ndarray):
                buffer = io.BytesIO()
                np.save(buffer, value)
                value = buffer.getvalue()
            archive.writestr(f"{name}.npy", value)
    return file


def half_of(reviews):
    return object_array(reviews), np.arange(len(reviews)) % 2


def write_reviews(file, train, test):
    (x_train, y_train), (x_test, y_test) = half_of(train), half_of(test)
    np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return file


def read(data):
    return [ranks.tolist() for ranks in _pickled.read_lists(io.BytesIO(data))]


@pytest.fixture
def no_data_anywhere(monkeypatch, tmp_path):
    monkeypatch.delenv("FASTRNN_DATA_HOME", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


# ---------------------------------------------------------------- Keras's coding


def naive_load_data(
    train, test, num_words, skip_top, maxlen, seed, start_char, oov_char, index_from
):
    """Keras 3.15.1's rule, word by word."""
    random = np.random.RandomState(seed)
    halves = []
    for x, y in (half_of(train), half_of(test)):
        order = np.arange(len(x))
        random.shuffle(order)
        start = [] if start_char is None else [start_char]
        pairs = [(start + [w + index_from for w in x[i]], y[i]) for i in order]
        halves.append([pair for pair in pairs if not maxlen or len(pair[0]) < maxlen])
    if not all(halves):
        return None
    if not num_words:
        num_words = max(max(x, default=0) for half in halves for x, _ in half)

    def code(x):
        coded = [w if skip_top <= w < num_words else oov_char for w in x]
        return [w for w in coded if w is not None]

    return [([code(x) for x, _ in half], [y for _, y in half]) for half in halves]


@settings(deadline=None)
@given(
    train=REVIEWS,
    test=REVIEWS,
    options=st.fixed_dictionaries(
        {
            "num_words": st.none() | st.integers(0, 40),
            "skip_top": st.integers(0, 12),
            "maxlen": st.none() | st.integers(0, 15),
            "seed": st.integers(0, 1000),
            "start_char": st.none() | st.integers(0, 9),
            "oov_char": st.none() | st.integers(0, 9),
            "index_from": st.integers(0, 9),
        }
    ),
)
def test_codes_as_keras_does(tmp_path_factory, train, test, options):
    file = write_reviews(tmp_path_factory.mktemp("imdb") / "imdb.npz", train, test)
    expected = naive_load_data(train, test, **options)
    if expected is None:
        with pytest.raises(ValueError, match="No review is shorter than maxlen"):
            imdb.load_data(file, **options)
        return
    for (x, y), (expected_x, expected_y) in zip(
        imdb.load_data(file, **options), expected, strict=True
    ):
        assert x.tolist() == expected_x
        assert y.tolist() == expected_y


def test_returns_keras_types(tmp_path):
    file = write_reviews(tmp_path / "imdb.npz", [[1, 2], [3, 4]], [[5], [6]])
    for x, y in imdb.load_data(file):
        assert x.dtype == object and x.shape == (2,)
        assert all(type(review) is list for review in x)
        assert all(type(word) is int for review in x for word in review)
        assert y.dtype == np.int64 and y.shape == (2,)


@pytest.mark.parametrize(
    "name", ["num_words", "skip_top", "maxlen", "start_char", "oov_char", "index_from"]
)
def test_names_a_bad_argument(tmp_path, name):
    file = write_reviews(tmp_path / "imdb.npz", [[1]], [[1]])
    with pytest.raises(TypeError, match=f"{name} must be a whole number, got 1.5"):
        imdb.load_data(file, **{name: 1.5})
    with pytest.raises(ValueError, match=f"{name} must not be below 0, got -1"):
        imdb.load_data(file, **{name: -1})


# ---------------------------------------------------------------- reading the pickle


@settings(deadline=None)
@given(
    reviews=REVIEWS,
    protocol=st.sampled_from(PROTOCOLS),
    chunk=st.integers(1, 40),
    segment=st.integers(1, 30),
)
def test_reads_what_pickle_writes(reviews, protocol, chunk, segment):
    data = npy(pickle.dumps(object_array(reviews), protocol), len(reviews))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pickled, "_CHUNK_BYTES", chunk)
        patch.setattr(_pickled, "_SEGMENT_BYTES", segment)
        patch.setattr(_pickled, "_HEAD_BYTES", 300)
        assert read(data) == reviews


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("length", [0, 1, 999, 1000, 1001, 2000, 2001, 70_000])
def test_reads_lists_of_every_kind_of_length(protocol, length):
    # Pickle writes 1000 items at a time, a single one in another way, and frames of 64 KiB.
    reviews = [list(range(length)), [7]] if length > 2001 else [[7]] * 2 + [list(range(length))]
    data = npy(pickle.dumps(object_array(reviews), protocol), len(reviews))
    assert read(data) == reviews
    many = [[i] for i in range(length if length < 70_000 else 3)]
    assert read(npy(pickle.dumps(object_array(many), protocol), len(many))) == many


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_one_list_that_stands_in_many_places(protocol):
    once, twice, often = [1], [2, 300], []
    reviews = [once, twice, often, twice, often, often, [4], twice] + [[i] for i in range(300)]
    reviews += [twice, reviews[290]]
    data = npy(pickle.dumps(object_array(reviews), protocol), len(reviews))
    assert read(data) == reviews


def test_reads_what_python_2_wrote():
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
        b"\x87Rq\x03(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]q\x06(]q\x07(K\x05M,\x01e]q\x08K\x07aetb."
    )
    assert pickle.loads(data).tolist() == [[5, 300], [7]]
    assert read(npy(data, 2)) == [[5, 300], [7]]


# ---------------------------------------------------------------- pickles that do things


class Call:
    """Pickled, it is a call of os.system; unpickled, the call has been made."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class New:
    """The same at the making of an object."""

    def __new__(cls, command):
        os.system(command)
        return super().__new__(cls)

    def __getnewargs__(self):
        return (self.command,)


def new(command):
    item = object.__new__(New)
    item.command = command
    return item


def in_review(item, protocol):
    return pickle.dumps(object_array([[1, 2], [3, item]]), protocol)


def in_opcodes(template):
    """A pickle by hand, of protocol 4: @text@ is a string, $ the command."""

    def make(command):
        parts = re.split(rb"@(.*?)@", template.replace(b"$", b"@" + command.encode() + b"@"))
        for i in range(1, len(parts), 2):
            parts[i] = b"\x8c" + struct.pack("B", len(parts[i])) + parts[i]
        return b"\x80\x04" + b"".join(parts) + b"."

    return make


def with_state(state):
    """A pickle of an empty array, with something of ours before its lists."""

    def make(command):
        array = pickle.dumps(object_array([]), 4)
        position = array.rindex(b"]")
        call = in_opcodes(state)(command)[2:-1]
        return b"\x80\x04" + array[array.index(b"\x8c") : position] + call + array[position:]

    return make


ATTACKS = {
    "in place of the array": lambda command: pickle.dumps(Call(command), 4),
    "in place of a review": lambda command: pickle.dumps(object_array([[1], Call(command)]), 4),
    **{
        f"in a review, protocol {protocol}": (
            lambda command, protocol=protocol: in_review(Call(command), protocol)
        )
        for protocol in PROTOCOLS
    },
    "deep in a review": lambda command: in_review([[({"a": Call(command)},)]], 4),
    "by __new__": lambda command: in_review(new(command), 4),
    "GLOBAL": in_opcodes(b"cposix\nsystem\n$\x85R"),
    "GLOBAL of os": in_opcodes(b"cos\nsystem\n($tR"),
    "STACK_GLOBAL": in_opcodes(b"@posix@@system@\x93$\x85R"),
    "STACK_GLOBAL from the memo": in_opcodes(b"@system@\x94@posix@\x94h\x01h\x00\x93$\x85R"),
    "STACK_GLOBAL, dotted": in_opcodes(b"@os@@path.os.system@\x93$\x85R"),
    "INST": in_opcodes(b"($iposix\nsystem\n"),
    "OBJ": in_opcodes(b"(cposix\nsystem\n$o"),
    "thrown away": in_opcodes(b"cposix\nsystem\n$\x85R0N"),
    "in a dict": in_opcodes(b"}@x@cposix\nsystem\n$\x85Rs"),
    "eval": lambda command: in_opcodes(
        b"cbuiltins\neval\n@__import__('os').system('%s')@\x85R" % command.encode()
    )(command),
    "in the array's state": with_state(b"cposix\nsystem\n$\x85R"),
    "in the array's state, kept": with_state(b"cposix\nsystem\n\x94$\x85R0"),
    "in the first list": lambda command: pickle.dumps(
        object_array([[Call(command)] + [1] * 5000]), 2
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_never_runs_what_is_in_a_pickle(tmp_path, attack):
    mark = tmp_path / "it_ran"
    data = ATTACKS[attack](f"touch {mark}")
    with contextlib.suppress(Exception):
        pickle.loads(data)
    assert mark.exists()  # the attack is a real one
    mark.unlink()

    x, y = half_of([[1], [2]])
    file = write_npz(
        tmp_path / "imdb.npz", {"x_train": npy(data, 2), "y_train": y, "x_test": x, "y_test": y}
    )
    with pytest.raises(ValueError, match="x_train .* asks for .*; nothing in it was run"):
        imdb.load_data(file)
    assert not mark.exists()


# ---------------------------------------------------------------- other bad files


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("reviews", "message"),
    [
        ([[1], [2.5]], "asks for BINFLOAT 2.5"),
        ([[1], ["word"]], "asks for (SHORT_)?BINUNICODE 'word'"),
        ([[1], [[2, 3]]], "not hold a list of lists of whole numbers"),
        ([[1], [None]], "asks for NONE"),
        ([[1], [True]], "asks for NEWTRUE"),
        ([[1], [-1]], "a number below 0"),
        ([[1], [2**31]], "asks for LONG1 2147483648"),
        ([[1], [10**400]], "asks for LONG1 1000"),
        ([[1], 2], "not hold a list of lists of whole numbers"),
        ([[1], (2, 3)], "asks for TUPLE2|not hold a list of lists of whole numbers"),
        ([[1], {2}], "asks for "),
        ([[1], np.array([2])], "asks for "),
    ],
)
def test_refuses_what_is_not_a_list_of_numbers(reviews, message, protocol):
    with pytest.raises(ValueError, match=message):
        read(npy(pickle.dumps(object_array(reviews), protocol), 2))


def replaced(old, new, count=1):
    data = pickle.dumps(object_array([[5, 6], [7]]), 4)
    assert old in data
    return data.replace(old, new, count)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x04]\x94.",  # a list, but no array
        b"\x80\x04\x94.",  # remembers something before there is anything
        b"\x80\x04h\x05.",  # recalls what was never remembered
        b"\x80\x04K\x01K\x02\x93.",  # makes names of numbers
        b"\x80\x04\x85t\x87R.",
        b"(" * 5000,
        b"\x80\x02cnum\\py\nnd\\array\n.",
        replaced(b"\x8c\x02O8", b"\x8c\x02f8"),  # another dtype
        replaced(b"K\x02\x85", b"K\x09\x85"),  # another length
        replaced(b"\x8c\x01|", b"\x8c\x01<"),
        replaced(b"\x94(K\x05", b"\x94((K\x05"),
        replaced(b"K\x05", b"K\x05a"),
        replaced(b"et\x94b.", b"t\x94b."),
        replaced(b"et\x94b.", b"et\x94b.K\x01."),  # goes on after its end
        replaced(b"et\x94b.", b"eh\x63t\x94b."),
    ],
    ids=repr,
)
def test_refuses_a_damaged_pickle(data):
    with pytest.raises(ValueError):
        read(npy(data, 2))


@pytest.mark.parametrize("recalled", [b"h\x00", b"h\x0b", b"h\xfe", b"j\xff\xff\xff\xff"])
def test_refuses_to_recall_what_is_no_review(recalled):
    # 11 is the outer list, in which it would put itself.
    data = pickle.dumps(object_array([[5], [7]]), 4)
    with pytest.raises(ValueError, match="damaged"):
        read(npy(data.replace(b"et\x94b.", recalled + b"et\x94b."), 3))


@settings(deadline=None, max_examples=300)
@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS))
def test_what_is_read_from_a_damaged_pickle_is_what_it_says(data, protocol):
    again = [7, 8]
    reviews = object_array([[5, 300, 70_000], again, [], again])
    damaged = bytearray(pickle.dumps(reviews, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.sampled_from([*damaged, *b"]()earqhjKMJ\x94\x95\x00\xff"]))
    try:
        lists = read(npy(bytes(damaged), 4))
    except ValueError:
        return
    # As it was accepted, it calls nothing. Pickle, which also checks what frames say of
    # themselves, may refuse it, but must not see other lists in it.
    try:
        pickled = pickle.loads(damaged)
    except Exception:
        return
    assert lists == pickled.tolist()


def test_refuses_arrays_of_another_kind(tmp_path):
    x, y = half_of([[1], [2]])
    for bad in (np.ones((2, 3), int), np.ones((2, 3), object), np.array(["a", "b"])):
        file = write_npz(
            tmp_path / "imdb.npz", {"x_train": bad, "y_train": y, "x_test": x, "y_test": y}
        )
        with pytest.raises(ValueError, match=r"x_train .*expected an array of lists \(1-D, .*got"):
            imdb.load_data(file)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0.5, 1.0]), "y_test .*expected whole numbers.*float64"),
        (np.array([[0], [1]]), r"y_test .*expected whole numbers.*\(2, 1\)"),
        (np.array([0, 1, 1]), "2 reviews in x_test and 3 labels"),
        (np.array(["0", "1"]), "y_test .*expected whole numbers"),
        (npy(pickle.dumps(object_array([0, 1])), 2), "y_test .*expected whole numbers"),
        (npy(b"\x01\x00", 10**15, "<i8"), "y_test .*cut off"),
        (b"something else", "y_test .*cannot be read"),
    ],
)
def test_refuses_bad_labels(tmp_path, labels, message):
    x, y = half_of([[1], [2]])
    file = write_npz(
        tmp_path / "imdb.npz", {"x_train": x, "y_train": y, "x_test": x, "y_test": labels}
    )
    with pytest.raises(ValueError, match=message):
        imdb.load_data(file)


def test_refuses_a_file_that_says_it_is_huge(tmp_path):
    x, y = half_of([[1], [2]])
    pickled = pickle.dumps(x, 4)
    pickled_huge = pickled.replace(b"K\x02\x85", b"J\0\0\0\x7f\x85")
    for data in (npy(pickled, 10**18), npy(pickled_huge, 2)):
        file = write_npz(
            tmp_path / "imdb.npz", {"x_train": data, "y_train": y, "x_test": x, "y_test": y}
        )
        with pytest.raises(ValueError, match="x_train .*it holds 2 lists where it says"):
            imdb.load_data(file)


def test_refuses_a_rank_no_vocabulary_reaches(tmp_path):
    file = write_reviews(tmp_path / "imdb.npz", [[1], [2**31 - 1]], [[1]])
    with pytest.raises(ValueError, match="word rank 2147483647"):
        imdb.load_data(file)


def test_refuses_a_file_without_reviews(tmp_path):
    with pytest.raises(ValueError, match="0 reviews in x_test"):
        imdb.load_data(write_reviews(tmp_path / "imdb.npz", [[1]], []))


def test_refuses_a_file_without_one_of_its_arrays(tmp_path):
    x, y = half_of([[1], [2]])
    file = write_npz(tmp_path / "imdb.npz", {"y_train": y, "x_test": x, "y_test": y})
    with pytest.raises(ValueError, match="imdb.npz holds no x_train; expected x_train, y_train, "):
        imdb.load_data(file)


def test_refuses_a_file_that_is_cut_off(tmp_path):
    whole = write_reviews(tmp_path / "whole.npz", [[1, 2]] * 50, [[1, 2]] * 50).read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        file = tmp_path / "imdb.npz"
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="imdb.npz is not an .npz file, or is cut off"):
            imdb.load_data(file)


def test_refuses_a_file_with_damage_inside(tmp_path):
    reviews = [list(range(i, i + 40)) for i in range(50)]
    x, y = half_of(reviews)
    file = tmp_path / "imdb.npz"
    np.savez_compressed(file, x_train=x, y_train=y, x_test=x, y_test=y)
    data = bytearray(file.read_bytes())
    data[300:310] = bytes(10)
    file.write_bytes(data)
    with pytest.raises(ValueError, match="x_train in .*imdb.npz cannot be read: "):
        imdb.load_data(file)


def test_refuses_a_file_compressed_in_other_ways(tmp_path):
    file = tmp_path / "imdb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x_train.npy", npy(pickle.dumps(object_array([[1]])), 1))
    with pytest.raises(ValueError, match="x_train .*compressed in a way that np.savez does not"):
        imdb.load_data(file)


# ---------------------------------------------------------------- where the file is found


def test_takes_the_file_that_path_names(no_data_anywhere, monkeypatch):
    named, home = (no_data_anywhere / name for name in ("named", "home"))
    named.mkdir()
    home.mkdir()
    write_reviews(named / "imdb.npz", [[10]], [[10]])
    write_reviews(home / "imdb.npz", [[20]], [[20]])
    monkeypatch.setenv("FASTRNN_DATA_HOME", str(home))
    assert imdb.load_data(named / "imdb.npz", num_words=99)[0][0].tolist() == [[1, 13]]
    assert imdb.load_data(num_words=99)[0][0].tolist() == [[1, 23]]
    monkeypatch.chdir(named)
    assert imdb.load_data("imdb.npz", num_words=99)[0][0].tolist() == [[1, 13]]


@pytest.mark.parametrize("name", ["not/there.npz", "/not/there.npz", "."])
def test_says_that_path_is_not_a_file(no_data_anywhere, name):
    with pytest.raises(FileNotFoundError, match="give the path of a file like Keras's imdb.npz"):
        imdb.load_data(name)


@pytest.fixture
def server(no_data_anywhere, monkeypatch):
    """A web server with the two files, in place of Keras's."""
    x, y = half_of([[10], [11]])
    buffer = io.BytesIO()
    np.savez(buffer, x_train=x, y_train=y, x_test=x, y_test=y)
    files = {"/imdb.npz": buffer.getvalue(), "/imdb_word_index.json": b'{"film": 1}'}
    hashes = {
        "imdb.npz": "sha256:" + hashlib.sha256(files["/imdb.npz"]).hexdigest(),
        "imdb_word_index.json": "md5:" + hashlib.md5(files["/imdb_word_index.json"]).hexdigest(),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        said_length = 0  # more than there is of the file
        requests: list[str] = []

        def do_GET(self):
            self.requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[self.path]) + self.said_length))
            self.end_headers()
            self.wfile.write(files[self.path])

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=[0.01])
        thread.start()
        monkeypatch.setattr(imdb, "_URL", f"http://127.0.0.1:{httpd.server_port}/")
        monkeypatch.setattr(imdb, "_KNOWN_HASHES", hashes)
        yield Handler
        httpd.shutdown()
        thread.join()


def cached_files(folder):
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


def test_downloads_once_into_the_cache_of_keras(server, no_data_anywhere):
    for _ in range(2):
        assert imdb.load_data(num_words=99)[0][0].tolist() == [[1, 13], [1, 14]]
        assert imdb.get_word_index() == {"film": 1}
    assert server.requests == ["/imdb.npz", "/imdb_word_index.json"]
    assert cached_files(no_data_anywhere / "keras" / "datasets") == [
        "imdb.npz",
        "imdb_word_index.json",
    ]


def assert_names_the_other_ways(message):
    assert "\n" not in message
    for way in ("path=", "FASTRNN_DATA_HOME", "fastrnn.datasets.reviews"):
        assert way in message


def test_reads_the_cache_without_pooch_and_says_that_a_download_needs_it(
    server, no_data_anywhere, monkeypatch
):
    imdb.load_data()
    monkeypatch.setitem(sys.modules, "pooch", None)
    imdb.load_data()
    with pytest.raises(ImportError, match=r"pip install fastrnn\[data\]") as caught:
        imdb.get_word_index()
    assert_names_the_other_ways(str(caught.value))


def test_a_file_in_the_cache_that_is_another_is_downloaded_again(server, no_data_anywhere):
    cache = no_data_anywhere / "keras" / "datasets"
    cache.mkdir(parents=True)
    (cache / "imdb.npz").write_bytes(b"something else")
    assert imdb.load_data(num_words=99)[0][0].tolist() == [[1, 13], [1, 14]]


def test_leaves_nothing_of_a_download_that_broke_off(server, no_data_anywhere, monkeypatch):
    monkeypatch.setattr(server, "said_length", 1000)
    with pytest.raises(OSError, match="Could not download http.*imdb.npz into ") as caught:
        imdb.load_data()
    assert_names_the_other_ways(str(caught.value))
    assert cached_files(no_data_anywhere) == []


def test_leaves_nothing_of_a_download_that_is_something_else(server, no_data_anywhere, monkeypatch):
    monkeypatch.setitem(imdb._KNOWN_HASHES, "imdb.npz", "sha256:" + 64 * "0")
    with pytest.raises(OSError, match="hash") as caught:
        imdb.load_data()
    assert_names_the_other_ways(str(caught.value))
    assert cached_files(no_data_anywhere) == []


def test_says_what_to_do_where_the_net_cannot_be_reached(no_data_anywhere, monkeypatch):
    monkeypatch.setattr(imdb, "_URL", "http://127.0.0.1:9/")
    for load in (imdb.load_data, imdb.get_word_index):
        with pytest.raises(OSError, match="Could not download") as caught:
            load()
        assert_names_the_other_ways(str(caught.value))


# ---------------------------------------------------------------- the word index


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"film": "one"}', '{"film": 1', "\x00"])
def test_refuses_what_is_not_a_word_index(tmp_path, content):
    file = tmp_path / "index.json"
    file.write_text(content)
    with pytest.raises(ValueError, match="index.json is not a word index"):
        imdb.get_word_index(file)


# ---------------------------------------------------------------- the real data


@pytest.fixture
def real_data():
    folder = os.environ.get("FASTRNN_DATA_HOME")
    if not folder or not Path(folder, "imdb.npz").is_file():
        pytest.skip("FASTRNN_DATA_HOME names no folder with imdb.npz")
    return Path(folder)


def test_reads_imdb(real_data):
    word_index = imdb.get_word_index()
    for x, y in imdb.load_data(num_words=10_000):
        assert x.shape == y.shape == (25_000,)
        assert np.bincount(y).tolist() == [12_500, 12_500]
        assert 225 < np.mean([len(review) for review in x]) < 240
        assert all(review[0] == 1 for review in x)
        assert max(map(max, x)) == 9_999
        assert sum(3 + word_index["the"] in review for review in x[:100]) > 90


def test_reads_imdb_in_little_memory(real_data):
    # The lists alone, 8 bytes a word, are 95 MB.
    script = """
import resource, numpy
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
from fastrnn.datasets import imdb
data = imdb.load_data(num_words=10000)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 170
