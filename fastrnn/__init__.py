"""fastrnn: an engine for recurrent networks, fast on the CPU, with Keras's words.

Data falls from the top of this map to the bottom, and imports point the same way:

``cli``, ``sentiment``
    The command ``fastrnn``, and the pipeline behind it: raw text -> ids -> model -> label.
``datasets``, ``preprocessing``
    IMDB, and built-in reviews for machines without it; padding and tokenising.
``models``, ``training``, ``callbacks``
    `Model` and `Sequential`, and the loop behind ``fit``: epoch -> batch -> step -> update.
``layers``, ``losses``, ``metrics``, ``optimizers``, ``initializers``, ``regularizers``, \
``constraints``, ``activations``
    What a model is made of. A layer is shapes, parameters and two methods.
``saving``
    A model in one file, without pickle; Keras's files; PyTorch's weights.
``engines``
    All that knows a device: ``reference`` is the readable specification in NumPy, ``cpu`` the
    fast one, ``cuda`` that for NVIDIA GPUs (`set_device`).
``_core``
    The C kernels: compiled once for each instruction set, chosen when it is imported.
``cuda``
    NVIDIA GPUs, through ``numba-cuda``: arrays, kernels, batched matrix products.

Submodules are imported when first used, so ``import fastrnn`` costs next to nothing.

Examples
--------
>>> import fastrnn
>>> model = fastrnn.Sequential([fastrnn.Input((10,)), fastrnn.layers.Dense(1)])
>>> model.count_params()
11
"""

import importlib

__version__ = "0.1.0"

# Where each public name is found; None: the name is a submodule itself.
_HOMES = {
    "Initializer": "initializers",
    "Input": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Optimizer": "optimizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
    "activations": None,
    "backend": None,
    "callbacks": None,
    "config": None,
    "constraints": None,
    "cuda": None,
    "datasets": None,
    "diagnostics": None,
    "engines": None,
    "get_device": "engines",
    "get_num_threads": "_core",
    "initializers": None,
    "layers": None,
    "losses": None,
    "metrics": None,
    "models": None,
    "ops": None,
    "optimizers": None,
    "preprocessing": None,
    "regularizers": None,
    "saving": None,
    "sentiment": None,
    "set_device": "engines",
    "set_num_threads": "_core",
    "show_config": "_config_report",
    "utils": None,
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'fastrnn' has no attribute {name!r}")
    home = importlib.import_module(f"fastrnn.{_HOMES[name] or name}")
    value = getattr(home, name) if _HOMES[name] else home
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
