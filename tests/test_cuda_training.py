"""Training on the GPU, or in Numba's simulator, when something goes wrong; on a GPU, IMDB too."""

import ctypes
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn import engines, layers
from fastrnn.callbacks import BackupAndRestore, Callback

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from cuda_cases import choose_small_tiles, make_simulator_safe  # noqa: E402

from fastrnn.cuda import memory  # noqa: E402

X = np.array([[1, 2, 3], [0, 4, 5], [0, 0, 6], [2, 2, 1], [6, 5, 4]])
Y = np.array([0, 1, 0, 1, 1])


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch):
    make_simulator_safe(monkeypatch)
    choose_small_tiles(monkeypatch)
    with engines.using("cuda"):
        yield


def model():
    fastrnn.utils.set_random_seed(1)
    model = fastrnn.Sequential([
        fastrnn.Input((None,)), layers.Embedding(7, 2, mask_zero=True),
        layers.SimpleRNN(2, dropout=0.3), layers.Dropout(0.2), layers.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    return model


def fit(model, callbacks=()):
    return model.fit(X, Y, epochs=4, batch_size=2, verbose=0, callbacks=[*callbacks])


class Interrupt(Callback):
    """Breaks training off after so many batches."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.compiled
@pytest.mark.parametrize("after", [2, 8])
def test_interrupted_and_taken_up_again(tmp_path, after):
    """Before and after steps are recorded: the weights of a run in one go, bit for bit."""
    whole = model()
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), [BackupAndRestore(tmp_path, save_freq=1), Interrupt(after)])
    fastrnn.utils.set_random_seed(99)
    again = model()
    fit(again, [BackupAndRestore(tmp_path, save_freq=1)])
    for a, b in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.compiled
def test_a_model_is_intact_where_memory_runs_out(monkeypatch):
    found = model()
    fit(found)
    weights, predicted = found.get_weights(), found.predict(X, verbose=0)
    with monkeypatch.context() as patched:
        patched.setattr(memory, "_asked_for", lambda shape, dtype: None)
        memory.release()
        with pytest.raises(MemoryError, match=r"the GPU has no .* MiB left\. Fewer rows .*batch_"):
            found.fit(np.tile(X, (40, 30)), np.tile(Y, 40), epochs=1, batch_size=200, verbose=0)
    for a, b in zip(found.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.predict(X, verbose=0), predicted)
    fit(found)


@pytest.mark.compiled
@pytest.mark.gpu
@pytest.mark.timeout(600)
def test_more_than_a_gpu_has():
    with pytest.raises(MemoryError, match="the GPU has no"):
        memory.Memory(1 << 50)
    fit(model())


LOST = """
    import ctypes, sys, weakref
    import numpy as np
    import fastrnn
    from fastrnn.callbacks import BackupAndRestore
    from fastrnn.cuda import batched_matmul
    from fastrnn.cuda.device_array import on_device
    from test_cuda_training import fit, model

    fastrnn.set_device("cuda")
    found, backup = model(), BackupAndRestore(sys.argv[1], save_freq=1)
    own = weakref.finalize(backup, [].clear)  # of a method of C
    matrix = on_device(np.ones((2, 2)))
    ctypes.CDLL("libcuda.so.1").virtual_gpu_lose_after(ctypes.c_uint64(int(sys.argv[2])))
    first_used = lambda: np.exp(matrix)
    for attempt in (
        lambda: fit(found, [backup]), lambda: fit(found), found.get_weights, first_used,
        lambda: batched_matmul(np.ones((2, 2)), np.ones((2, 2))),
    ):
        try:
            attempt()
        except RuntimeError as error:
            print(error)
    assert own.alive
"""


@pytest.mark.compiled
def test_a_gpu_that_is_lost(tmp_path):
    """Each call says so, nothing more is printed as Python ends, and another process goes on."""
    if not on_virtual_gpu():
        pytest.skip("only the virtual GPU can be lost at will")
    whole = model()
    fit(whole)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LOST), tmp_path, "300"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )
    assert not done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 5
    for line in said:
        assert re.match(
            r"fastrnn\.cuda: the GPU is lost: the NVIDIA driver says CUDA_ERROR_UNKNOWN, when asked"
            r" for .*Start a new one, and go on from what was saved \(.*BackupAndRestore\)\.$", line
        )
    again = model()
    assert list(tmp_path.iterdir())
    fit(again, [BackupAndRestore(tmp_path, save_freq=1)])
    for a, b in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def on_virtual_gpu():
    try:
        return hasattr(ctypes.CDLL("libcuda.so.1"), "virtual_gpu_lose_after")
    except OSError:
        return False


@pytest.mark.gpu
@pytest.mark.timeout(600)
def test_imdb_is_learned_as_on_the_cpu():
    """By its epochs: at the end of one the accuracy on other data jumps by some hundredths where
    the last bit of a weight is another, on the CPU too."""
    if not Path(os.environ.get("FASTRNN_DATA_HOME", ""), "imdb.npz").is_file():
        pytest.skip("FASTRNN_DATA_HOME names no folder with imdb.npz")
    (x, y), (x_test, y_test) = fastrnn.datasets.imdb.load_data(num_words=10_000)
    x, x_test = (
        fastrnn.preprocessing.sequence.pad_sequences(part, maxlen=200) for part in (x, x_test)
    )
    histories = {}
    for device in ("cpu", "cuda"):
        with engines.using(device):
            fastrnn.utils.set_random_seed(0)
            found = fastrnn.Sequential([
                layers.Embedding(10_000, 32), layers.LSTM(32),
                layers.Dense(1, activation="sigmoid"),
            ])  # fmt: skip
            found.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
            histories[device] = found.fit(x, y, epochs=2, batch_size=128, verbose=0).history
            assert found.evaluate(x_test, y_test, verbose=0)[1] > 0.78
    for name, wanted in histories["cpu"].items():
        np.testing.assert_allclose(histories["cuda"][name], wanted, rtol=0, atol=0.01)
