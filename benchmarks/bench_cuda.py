"""On an NVIDIA GPU; skipped where there is none."""

import fastrnn
from fastrnn import engines

from .common import LayerSuite, Suite
from .gpu import imdb_like, our_model


class OnGPU(Suite):
    """A suite whose arrays lie on a GPU; its methods wait for all that they asked for."""

    def setup(self, *arguments):
        cuda = getattr(fastrnn, "cuda", None)
        if cuda is None or not cuda.is_available() or cuda.discovery.simulated():
            raise NotImplementedError("there is no GPU")
        with engines.using("cuda"):
            super().setup(*arguments)

    def wait(self):
        from numba import cuda

        cuda.synchronize()


class Sweeps(OnGPU, LayerSuite):
    """A layer as wide as its input, there and back, recorded as `fit` does its steps."""

    needs = ("cuda.recording.Recording",)
    params = [*LayerSuite.params, [32, 64, 128], [32, 128, 512]]
    param_names = [*LayerSuite.param_names, "H", "B"]

    def prepare(self, name, H, B):
        from .gpu import layer_ways

        self.step = layer_ways(self.random, name, H, B, peers=False)["fastrnn"]

    def time_forward_and_backward(self, name, H, B):
        self.step()
        self.wait()


class Training(OnGPU, LayerSuite):
    """Epochs of a model on padded ids."""

    needs = ("cuda.recording.Recording",)

    def prepare(self, name):
        self.data = imdb_like(self.random)
        self.model = our_model(name)

    def time_epoch(self, name):
        with engines.using("cuda"):
            self.model.fit(*self.data, batch_size=128, verbose=0)
