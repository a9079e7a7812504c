"""What fastrnn and its peers cost beside time: accuracy, memory, import time, installed size."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from peers import HERE, PEERS, left_out, output_of, python_for, worker_of

REPOSITORY = HERE.parents[1]
SCRIPT = REPOSITORY / "examples" / "imdb_sentiment.py"

MEMORY_OF_NUMPY = """
import numpy
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""

IMPORT_TIMES = """
import time
import numpy
start = time.perf_counter()
{package}
package = time.perf_counter()
{script}
print(package - start, time.perf_counter() - start)
"""


class Library(NamedTuple):
    """What is used of a peer.

    Attributes
    ----------
    distributions : list of str
        Those that a user installs; what is not there is another system's.
    package : str
        Its import.
    script : str
        What a script imports besides.
    runs_script : bool
        Whether the README's script runs with it.
    """

    distributions: list
    package: str
    script: str
    runs_script: bool = False


def imports_of_script(library):
    """Return what the README's script imports, moved to a library."""
    lines = SCRIPT.read_text().replace("fastrnn", library).splitlines()
    return "\n".join(line for line in lines if line.startswith(f"from {library}"))


TENSORFLOW = ["keras", "tensorflow-cpu", "tensorflow"]
LIBRARIES = {
    "fastrnn": Library(["fastrnn"], "import fastrnn", imports_of_script("fastrnn"), True),
    "Keras (TensorFlow)": Library(TENSORFLOW, "import keras", imports_of_script("keras"), True),
    "Keras (JAX)": Library(["keras", "jax"], "import keras", imports_of_script("keras"), True),
    "jax.lax.scan": Library(["jax"], "import jax", "import jax.numpy"),
    "PyTorch": Library(["torch"], "import torch", "from torch import nn"),
    "ONNX Runtime": Library(["onnxruntime"], "import onnxruntime", ""),
}


def libraries(options):
    """Yield (name, library, its Python) of those that are asked for and can be had."""
    for name, library in LIBRARIES.items():
        if name == "fastrnn" or name in options.peers:
            with left_out(name):
                yield name, library, python_for(name, options.python, options.env_dir)


# -- the script ------------------------------------------------------------------------------------


def run_script(python, seed, library="fastrnn", epochs=10, **environment):
    """Run the README's script, moved to a library.

    Returns
    -------
    dict
        best_val_acc, test_acc, seconds and peak_memory (bytes).
    """
    arguments = HERE / "script_run.py", SCRIPT, seed, library, epochs
    return json.loads(output_of(python, *arguments, **environment))


def measure_accuracy(options, seeds):
    """Run the script with each seed; return "runs"."""
    return {"runs": [{"seed": seed} | run_script(options.python, seed) for seed in seeds]}


# -- memory ----------------------------------------------------------------------------------------


def measure_memory(options, workload):
    """Return peak memories in bytes.

    Parameters
    ----------
    options : namespace
        What the command line says: python, env_dir, peers.
    workload : path
        What ``workload.py`` wrote, with the rows of an epoch.

    Returns
    -------
    dict
        "numpy": of a bare interpreter with NumPy; "peers": by name, where it can be measured,
        "script": of the README's script with one epoch; "training" and "way": of an epoch alone,
        in the way that takes the least.
    """
    bare = 1024 * int(output_of(options.python, "-c", MEMORY_OF_NUMPY))
    peers = {}
    for name, library, python in libraries(options):
        print(f"Memory of {name}", file=sys.stderr)
        peers[name] = {}
        if library.runs_script:
            with left_out(name):
                peers[name]["script"] = memory_of_script(name, python)
        with left_out(name):
            peers[name] |= memory_of_training(name, options, workload)
    return {"numpy": bare, "peers": peers}


def memory_of_script(name, python):
    """Return the peak memory of the script with one epoch."""
    if name == "fastrnn":
        return run_script(python, 0, epochs=1)["peak_memory"]
    backend = PEERS[name][2][0]
    return run_script(python, 0, "keras", 1, KERAS_BACKEND=backend)["peak_memory"]


def memory_of_training(name, options, workload):
    """Return the peak memory of an epoch in the leanest way, each in a process of its own."""
    peaks, ways = {}, None
    while ways is None or ways:
        with worker_of(name, "model", options.python, options.env_dir) as worker:
            worker.ask("open", file=str(workload))
            ways = worker.ask("ways_to", task="epoch") if ways is None else ways
            if ways:
                way = ways.pop()
                worker.ask("use", task="epoch", way=way)
                worker.ask("turn", task="epoch", seconds=0)
                peaks[way] = worker.ask("peak_memory")
    if not peaks:
        return {}
    way = min(peaks, key=peaks.get)
    return {"training": peaks[way], "way": way}


# -- import and size -------------------------------------------------------------------------------


def measure_import(options, repeats):
    """Return seconds of imports in fresh processes that hold NumPy already.

    By name: "package" of the package itself, "script" with all that a script imports; each
    median, min and max.  Bytecode is kept, whatever the environment says: what pip installs has it,
    and a tree has it from the second time on.
    """
    times = {}
    for name, library, python in libraries(options):
        code = IMPORT_TIMES.format(package=library.package, script=library.script)
        environment = {"PYTHONDONTWRITEBYTECODE": ""}
        if PEERS[name][2]:
            environment["KERAS_BACKEND"] = PEERS[name][2][0]
        with left_out(name):
            lines = [
                output_of(python, "-c", code, **environment).split() for _ in range(repeats + 1)
            ]
            # The first reads the files from the disk, and may write bytecode.
            columns = zip(*(map(float, line) for line in lines[1:]), strict=True)
            times[name] = dict(zip(("package", "script"), map(spread, columns), strict=True))
    return times


def spread(values):
    """Return the median, the least and the greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure_size(options):
    """Return bytes on disk of each peer and what it depends on, without NumPy.

    By name: "total", and "parts" by distribution. fastrnn is installed into an empty folder from
    the wheel given, or one built from this tree.
    """
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        install(options.wheel, folder)
        for name, library, python in libraries(options):
            where = ["--path", folder] if name == "fastrnn" else []
            with left_out(name):
                arguments = HERE / "installed_size.py", *where, *library.distributions
                parts = json.loads(output_of(python, *arguments))
                sizes[name] = {"parts": parts, "total": sum(parts.values())}
    return sizes


def install(wheel, target):
    """Install a wheel of fastrnn, built from this tree if there is none, and its dependencies."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, REPOSITORY], check=True)
            (wheel,) = Path(folder).glob("*.whl")
        subprocess.run([*pip, "install", "--target", target, wheel], check=True)
