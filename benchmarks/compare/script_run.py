"""Run the README's script once, as it stands, and print its figures as one line of JSON.

usage: script_run.py SCRIPT SEED
"""

import contextlib
import json
import runpy
import sys
import time

import fastrnn


def peak_memory():
    """Return this process's greatest resident size so far, in bytes.

    getrusage would do, but for a child it starts at the size of the process that made it.
    """
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def main():
    """Run it."""
    script, seed = sys.argv[1], int(sys.argv[2])
    fastrnn.utils.set_random_seed(seed)
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        names = runpy.run_path(script, run_name="__main__")
    figures = {
        "seed": seed,
        "best_val_acc": max(names["history"].history["val_acc"]),
        "test_acc": names["accuracy"],
        "seconds": time.perf_counter() - start,
        "peak_memory": peak_memory(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
