"""What this machine can do at most, measured by ``peak.c``.

python -m benchmarks.peak
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from .native import compile_c


class Peak(NamedTuple):
    """One line of what is measured.

    Attributes
    ----------
    what : {"fma", "read", "triad"}
    where : str
        Of FMA an instruction set, else a level of memory.
    threads : int
    rate : float
        GFLOP/s or GB/s.
    unit : str
    """

    what: str
    where: str
    threads: int
    rate: float
    unit: str


def measure():
    """All peaks of this machine, a list of `Peak`; takes some ten seconds."""
    with tempfile.TemporaryDirectory() as folder:
        program = compile_c("peak.c", Path(folder, "peak"))
        lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return [
        Peak(what, where, int(threads), float(rate), unit)
        for what, where, threads, rate, unit in map(str.split, lines.splitlines())
    ]


def fma_peak(peaks):
    """GFLOP/s of all cores with the widest instructions."""
    return max(peak.rate for peak in peaks if peak.what == "fma")


def show(peaks):
    """Print what was measured."""
    for peak in peaks:
        threads = f"{peak.threads} thread{'s' * (peak.threads > 1)}"
        print(f"{peak.what:8}{peak.where:10}{threads:12}{peak.rate:8.1f} {peak.unit}")


if __name__ == "__main__":
    show(measure())
