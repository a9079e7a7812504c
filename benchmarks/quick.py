"""A quick look while tuning, with pytest-benchmark: make bench-quick.

Less careful than the suites: one process, one build, whatever else runs beside it.
"""

from . import bench_text  # not a suite by its name: asv would take it for one of this module
from .kernels import KINDS, Layer

LAYER_SHAPES = {"H32-B128": (32, 128, 100), "H128-B32": (128, 32, 100), "H512-B1": (512, 1, 30)}


def pytest_generate_tests(metafunc):
    """Spares an import of pytest: asv imports every module here, where there is none."""
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", KINDS)
    if "shape" in metafunc.fixturenames:
        metafunc.parametrize("shape", LAYER_SHAPES.values(), ids=LAYER_SHAPES)


def test_forward(benchmark, name, shape):
    benchmark(Layer(name, *shape).forward)


def test_forward_and_backward(benchmark, name, shape):
    benchmark(Layer(name, *shape).forward_and_backward)


def test_training_step(benchmark, name):
    step = bench_text.Step()
    step.setup(name, "padded")
    benchmark(step.time_train, name, "padded")


def test_predict_row(benchmark, name):
    step = bench_text.Step()
    step.setup(name, "padded")
    benchmark(step.time_predict_row, name, "padded")
