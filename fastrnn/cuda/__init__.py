"""NVIDIA GPUs: kernels in Python, compiled by ``numba-cuda`` (``pip install fastrnn[cuda]``).

``matmul``
    `batched_matmul`: many products of one size.
``sweeps``, ``sweep_tiles``
    The sweeps of recurrent layers, there and back, and how threads share them.
``device_array``, ``numpy_functions``, ``functions``, ``parts``, ``strides``
    What `fastrnn.engines.cuda` computes with: arrays on the device, the functions of NumPy that
    take them, what an index takes of them, and how kernels walk over them.
``operations``, ``memory``
    The kernels as functions of such arrays, and memory that is used again.
``stream``, ``launches``
    The order of all work, and copies; launches of kernels.
``recording``, ``hazards``, ``repeated``, ``draws``
    Work that is done again, as a graph; what of it waits for what; training steps that are
    recorded; and the random numbers in them.
``arrays``, ``discovery``, ``errors``
    Arrays of users as kernels take them; which GPU there is, or what is missing; what the driver
    reports, in words.
``tiles``, ``kernels``
    How products are cut up, and the kernels. Numba is imported when one is first used.

docs/cuda.md has the design of each kernel.
"""

from fastrnn.cuda.discovery import is_available
from fastrnn.cuda.matmul import batched_matmul

__all__ = ["batched_matmul", "is_available"]
