"""The guard: how many instructions the main kernels take, held against the committed numbers.

    python -m benchmarks.instructions [--record]

Callgrind counts the instructions of the AVX2 code on one thread.  The numbers are the same in every
run and on every machine, as long as the compiler is the same.  Where it is another than that of the
committed numbers, the sources that they were counted on are built with it and counted as well.

Counted is what the core itself runs between the marks: not Cython's code at its door, nor the C
library's memset and memcpy, which differ from machine to machine.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .native import compile_c

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECORD = HERE / "instructions.json"
BOUND = 0.03
ENVIRONMENT = {"FASTRNN_ISA": "avx2", "FASTRNN_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


class CannotCount(Exception):
    """What is missing, in a sentence."""


# -- counting --------------------------------------------------------------------------------------


def count(package=None):
    """Count the instructions of the kernels.

    Parameters
    ----------
    package : path, optional
        The folder that holds the fastrnn to count, with its core built in place; by default the
        one that this Python imports.

    Returns
    -------
    dict of int by name
        Without what the core has no part in.

    Raises
    ------
    CannotCount
        If something is missing here, or nothing was counted.
    """
    check_machine()
    with tempfile.TemporaryDirectory() as folder:
        try:
            stub = compile_c("callgrind.c", Path(folder, "marks.so"), "-shared", "-fPIC")
        except RuntimeError as error:
            raise CannotCount(f"valgrind's headers or a C compiler are missing: {error}") from None
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no",
            "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={folder}/counts",
            sys.executable, "-P", HERE / "kernels.py", stub,
        ]  # fmt: skip
        done = subprocess.run(
            command, env=environment(package), cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            raise CannotCount(f"the kernels failed under valgrind:\n{done.stderr}")
        dumps = sorted(Path(folder).glob("counts.*"), key=lambda file: int(file.suffix[1:]))
        counts = dict(read_dump(file.read_text()) for file in dumps)
    if not any(counts.values()):
        raise CannotCount("callgrind saw no instruction of fastrnn's core.")
    return {name: n for name, n in counts.items() if n}


def check_machine():
    """Raise CannotCount where callgrind cannot run, or not this code."""
    if not shutil.which("valgrind"):
        raise CannotCount("there is no valgrind (Debian, Ubuntu: apt-get install valgrind).")
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or " avx2 " not in cpuinfo.read_text():
        raise CannotCount("the AVX2 code is counted, and this processor cannot run it.")


def environment(package=None):
    """The environment variables of a Python that is to import the fastrnn in ``package``."""
    return os.environ | ENVIRONMENT | ({"PYTHONPATH": str(package)} if package else {})


def read_dump(text):
    """(name, instructions) of one of callgrind's dumps.

    Its lines name an object file (``ob=``), a function (``fn=``), and then give its costs: a line
    number and instructions.  Those after ``calls=`` belong to the function called, and come again.
    """
    name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)[1]
    total, in_core, at_door, of_callee = 0, False, False, False
    for line in text.splitlines():
        if line.startswith("ob="):
            in_core = "/fastrnn/_core" in line
        elif line.startswith("fn="):
            at_door = "__pyx" in line.lower()
        elif line.startswith("calls="):
            of_callee = True
        elif line[:1].isdigit():
            if in_core and not at_door and not of_callee:
                total += int(line.split()[1])
            of_callee = False
    return name, total


# -- what the numbers are held against -------------------------------------------------------------


def compiler_of(package=None):
    """The compiler of the core."""
    code = "from fastrnn import _core; b = _core.build_info(); print(b['build'], b['compiler'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(package), capture_output=True, text=True, check=True,
    )  # fmt: skip
    build, compiler = done.stdout.strip().split(" ", 1)
    if build != "release":
        raise CannotCount(f"the core is a {build} build: expected one for release.")
    return f"{compiler}, {platform.machine()}"


def recorded(compiler):
    """The numbers to compare with; built and counted anew if they are another compiler's."""
    record = json.loads(RECORD.read_text())
    if record["compiler"] == compiler:
        return record["instructions"]
    commit = recording_commit()
    print(
        f"The numbers in {RECORD.name} are those of compiler {record['compiler']}; here it is "
        f"{compiler}.\nTheir sources, commit {commit[:10]}, are built with it and counted.",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, check=True
        )
        if (built := compiler_of(folder)) != compiler:
            raise CannotCount(f"they were built with {built}: name the core's compiler in CC.")
        return count(folder)


def recording_commit():
    """The commit that wrote the numbers down last: its sources are those that were counted."""
    is_shallow = git("rev-parse", "--is-shallow-repository")
    commit = git("log", "-1", "--format=%H", "--", str(RECORD))
    if is_shallow != "false" or not commit:
        raise CannotCount(
            f"the numbers in {RECORD.name} are another compiler's, and there is no history of git "
            "to build their sources from. Count in a full clone, or record them anew: "
            "make guard-record."
        )
    return commit


def git(*arguments):
    """What git says here, or nothing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return "" if done.returncode else done.stdout.strip()


def recorded_names():
    """The kernels in the committed numbers."""
    return list(json.loads(RECORD.read_text())["instructions"])


def compare(before, now, bound=BOUND):
    """Hold numbers against earlier ones.

    Returns
    -------
    lines : list of str
        One for each kernel: its name, before, now, the change in percent, and what is wrong.
    failed : bool
        Whether one changed beyond ``bound`` in either direction, is new, or is gone.
    """
    width = max(map(len, [*before, *now]))
    lines, failed = [f"{'instructions':{width}} {'before':>12} {'now':>12}"], False
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            change, verdict = "", "  new" if old is None else "  gone"
        else:
            change = f"{new / old - 1:+.2%}"
            within = abs(new - old) <= bound * old
            verdict = "" if within else "  slower" if new > old else "  faster"
        failed |= bool(verdict)
        before_now = "".join(f" {'-' if n is None else format(n, ','):>12}" for n in (old, new))
        lines.append(f"{name:{width}}{before_now} {change:>9}{verdict}")
    return lines, failed


# -- the command -----------------------------------------------------------------------------------


def check(package=None):
    """Compare, print, and return the exit status."""
    before, now = recorded(compiler_of(package)), count(package)
    lines, failed = compare(before, now)
    print(*lines, sep="\n")
    if failed:
        print(
            f"\nMore than {BOUND:.0%} changed. If that is meant, record it, and say why in the "
            "commit: make guard-record"
        )
    return int(failed)


def record(package=None):
    """Write the numbers down."""
    numbers = {"compiler": compiler_of(package), "instructions": count(package)}
    RECORD.write_text(json.dumps(numbers, indent=4) + "\n")
    print(f"{len(numbers['instructions'])} kernels recorded in {RECORD.relative_to(ROOT)}")
    return 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write the numbers down instead")
    try:
        return (record if parser.parse_args().record else check)(ROOT)
    except CannotCount as missing:
        return f"The instructions of the kernels cannot be counted: {missing}"


if __name__ == "__main__":
    sys.exit(main())
