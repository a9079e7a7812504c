"""What the CUDA kernels are made from, so that nobody compiles again what is as it was."""

import ast
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = "fastrnn.cuda.kernels."
CATALOGUE = KERNELS + "catalogue"


def unchanged(table, compilers, sources):
    """The modules of whose kernels the compilers would find what the recorded table says.

    ``sources`` has the digest of each module now. A ptxas that is missing finds nothing else.
    """
    ptxas = compilers["ptxas"] or table["compilers"]["ptxas"]
    if compilers | {"ptxas": ptxas} != table["compilers"]:
        return set()
    return {module for module in sources if sources[module] == table["sources"].get(module)}


def digest(module, root=ROOT):
    """A digest of all that the kernels of a module are made from, but for comments and layout.

    And of Python's version: Numba reads what Python makes of a source.
    """
    found = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for name in made_from(module, root):
        found.update(ast.dump(tree(name, root)).encode())
    return found.hexdigest()[:16]


def made_from(module, root=ROOT):
    """The modules that decide what the kernels of one become.

    These are its own; the catalogue, which chooses variants, without the other kernels that it
    lists; and what they import of the package.
    """
    found = {CATALOGUE}
    waiting = [module] + [n for n in imported(CATALOGUE, root) if not n.startswith(KERNELS)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imported(name, root)
    return sorted(found)


def imported(name, root):
    """The modules of the package that one imports, wherever in its source it does."""
    found = set()
    for node in ast.walk(tree(name, root)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    package = name.partition(".")[0] + "."
    return {other for other in found if other.startswith(package) and path(other, root).is_file()}


def tree(name, root):
    return ast.parse(path(name, root).read_text())


def path(name, root):
    return root / (name.replace(".", "/") + ".py")
