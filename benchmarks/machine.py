"""Tell asv about this machine, under a name that says what it is and not whose.

    python -m benchmarks.machine NAME

What asv would ask for is taken from ``history/NAME/machine.json`` where results of such a machine
are kept, and else from the system.  (``asv machine`` would leave out what equals its own guess.)
"""

import json
import os
import platform
import re
import sys
from pathlib import Path

HISTORY = Path(__file__).resolve().parent / "history"


def facts(name):
    """What asv keeps of the machine ``name``, a dict."""
    file = HISTORY / name / "machine.json"
    if file.exists():
        known = json.loads(file.read_text())
        known.pop("version")
        return known
    return {
        "machine": name,
        "os": platform.system(),
        "arch": platform.machine(),
        "cpu": _line_of("/proc/cpuinfo", r"model name\s*: (.*)"),
        "num_cpu": str(os.cpu_count()),
        "ram": f"{int(_line_of('/proc/meminfo', r'MemTotal: *([0-9]+) kB') or 0) / 2**20:.0f} GiB",
    }


def _line_of(file, pattern):
    """What a pattern finds in a file of the system, or nothing."""
    try:
        found = re.search(pattern, Path(file).read_text())
    except OSError:
        return ""
    return found[1].strip() if found else ""


def main():
    from asv.machine import MachineCollection  # asv imports this module where it is not itself

    MachineCollection.save(sys.argv[1], facts(sys.argv[1]))


if __name__ == "__main__":
    main()
