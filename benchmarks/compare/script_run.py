"""Run the README's script once, moved to a library, and print its figures as one line of JSON.

usage: script_run.py SCRIPT SEED LIBRARY EPOCHS
"""

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path

from protocol import peak_memory


def give_data(imdb):
    """Have a data set's module take IMDB from ``FASTRNN_DATA_HOME`` where it is.

    Keras takes a file of one hash and no other, and else downloads that.
    """
    file = Path(os.environ.get("FASTRNN_DATA_HOME", ""), "imdb.npz")
    if file.is_file():
        imdb.load_data.__globals__["get_file"] = lambda *_, **__: str(file)


def main():
    """Run it."""
    script, seed, library, epochs = sys.argv[1:]
    importlib.import_module(library).utils.set_random_seed(int(seed))
    code = Path(script).read_text().replace("fastrnn", library)
    code = code.replace("epochs=10", f"epochs={epochs}")
    names = {"__name__": "__main__"}
    if library != "fastrnn":
        give_data(importlib.import_module(f"{library}.datasets.imdb"))
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        exec(compile(code, script, "exec"), names)
    figures = {
        "best_val_acc": max(names["history"].history["val_acc"]),
        "test_acc": names["accuracy"],
        "seconds": time.perf_counter() - start,
        "peak_memory": peak_memory(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
