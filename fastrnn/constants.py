"""Constants of activations, for `fastrnn.activations` and for kernels, which import no more."""

__all__ = ["LEAK", "SELU_ALPHA", "SELU_SCALE"]

LEAK = 0.2  # of leaky_relu, as in Keras
# Klambauer et al., "Self-Normalizing Neural Networks", 2017.
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
