"""Print the bytes of distributions and all that they depend on, but for NumPy, as a line of JSON.

usage: installed_size.py [--path FOLDER] NAME..., with the Python that has them, or that has pip
"""

import argparse
import json
import re
import sys
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement  # what decides here what is installed


def canonical(name):
    """Return a distribution's name in the one spelling that all others stand for."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(distribution):
    """Yield the names of what a distribution needs on this system, without extras."""
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def closure(names, path):
    """Return by name the distributions in a path that are these or needed by them."""
    there = {canonical(d.metadata["Name"]): d for d in metadata.distributions(path=path)}
    found, waiting = {}, list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in there and name not in found and name != "numpy":
            found[name] = there[name]
            waiting += requirements(there[name])
    return found


def size(distribution):
    """Return the bytes of its files, as they were recorded when it was installed."""
    files = (Path(file.locate()) for file in distribution.files or [])
    return sum(file.stat().st_size for file in files if file.is_file())


def main():
    """Print them by name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path")
    parser.add_argument("names", nargs="+")
    options = parser.parse_args()
    path = [options.path] if options.path else sys.path
    print(json.dumps({n: size(d) for n, d in closure(options.names, path).items()}))


if __name__ == "__main__":
    main()
