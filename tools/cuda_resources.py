"""What each CUDA kernel takes of a multiprocessor, without a GPU.

Every kernel is compiled to PTX for several compute capabilities, and by ``ptxas``, where it is
found, to machine code. Prints a table; ``--record`` writes it to tests/cuda_resources.json, which
the tests compare with. That table belongs to one version of the compilers.

Compilers find the same whenever they are given the same. So the table names the sources of each
kernel by a digest, and ``--reuse`` takes from it what cannot have changed. The first kernel of each
module is compiled all the same, so that the compilers are seen to work.
"""

import argparse
import contextlib
import gc
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

# Compiled, not simulated, whatever the caller's environment says.
os.environ["NUMBA_ENABLE_CUDASIM"] = "0"

import kernel_sources  # noqa: E402
from numba import typeof  # noqa: E402
from numba.cuda import compiler, dispatcher  # noqa: E402

from fastrnn.cuda.kernels.catalogue import variants  # noqa: E402

RECORD = Path(__file__).resolve().parents[1] / "tests" / "cuda_resources.json"
CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))
# Functions that kernels call are compiled for the GPU that there is: here is none to ask.
dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITIES[0])
COLUMNS = "registers", "shared", "stack", "spilled"
# What ptxas -v says, in the order of COLUMNS; spills are stores and loads.
PATTERNS = r"Used (\d+) reg", r"(\d+) bytes smem", r"(\d+) bytes stack", r"(\d+) bytes spill"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="write the table for the tests")
    parser.add_argument("--json", action="store_true", help="print JSON, which says more")
    parser.add_argument("--reuse", action="store_true", help="measure what may have changed")
    options = parser.parse_args(arguments)
    found = measure(json.loads(RECORD.read_text()) if options.reuse else None)
    if options.record:
        if found["compilers"]["ptxas"] is None:
            sys.exit("ptxas is not found: nothing is recorded.")
        RECORD.write_text(as_text(found))
    if options.json:
        print(json.dumps(found))
    else:
        show(found)


def measure(table=None):
    """The compilers and the sources, and the row of each kernel for each capability.

    Rows are taken from ``table``, where there is one, as far as it still holds.
    """
    modules = {variant.name: variant.kernel.py_func.__module__ for variant in variants()}
    sources = {module: kernel_sources.digest(module) for module in sorted({*modules.values()})}
    found = {"compilers": compilers(), "sources": sources}
    known = kernel_sources.unchanged(table, **found) if table else set()
    first = {module: name for name, module in reversed(modules.items())}
    names = [name for name, of in modules.items() if of not in known or name == first[of]]
    # The collector takes a fifth of the time that Numba needs, and finds next to nothing.
    with ProcessPoolExecutor(initializer=gc.disable) as pool:
        rows = dict(zip(names, pool.map(rows_of, names), strict=True))
    for name in modules.keys() - rows.keys():
        rows[name] = [table["kernels"][key] for key in keys(name)]
    found["kernels"] = {
        key: row for name in modules for key, row in zip(keys(name), rows[name], strict=True)
    }
    return found


def keys(name):
    """What a kernel's rows are called, a row for each capability."""
    return [f"{name} sm_{major}{minor}" for major, minor in CAPABILITIES]


def rows_of(name):
    """The rows of one kernel, compiled now."""
    ptxas = find_ptxas()
    (variant,) = [variant for variant in variants() if variant.name == name]
    assert variant.threads == variant.kernel.threads, f"{name}: launched with other threads"
    return [examined(variant, capability, ptx, ptxas) for capability, ptx in compiled(variant)]


def compiled(variant):
    """(capability, PTX) of a kernel, one after the other.

    `numba.cuda.compile` would read the Python source again for each capability, which takes most of
    the time; what it calls gives the library from which all of them are made.
    """
    library, _ = compiler._compile_pyfunc_with_fixup(
        variant.kernel.py_func, tuple(map(typeof, variant.arguments)), cc=CAPABILITIES[0],
        device=False, abi="numba", launch_bounds=variant.kernel.targetoptions["launch_bounds"],
    )
    for major, minor in CAPABILITIES:
        (ptx,) = library.get_asm_strs(cc=(major, minor))
        yield f"{major}{minor}", ptx


def examined(variant, capability, ptx, ptxas):
    """The resources of one kernel as ptxas says, and what its PTX shows."""
    found = {
        "threads": variant.threads,
        "wide loads": len(re.findall(r"ld\.global[.\w]*\.v[24]", ptx)),
        "wide stores": len(re.findall(r"st\.global[.\w]*\.v[24]", ptx)),
    }
    if ptxas is None:
        return found
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        done = subprocess.run(
            [ptxas, "-v", f"-arch=sm_{capability}", file.name, "-o", os.devnull],
            capture_output=True, text=True, check=False,
        )
    if done.returncode:
        raise RuntimeError(f"ptxas refuses {variant.name} for sm_{capability}: {done.stderr}")
    for column, pattern in zip(COLUMNS, PATTERNS, strict=True):
        found[column] = sum(map(int, re.findall(pattern, done.stderr)))
    found["shared"] += variant.shared
    return found


def find_ptxas():
    """The path of ptxas, or None."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    folders = [f"{home}/bin" for home in [*homes, "/usr/local/cuda"] if home]
    return shutil.which("ptxas") or shutil.which("ptxas", path=os.pathsep.join(folders))


def version_of(ptxas):
    if ptxas is None:
        return None
    done = subprocess.run([ptxas, "--version"], capture_output=True, text=True, check=True)
    return re.search(r"V([\d.]+)", done.stdout)[1]


def compilers():
    """The versions of what makes PTX, and of ptxas; None for what is missing or no package."""
    found = dict.fromkeys(("numba", "numba-cuda", "llvmlite", "nvidia-nvvm"))
    for name in found:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | {"ptxas": version_of(find_ptxas())}


def as_text(found):
    """The record as JSON, a line for each kernel and capability."""
    found = dict(found)
    kernels = found.pop("kernels")
    head = "".join(f" {json.dumps(name)}: {json.dumps(said)},\n" for name, said in found.items())
    rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in kernels.items())
    return f'{{\n{head} "kernels": {{\n{rows}\n }}\n}}\n'


def show(found):
    print(*found["compilers"].items())
    width = max(map(len, found["kernels"]))
    for name, row in found["kernels"].items():
        print(f"{name:<{width}}", *(f"{column} {value:>6}" for column, value in row.items()))


if __name__ == "__main__":
    main()
