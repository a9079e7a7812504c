"""NVIDIA GPUs: kernels in Python, compiled by ``numba-cuda`` (``pip install fastrnn[cuda]``).

``matmul``
    `batched_matmul`: many products of one size.
``sweeps``
    The sweeps of recurrent layers, there and back.
``device_array``, ``numpy_functions``, ``functions``, ``parts``, ``strides``
    What `fastrnn.engines.cuda` computes with: arrays on the device, the functions of NumPy that
    take them, what an index takes of them, and how kernels walk over them.
``operations``, ``memory``
    The kernels as functions of such arrays, and memory that is used again.
``arrays``, ``discovery``
    Arrays of users as kernels take them; which GPU there is, or what is missing.
``tiles``, ``kernels``
    How the work is cut up, and the kernels. Numba is imported when one is first used.

docs/cuda.md has the design of each kernel.
"""

from fastrnn.cuda.discovery import is_available
from fastrnn.cuda.matmul import batched_matmul

__all__ = ["batched_matmul", "is_available"]
