"""Every CUDA kernel compiled, without a GPU, and what it takes of a multiprocessor."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")
pytestmark = pytest.mark.timeout(900)  # the first one compiles

TOOLS = Path(__file__).resolve().parents[1] / "tools"
RECORD = json.loads(Path(__file__).with_name("cuda_resources.json").read_text())
CAPABILITIES = ("75", "80", "90", "100")
REGISTERS = 65536  # that the threads of a block share
SHARED = 48 * 1024  # bytes that every GPU gives a block
# What a sweep may ask for beyond that, as 9.0 and 10.0 have it; with less it goes step by step.
ASKED = 227 * 1024


@pytest.fixture(scope="module")
def found():
    """What the tool measures, in a process of its own: this one may be simulating.

    What cannot have changed since it was written down is not compiled again.
    """
    command = [sys.executable, TOOLS / "cuda_resources.py", "--json", "--reuse"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "DynamicLibNotFoundError" in done.stderr:
        pytest.skip("NVVM or NVRTC is not installed (make test-cuda)")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def measured(found):
    if found["compilers"]["ptxas"] is None:
        pytest.skip("ptxas is not found")
    return found


def test_every_kernel_compiles_for_every_capability(found):
    names = {name.rpartition(" sm_")[0] for name in found["kernels"]}
    assert set(found["kernels"]) == {f"{name} sm_{c}" for name in names for c in CAPABILITIES}
    assert set(found["kernels"]) == set(RECORD["kernels"]), "make cuda-resources-record"


def test_products_load_and_store_16_bytes_at_a_time(found):
    for name, row in found["kernels"].items():
        if name.startswith("matmul"):
            assert row["wide loads"] >= 2 and row["wide stores"] >= 1, name


def test_a_block_fits(measured):
    for name, row in measured["kernels"].items():
        assert row["registers"] * row["threads"] <= REGISTERS, name
        assert row["shared"] <= (ASKED if " units" in name else SHARED), name


def test_nothing_spills(measured):
    """No thread keeps anything in device memory: neither spilled registers nor arrays."""
    for name, row in measured["kernels"].items():
        assert row["spilled"] == row["stack"] == 0, name


def test_resources_are_those_written_down(measured):
    if measured["compilers"] != RECORD["compilers"]:
        pytest.skip(f"the table belongs to {RECORD['compilers']}; here: {measured['compilers']}")
    for name, row in measured["kernels"].items():
        wanted = RECORD["kernels"][name]
        assert {column: row[column] for column in wanted} == wanted, (
            f"{name}: if that is meant, make cuda-resources-record writes it down"
        )


# -- what is not compiled again -------------------------------------------------


@pytest.fixture
def sources(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("kernel_sources")


@pytest.fixture
def package(sources, tmp_path):
    """A package with two modules of kernels; call with a module and its source to write it."""

    def write(module, text):
        file = sources.path(module, tmp_path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    kernels = "fastrnn.cuda.kernels"
    for module, text in {
        "fastrnn.cells": "GATES = 4",
        "fastrnn.losses": "0",
        "fastrnn.tiles": "import math\n\nSIDE = math.ceil(2)",
        f"{kernels}.__init__": "",
        f"{kernels}.target": "THREADS = 128",
        f"{kernels}.sums": f"from {kernels}.target import THREADS",
        f"{kernels}.sweep": f"if 1:\n    from {kernels} import target\n    import fastrnn.cells",
        f"{kernels}.catalogue": f"from {kernels} import sums, sweep\nimport fastrnn.tiles",
    }.items():
        write(module, text)
    return write


@pytest.mark.parametrize(
    ("module", "text", "others"),
    [
        ("cuda.kernels.sweep", "1", {"sweep"}),
        ("cuda.kernels.sums", "1", {"sums"}),
        ("cells", "GATES = 3", {"sweep"}),
        ("cuda.kernels.target", "THREADS = 64", {"sweep", "sums"}),
        ("cuda.kernels.catalogue", "1", {"sweep", "sums"}),
        ("tiles", "SIDE = 3", {"sweep", "sums"}),
        ("cells", "GATES  =  (4)  # a comment", set()),
        ("losses", "1", set()),
    ],
)
def test_what_a_kernel_is_made_from_changes_its_digest(
    sources, package, tmp_path, module, text, others
):
    names = [f"fastrnn.cuda.kernels.{name}" for name in ("sweep", "sums")]
    before = {name: sources.digest(name, tmp_path) for name in names}
    package(f"fastrnn.{module}", text)
    changed = {name for name in names if sources.digest(name, tmp_path) != before[name]}
    assert changed == {f"fastrnn.cuda.kernels.{name}" for name in others}


def test_sources_of_sweeps(sources):
    kernels = {"activations", "catalogue", "cells", "dots", "sweep", "target"}
    assert set(sources.made_from("fastrnn.cuda.kernels.sweep")) == {
        "fastrnn.cells", "fastrnn.constants", "fastrnn.cuda.functions",
        "fastrnn.cuda.sweep_tiles", "fastrnn.cuda.tiles",
        *(f"fastrnn.cuda.kernels.{name}" for name in kernels),
    }


@pytest.mark.parametrize(
    ("compilers", "known"),
    [
        ({}, {"same"}), ({"ptxas": None}, {"same"}), ({"ptxas": "13.1"}, set()),
        ({"numba": "0.69"}, set()), ({"llvmlite": "0.51"}, set()),
    ],
)
def test_a_table_holds_for_its_compilers_and_sources(sources, compilers, known):
    here = {"numba": "0.68", "ptxas": "13.0"}
    table = {"compilers": here, "sources": {"same": "a", "other": "b", "gone": "c"}}
    now = {"same": "a", "other": "c", "new": "d"}
    assert sources.unchanged(table, here | compilers, now) == known
