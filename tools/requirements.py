"""Print what ``pyproject.toml`` requires, one requirement a line, as pip reads them.

usage: requirements.py build|EXTRA
"""

import sys
import tomllib


def requirements(group):
    """The requirements of an extra, or, for "build", of the build itself."""
    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    if group == "build":
        return project["build-system"]["requires"]
    return project["project"]["optional-dependencies"][group]


if __name__ == "__main__":
    print(*requirements(sys.argv[1]), sep="\n")
