"""The package as it is installed: its names, what importing it costs, what it carries."""

import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn
from fastrnn import _core

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEAVY = {"matplotlib", "numba", "pooch", "requests", "safetensors", "tqdm", "urllib.request"}


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )


def test_public_names_are_there():
    for name in fastrnn.__all__:
        assert getattr(fastrnn, name) is not None
    assert set(fastrnn.__all__) <= set(dir(fastrnn))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Sequentail'"):
        fastrnn.Sequentail  # noqa: B018


def test_version_is_the_distribution_s():
    assert importlib.metadata.version("fastrnn") == fastrnn.__version__


@pytest.mark.parametrize(
    "module",
    ["fastrnn", "fastrnn.models", "fastrnn.layers", "fastrnn.datasets", "fastrnn.saving",
     "fastrnn.cuda"],
)  # fmt: skip
def test_importing_leaves_heavy_modules_alone(module):
    """What costs time to import is imported where it is used."""
    done = run_python("-c", f"import sys, {module}; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


def test_import_fastrnn_imports_no_submodule():
    done = run_python("-c", "import sys, fastrnn; print(*sys.modules)")
    assert [m for m in done.stdout.split() if m.startswith("fastrnn.")] == []


def test_stub_names_what_the_core_has():
    stub = Path(fastrnn.__file__).with_name("_core.pyi")
    tree = ast.parse(stub.read_text())
    in_stub = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    in_core = {n for n, v in vars(_core).items() if callable(v) and not n.startswith("_")}
    assert in_stub == in_core


def test_package_is_marked_as_typed():
    assert Path(fastrnn.__file__).with_name("py.typed").exists()


def test_installed_package_carries_no_sources_of_the_core():
    package = Path(fastrnn.__file__).parent
    if (package.parent / "setup.py").exists():
        pytest.skip("this is the tree itself")
    kinds = {file.suffix for file in package.rglob("*")}
    assert ".so" in kinds and not kinds & {".c", ".h", ".pyx", ".pxi"}


def test_example_runs_as_it_stands(tiny_imdb):
    """The script that is a Keras script, on a small file in place of IMDB's."""
    done = run_python(EXAMPLES / "imdb_sentiment.py", FASTRNN_DATA_HOME=str(tiny_imdb))
    assert done.returncode == 0, done.stderr
    assert "Test Accuracy: " in done.stdout.splitlines()[-1]
    assert done.stderr == ""


@pytest.mark.parametrize("is_there", [True, False])
def test_demo_runs_with_and_without_imdb(is_there, tiny_imdb, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTRNN_DATA_HOME", str(tiny_imdb))
    if not is_there:
        monkeypatch.setattr(demo.imdb, "get_word_index", _no_network)
        monkeypatch.setattr("fastrnn.datasets.reviews.load_texts", _few_texts)
    assert demo.main() == 0
    printed = capsys.readouterr().out
    assert ("built-in reviews instead" in printed) is not is_there
    assert f"$ fastrnn train {'imdb' if is_there else 'reviews'} " in printed
    assert sorted(p.name for p in Path("demo").iterdir()) == ["curves.png", "sentiment.fastrnn"]


def _no_network():
    raise OSError("no route to host")


def _few_texts():
    half = (["it was good", "it was bad"] * 10, [1, 0] * 10)
    return half, half
