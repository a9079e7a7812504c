"""Batched products on the GPU; where there is none, in Numba's simulator."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastrnn.cuda import batched_matmul, tiles

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from cuda_cases import DTYPES, SMALL, Tensor, make_simulator_safe  # noqa: E402
from numba import cuda  # noqa: E402

from fastrnn.cuda import discovery, matmul, stream  # noqa: E402

ACTIVATIONS = {
    None: lambda z: z,
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
}
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
ALL_TILES = [(dtype, tile) for dtype in DTYPES for tile in tiles.TILES[dtype]]


@pytest.fixture(autouse=True)
def safe(monkeypatch):
    make_simulator_safe(monkeypatch)


@pytest.fixture
def use_tile(monkeypatch):
    """Call with a tile to have all products computed by it."""
    return lambda tile: monkeypatch.setattr(matmul, "choose_tile", lambda *_: tile)


@pytest.fixture
def small(use_tile, monkeypatch):
    monkeypatch.setattr(matmul, "choose_tile", lambda dtype, *_: SMALL[dtype])


def transposed(x, yes):
    return np.ascontiguousarray(np.swapaxes(x, -1, -2)) if yes else x


def expected(a, b, trans_a=False, trans_b=False, bias=None, activation=None):
    """The same in double precision, by NumPy."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    z = (np.swapaxes(a, -1, -2) if trans_a else a) @ (np.swapaxes(b, -1, -2) if trans_b else b)
    if bias is not None:
        z = z + np.asarray(bias, np.float64)[..., None, :]
    return ACTIVATIONS[activation](z)


def close(found, wanted):
    """Equal up to rounding, relative to the largest element."""
    assert found.shape == wanted.shape
    scale = max(1.0, np.abs(wanted).max(initial=0))
    tolerance = TOLERANCE[found.dtype.name]
    np.testing.assert_allclose(found / scale, wanted / scale, rtol=0, atol=tolerance)


def problem(rng, dtype, batch, M, N, K, trans_a=False, trans_b=False):
    a = transposed(rng.normal(size=(batch, M, K)), trans_a)
    b = transposed(rng.normal(size=(batch, K, N)), trans_b)
    return a.astype(dtype), b.astype(dtype)


# -- values ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("shared", ["", "a", "b", "ab"])
@pytest.mark.parametrize("biased", ["one", "each"])
def test_transposes_shared_operands_and_biases(small, dtype, trans_a, trans_b, shared, biased):
    rng = np.random.default_rng(0)
    a, b = problem(rng, dtype, 3, 5, 9, 6, trans_a, trans_b)
    a, b = (x[0] if name in shared else x for name, x in (("a", a), ("b", b)))
    bias = rng.normal(size=9 if biased == "one" else (1 if shared == "ab" else 3, 9)).astype(dtype)
    wanted = expected(a, b, trans_a, trans_b, bias)
    found = batched_matmul(a, b, trans_a, trans_b, bias)
    close(found, wanted.reshape(found.shape))


