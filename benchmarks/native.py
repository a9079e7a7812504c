"""Small C programs, compiled by the compiler that would build fastrnn."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path


def compile_c(source, output, *flags):
    """Compile a C file of this folder to ``output``, a path.

    Raises
    ------
    RuntimeError
        With what the compiler says if it fails, or that there is none.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    file = Path(__file__).with_name(source)
    if not shutil.which(compiler[0]):
        raise RuntimeError(f"there is no C compiler '{compiler[0]}'; name one in CC.")
    command = [*compiler, "-O2", str(file), "-o", str(output), "-pthread", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source} does not compile:\n{done.stderr}")
    return output
