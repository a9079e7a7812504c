"""Builds the one extension, ``fastrnn._core``; all else is in ``pyproject.toml``.

``FASTRNN_DEBUG=1`` builds it with Cython's bounds checks, C assertions and symbols for a debugger.
"""

import os
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTRNN_DEBUG", "0") not in ("", "0")
# One wheel serves every CPython from 3.11 on; free-threaded builds have no stable ABI.
ABI3 = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
# The two flavours share no object file and no generated C.
BUILD_BASE = f"build/{'debug' if DEBUG else 'release'}"


def files(*patterns):
    """The files of the core that match, as setuptools wants them: relative, with slashes."""
    core = Path("fastrnn/csrc")
    return sorted(path.as_posix() for pattern in patterns for path in core.rglob(pattern))


core = Extension(
    "fastrnn._core",
    sources=["fastrnn/_core.pyx", *files("**/*.c")],
    include_dirs=["fastrnn"],
    depends=[*files("**/*.h"), *map(str, Path("fastrnn").glob("*.pxi")), "setup.py"],
    define_macros=[
        *([("Py_LIMITED_API", "0x030B0000")] if ABI3 else []),
        *([("FASTRNN_DEBUG", "1")] if DEBUG else []),
    ],
    # Python's own flags come first and define NDEBUG. No -march: the kernels choose by themselves.
    extra_compile_args=[
        "-std=gnu11",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-pthread",
        *(["-O1", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]),
    ],
    extra_link_args=["-pthread"],
    py_limited_api=ABI3,
)

setup(
    ext_modules=cythonize(
        [core],
        build_dir=f"{BUILD_BASE}/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": not DEBUG,
        },
    ),
    options={
        "build": {"build_base": BUILD_BASE},
        "bdist_wheel": {"py_limited_api": "cp311"} if ABI3 else {},
    },
)
