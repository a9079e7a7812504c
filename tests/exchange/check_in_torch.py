"""Load with PyTorch the weights that fastrnn gave it, and compare.

    python tests/exchange/check_in_torch.py FILE

``FILE`` is an ``.npz`` that holds for each case of ``make_torch_values.py`` ``<case>/x``,
``<case>/y`` and ``<case>/state/<name>``. Prints a line for each case; the exit status is 1 if one
differs.
"""

import sys

import numpy as np
import torch
from make_torch_values import CASES

TOLERANCE = 1e-5


def main(path):
    good = True
    with np.load(path) as file:
        for case, module in CASES.items():
            start = f"{case}/state/"
            module.load_state_dict({
                name.removeprefix(start): torch.from_numpy(file[name])
                for name in file.files if name.startswith(start)
            })
            module.batch_first = True
            with torch.no_grad():
                y, _ = module(torch.from_numpy(file[f"{case}/x"]))
            difference = float(np.abs(y.numpy() - file[f"{case}/y"]).max())
            good &= difference <= TOLERANCE
            print(f"{case}: {difference:.1e} {'ok' if difference <= TOLERANCE else 'DIFFERS'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
