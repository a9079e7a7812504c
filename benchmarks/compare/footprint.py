"""What fastrnn costs beside time: accuracy of the script, memory, import time, installed size."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
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
import fastrnn
package = time.perf_counter()
from fastrnn.datasets import imdb
from fastrnn.layers import Dense, Embedding, SimpleRNN
from fastrnn.models import Sequential
from fastrnn.preprocessing import sequence
print(package - start, time.perf_counter() - start)
"""


def output_of(python, *arguments):
    """Return what a process prints; what it says on its way is passed on."""
    command = [python, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_script(python, seeds):
    """Run the README's script with each seed.

    Returns
    -------
    dict
        "runs": for each seed best_val_acc, test_acc, seconds and peak_memory (bytes).
    """
    return {
        "runs": [json.loads(output_of(python, HERE / "script_run.py", SCRIPT, s)) for s in seeds]
    }


def measure_memory(python):
    """Return the script's peak memory and that of a bare interpreter with NumPy, in bytes."""
    (run,) = run_script(python, [0])["runs"]
    bare = 1024 * int(output_of(python, "-c", MEMORY_OF_NUMPY))
    return {"script": run["peak_memory"], "numpy": bare, "over": run["peak_memory"] - bare}


def measure_import(python, repeats=15):
    """Return seconds of imports in fresh processes that hold NumPy already: medians.

    "package" is ``import fastrnn``, "script" the same and all that the README's script imports.
    """
    lines = [output_of(python, "-c", IMPORT_TIMES).split() for _ in range(repeats)]
    package, script = (statistics.median(map(float, column)) for column in zip(*lines, strict=True))
    return {"package": package, "script": script}


def measure_size(wheel=None):
    """Return bytes on disk of fastrnn and its dependencies without NumPy, each and in all.

    The wheel given, or one built from this tree, is installed into an empty folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        if wheel is None:
            wheels = Path(folder, "wheels")
            subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, REPOSITORY], check=True)
            (wheel,) = wheels.glob("*.whl")
        target = Path(folder, "installed")
        subprocess.run([*pip, "install", "--target", target, wheel], check=True)
        sizes = {}
        for file in target.rglob("*"):
            if file.is_file():
                top = file.relative_to(target).parts[0]
                sizes[top] = sizes.get(top, 0) + os.path.getsize(file)
    parts = {name: size for name, size in sizes.items() if not name.startswith("numpy")}
    return {"parts": parts, "total": sum(parts.values())}
