"""Says in plain words what this machine lacks to build fastrnn; silent where all is there."""

import os
import shlex
import shutil
import sys
import sysconfig

# It has to run, to say so, on a Python that is too old for fastrnn: any from 3.6 on.
OLDEST = (3, 11)


def problems():
    """What is missing, a sentence each."""
    version = sys.version_info[:2]
    if version < OLDEST:
        return [
            f"fastrnn needs Python 3.11 or newer; {sys.executable} is {version[0]}.{version[1]}. "
            "Name another one: make PYTHON=python3.11 ..."
        ]
    found = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        found.append("Python's venv module is missing (Debian, Ubuntu: package python3-venv).")
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        found.append(
            f"Python's C headers are missing (Debian, Ubuntu: package python3-dev): no {header}."
        )
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if not shutil.which(compiler):
        found.append(
            f"There is no C compiler '{compiler}' (Debian, Ubuntu: package gcc). "
            "Name another one: CC=clang make ..."
        )
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
