"""What all tests share."""

import importlib.util
import json
import os
import signal

# NumPy, which computes what is expected, reads this when it is imported. Its products are small, so
# that beside other work its threads wait for each other. The core's threads are not concerned.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from fastrnn import _core
from fastrnn.cuda import discovery

# Kernels run on the GPU where there is one, and in Numba's simulator everywhere else. Numba must be
# told before it is imported.
if "NUMBA_ENABLE_CUDASIM" not in os.environ:
    os.environ["NUMBA_ENABLE_CUDASIM"] = "0" if discovery.is_available() else "1"
    discovery.missing.cache_clear()


def pytest_collection_modifyitems(items):
    """Skip tests that need a GPU, and the examples that need Numba, where those are missing."""
    no_gpu = discovery.simulated() and pytest.mark.skip(reason=discovery.ask_driver().problem)
    no_numba = importlib.util.find_spec("numba_cuda") is None and pytest.mark.skip(
        reason="numba-cuda is not installed (make test-cuda)"
    )
    for item in items:
        if no_gpu and item.get_closest_marker("gpu"):
            item.add_marker(no_gpu)
        if no_numba and item.name.startswith(("fastrnn.cuda.matmul.", "fastrnn.cuda.sweeps.")):
            item.add_marker(no_numba)


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Each instruction set that this processor has."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture(scope="session", autouse=True)
def listens_to_ctrl_c():
    """A shell that starts something in the background may have it ignore SIGINT, and what it
    starts; tests press Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_imdb(tmp_path_factory):
    """A folder with files like IMDB's, of 60 short reviews: "good" decides, "bad" does too."""
    folder = tmp_path_factory.mktemp("tiny_imdb")
    index = {"the": 1, "film": 2, "is": 3, "good": 4, "bad": 5, "and": 6}
    random = np.random.default_rng(0)

    def half(n):
        labels = np.arange(n) % 2
        reviews = np.empty(n, dtype=object)
        for i, label in enumerate(labels):
            filling = random.choice([1, 2, 3, 6], size=random.integers(2, 9)).tolist()
            reviews[i] = [*filling, 4 if label else 5, *filling[:2]]
        return reviews, labels

    (x_train, y_train), (x_test, y_test) = half(60), half(20)
    np.savez(folder / "imdb.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    (folder / "imdb_word_index.json").write_text(json.dumps(index))
    return folder