@settings(max_examples=40, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_problem(small, data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    M, N, K = (draw(st.integers(0, 19), label) for label in "MNK")
    batch = draw(st.integers(0, 5), "batch")
    trans_a, trans_b, on_device = (
        draw(st.booleans(), label) for label in ("trans_a", "trans_b", "on_device")
    )
    shared = draw(st.sampled_from(["", "a", "b", "ab"]), "shared")
    biased = draw(st.sampled_from(["", "one", "each"]), "bias")
    activation = draw(st.sampled_from([*ACTIVATIONS]), "activation")
    rng = np.random.default_rng(draw(st.integers(0, 9), "seed"))

    a, b = problem(rng, dtype, max(batch, 1), M, N, K, trans_a, trans_b)
    a = a[0] if "a" in shared else a[:batch]
    b = b[0] if "b" in shared else b[:batch]
    products = 1 if shared == "ab" else batch
    bias = {"": None, "one": rng.normal(size=N), "each": rng.normal(size=(products, N))}[biased]
    bias = None if bias is None else bias.astype(dtype)
    wanted = expected(a, b, trans_a, trans_b, bias, activation)
    if shared == "ab":
        wanted = wanted.reshape(M, N)
    given = [cuda.to_device(x) if on_device and x is not None else x for x in (a, b, bias)]
    found = batched_matmul(*given[:2], trans_a, trans_b, given[2], activation)
    close(found.copy_to_host() if on_device else found, wanted)


@pytest.mark.compiled
@pytest.mark.parametrize(("dtype", "tile"), ALL_TILES)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "with edges"])
def test_each_tile(use_tile, dtype, tile, whole):
    use_tile(tile)
    less = 0 if whole else 3
    shape = tile.rows - less, tile.columns - less, tile.depth + (0 if whole else 1)
    rng = np.random.default_rng(0)
    a, b = problem(rng, dtype, 1, *shape, trans_a=not whole, trans_b=whole)
    bias = rng.normal(size=shape[1]).astype(dtype)
    found = batched_matmul(a, b, not whole, whole, bias, "tanh")
    close(found, expected(a, b, not whole, whole, bias, "tanh"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("pieces", [1, 2])
def test_matrices_that_fill_their_tiles(use_tile, dtype, trans_a, trans_b, biased, pieces):
    """Of some slabs; the last block has fewer products than places for them."""
    tile = SMALL[dtype]
    use_tile(tile)
    rng = np.random.default_rng(3)
    shape = pieces * tile.rows, pieces * tile.columns, 3 * tile.depth
    a, b = problem(rng, dtype, tile.products + 1, *shape, trans_a, trans_b)
    bias = rng.normal(size=shape[1]).astype(dtype) if biased else None
    found = batched_matmul(a, b, trans_a, trans_b, bias)
    close(found, expected(a, b, trans_a, trans_b, bias))
    # Rows that begin at odd places.
    odd = [
        Tensor(np.pad(x, ((0, 0), (0, 0), (1, 0))), lambda x: x[..., 1:]) for x in (a, b)
    ]
    found = batched_matmul(*odd, trans_a, trans_b)
    close(found.copy_to_host(), expected(a, b, trans_a, trans_b))


@pytest.mark.compiled
@pytest.mark.parametrize(("dtype", "tile"), ALL_TILES)
@pytest.mark.parametrize("trans", [False, True])
def test_matrices_that_fill_each_tile(use_tile, dtype, tile, trans):
    use_tile(tile)
    a, b = problem(
        np.random.default_rng(4), dtype, tile.products + 1, tile.rows, tile.columns,
        2 * tile.depth, trans, trans,
    )
    close(batched_matmul(a, b, trans, trans), expected(a, b, trans, trans))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tile_was_chosen(dtype):
    a, b = problem(np.random.default_rng(1), dtype, 3, 5, 4, 6)
    close(batched_matmul(a, b), expected(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_does_not_depend_on_its_tile_nor_on_its_batch(use_tile, dtype):
    a, b = problem(np.random.default_rng(2), dtype, 2, 9, 10, 13)
    results = []
    for tile in (SMALL[dtype], tiles.TILES[dtype][0]):
        use_tile(tile)
        alone = [batched_matmul(*pair) for pair in zip(a, b, strict=True)]
        results += [batched_matmul(a, b), np.stack(alone)]
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_of_extreme_numbers(small, dtype, activation):
    z = np.array([[0, -0.0, 1e-30, -1e-6, 1e3, -1e3, 1e30, np.inf, -np.inf, np.nan]], dtype)
    found = batched_matmul(np.ones((1, 1), dtype), z, activation=activation)
    with np.errstate(over="ignore"):
        wanted = ACTIVATIONS[activation](z.astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_nan_stays_in_its_row_and_column(small, trans_a, trans_b):
    a, b = problem(np.random.default_rng(3), "float32", 2, 6, 7, 5)
    a[0, 2, 1], b[1, 3, 4] = np.nan, np.inf
    found = batched_matmul(transposed(a, trans_a), transposed(b, trans_b), trans_a, trans_b)
    wrong = np.zeros((2, 6, 7), bool)
    wrong[0, 2], wrong[1, :, 4] = True, True
    np.testing.assert_array_equal(~np.isfinite(found), wrong)


# -- arrays on the device -------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0, 1], ids=["aligned", "not aligned"])
def test_views_with_strides_and_what_lies_around_them(small, dtype, shift):
    """Nothing outside the views is read (NaN would show) or written."""
    rng = np.random.default_rng(4)

    def inside(rows, columns):
        memory = np.full((3, rows + 2, columns + 8), np.nan, dtype)
        view = memory[:, 1 : rows + 1, 4 + shift : 4 + shift + columns]
        view[...] = rng.normal(size=view.shape)
        return Tensor(memory, lambda m: m[:, 1 : rows + 1, 4 + shift : 4 + shift + columns])

    a, b, out = inside(9, 8), inside(8, 12), inside(9, 12)
    wanted = expected(a.numpy(), b.numpy())
    assert batched_matmul(a, b, out=out) is out
    close(out.numpy(), wanted)
    around = out.memory.copy_to_host()
    out.view(around)[...] = np.nan
    assert np.isnan(around).all()


def test_batches_of_any_strides(small):
    """One matrix for all by a stride of 0; products side by side in the rows of the result."""
    rng = np.random.default_rng(5)
    a = Tensor(rng.normal(size=(5, 6)), lambda m: np.broadcast_to(m, (3, 5, 6)))
    b = Tensor(rng.normal(size=(6, 3, 4)), lambda m: m.transpose(1, 0, 2))
    out = Tensor(np.zeros((5, 3, 4)), lambda m: m.transpose(1, 0, 2))
    batched_matmul(a, b, out=out)
    close(out.numpy(), expected(a.numpy(), b.numpy()))


def test_result_is_where_the_operands_are():
    a, b = problem(np.random.default_rng(6), "float32", 2, 3, 4, 5)
    on_device = batched_matmul(Tensor(a), Tensor(b))
    assert not isinstance(on_device, np.ndarray)
    on_host = batched_matmul(a, b)
    assert isinstance(on_host, np.ndarray)
    np.testing.assert_array_equal(on_device.copy_to_host(), on_host)


@pytest.mark.parametrize("view", [lambda m: m, lambda m: m[:, ::-1].transpose(0, 2, 1)])
def test_out_on_the_host(small, view):
    a, b = problem(np.random.default_rng(7), "float64", 2, 3, 3, 5)
    out = view(np.zeros((2, 3, 3)))
    assert batched_matmul(a[:, :, ::-1], b[:, ::-1], out=out) is out
    close(out, expected(a, b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_and_host_arrays_of_any_strides(small, dtype):
    a, b = problem(np.random.default_rng(8), dtype, 2, 3, 4, 5)
    found = batched_matmul(np.asfortranarray(a)[::-1], b[::-1])
    close(found, expected(a[::-1], b[::-1]))
    close(batched_matmul([[1.0, 2.0]], [[3.0], [4.0]]), np.array([[11.0]]))


# -- what is refused ------------------------------------------------------------

A, B = np.zeros((2, 3, 4), np.float32), np.zeros((2, 4, 5), np.float32)
READ_ONLY = np.zeros((2, 3, 5), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"a": A[0, 0]}, ValueError, r"a: expected a matrix, or .*; got shape \(4,\)"),
        ({"b": B[None]}, ValueError, r"b: expected a matrix, .*; got shape \(1, 2, 4, 5\)"),
        ({"b": B[:, 1:]}, ValueError, r"b: expected 4 rows for a of shape \(2, 3, 4\); got shape"),
        ({"trans_a": True}, ValueError, r"b: expected 3 rows for a of shape .* with trans_a; got"),
        ({"trans_b": True}, ValueError, r"b: expected 4 columns for a .*; got .* with trans_b"),
        ({"b": B[:1]}, ValueError, r"b: expected 2 matrices, as a has; got shape \(1, 4, 5\)"),
        ({"a": A.astype(int)}, TypeError, "a: expected float32 or float64; got int64"),
        ({"a": A.astype(">f4")}, TypeError, "a: expected float32 or float64; got >f4"),
        ({"b": B.astype(np.float16)}, TypeError, "b: expected float32 or float64; got float16"),
        ({"b": B.astype(np.float64)}, TypeError, "b: expected float32, as a has; got float64"),
        ({"bias": np.zeros(5)}, TypeError, "bias: expected float32, as a has; got float64"),
        ({"bias": B[0, 0, :4]}, ValueError, r"bias: expected shape \(5,\) or \(2, 5\); got \(4,\)"),
        ({"activation": "tahn"}, ValueError, "activation: expected None or one of .*; got 'tahn'"),
        ({"activation": np.tanh}, ValueError, "activation: expected None or one of"),
        ({"out": B}, ValueError, r"out: expected shape \(2, 3, 5\); got \(2, 4, 5\)"),
        ({"out": np.zeros((2, 3, 5))}, TypeError, "out: expected float32, as a has; got float64"),
        ({"out": READ_ONLY}, ValueError, "out: expected an array that can be written to"),
        ({"out": [[[0.0] * 5] * 3] * 2, "a": A.astype(float), "b": B.astype(float)}, TypeError,
         "out: expected a NumPy array; got list"),
        ({"a": [[1.0], [1.0, 2.0]]}, ValueError, "a: expected an array; got lists of different"),
        ({"a": Tensor(A)}, TypeError, "got a on a device and b on the host"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        batched_matmul(**{"a": A, "b": B} | arguments)


def test_bad_views_on_the_device():
    out = Tensor(np.zeros((3, 5), np.float32), lambda m: np.broadcast_to(m, (2, 3, 5)))
    with pytest.raises(ValueError, match="out: expected elements in places of their own"):
        batched_matmul(Tensor(A), Tensor(B), out=out)
    with pytest.raises(ValueError, match=r"a: .* contiguous along its last axis; .*trans_a"):
        batched_matmul(Tensor(A, lambda m: m.transpose(0, 2, 1)), Tensor(B), trans_a=True)
    with pytest.raises(ValueError, match=r"b: expected strides .* none below 0; got \(80, -20"):
        batched_matmul(Tensor(A), Tensor(B, lambda m: m[:, ::-1]))
    square = Tensor(np.zeros((2, 4, 4), np.float32))
    with pytest.raises(ValueError, match="out: expected memory of its own; got that of b"):
        batched_matmul(Tensor(np.zeros((4, 4), np.float32)), square, out=square)
    read_only = Tensor(np.zeros((2, 3, 5), np.float32))
    read_only.__cuda_array_interface__["data"] = (1, True)
    with pytest.raises(ValueError, match="out: expected an array that can be written to"):
        batched_matmul(Tensor(A), Tensor(B), out=read_only)


@pytest.mark.parametrize(("where", "said"), [(1, "GPU 1"), (None, "no GPU")])
def test_arrays_on_another_gpu(monkeypatch, where, said):
    given = Tensor(A), Tensor(B)
    monkeypatch.setattr(discovery, "simulated", lambda: False)
    two = discovery.Driver(None, (13, 0), ((9, 0), (9, 0)))
    monkeypatch.setattr(discovery, "ask_driver", lambda: two)
    monkeypatch.setattr(discovery, "device_of", lambda pointer: where)
    monkeypatch.setattr(cuda, "get_current_device", lambda: SimpleNamespace(id=0))
    with pytest.raises(ValueError, match=f"a: expected an array on GPU 0, .*; got one on {said}"):
        batched_matmul(*given)


def test_nothing_is_half_done_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(discovery, "missing", lambda: "an NVIDIA driver, but no GPU")
    with pytest.raises(RuntimeError, match="fastrnn.cuda needs .*: an NVIDIA driver, but no GPU"):
        batched_matmul(A, B)


class Torch:
    """As a tensor of PyTorch says where it lies."""

    def __init__(self, address=64, shape=(2, 3, 3), stride=(9, 3, 1), requires_grad=False):
        self.shape, self.dtype, self.requires_grad = shape, "torch.float32", requires_grad
        self.data_ptr, self.stride = lambda: address, lambda: stride


def test_products_are_known_again_by_all_that_they_depend_on(monkeypatch):
    monkeypatch.setattr(discovery, "simulated", lambda: False)
    monkeypatch.setattr(stream, "device", lambda: 0)

    def key(a=None, b=None, trans_a=False, bias=None, activation=None, out=None):
        given = (Torch() if x is None else x for x in (a, b, out))
        a, b, out = given
        return matmul._key(a, b, trans_a, False, bias, activation, out)

    known = key()
    assert known is not None and key() == known
    others = [
        key(a=Torch(128)), key(b=Torch(shape=(3, 3))), key(b=Torch(stride=(9, 1, 3))),
        key(a=Torch(requires_grad=True)), key(trans_a=True), key(bias=Torch()), key(out=Torch(32)),
        key(activation="tanh"),
    ]
    assert len({known, *others}) == len(others) + 1
    assert matmul._key(Torch(), Torch(), False, False, None, None, None) is None
    assert matmul._key(A, Torch(), False, False, None, None, Torch()) is None
    monkeypatch.setattr(stream, "device", lambda: 1)
    assert key() != known


@pytest.mark.parametrize("own, is_known", [(None, True), (1, True), (7, False)])
def test_streams_of_others_are_waited_for_at_each_call(monkeypatch, own, is_known):
    monkeypatch.setattr(discovery, "simulated", lambda: False)
    monkeypatch.setattr(stream, "device", lambda: 0)
    array = SimpleNamespace(__cuda_array_interface__={
        "data": (64, False), "shape": (3, 3), "typestr": "<f4", "version": 3, "stream": own,
    })  # fmt: skip
    assert (matmul._key(*[array] * 2, False, False, None, None, array) is not None) == is_known


# -- on a GPU only --------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [16, 31, 32, 64, 100, 128, 300])
def test_large_batches(dtype, size):
    rng = np.random.default_rng(9)
    a, b = problem(rng, dtype, 1000, size, size, size)
    a /= np.sqrt(size, dtype=dtype)  # tanh is not to be saturated
    first, second = (batched_matmul(a, b, activation="tanh") for _ in range(2))
    close(first, expected(a, b, activation="tanh"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.gpu
def test_tensors_of_torch_without_a_copy():
    torch = pytest.importorskip("torch")
    a, b = torch.randn(2, 3, 4, device="cuda"), torch.randn(2, 4, 5, device="cuda")
    out = torch.empty(2, 3, 5, device="cuda")
    for _ in range(3):  # the same places, which are known by then, with other numbers
        a.normal_(), out.zero_()
        assert batched_matmul(a, b, out=out) is out
        close(out.cpu().numpy(), expected(a.cpu().numpy(), b.cpu().numpy()))
