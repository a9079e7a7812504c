"""The peers' virtual environments, made on first use from the pinned requirements beside this."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python_of(environment, folder):
    """Return the Python of an environment in `folder`, making it where it is missing.

    Parameters
    ----------
    environment : str
        What ``requirements-….txt`` ends in.
    folder : path
        Holds one virtual environment under each name. One that was made from the same
        requirements is used as it is.

    Raises
    ------
    subprocess.CalledProcessError
        If the requirements cannot be installed.
    """
    home = Path(folder, environment)
    python = home / "bin" / "python"
    requirements = HERE / f"requirements-{environment}.txt"
    made_from = home / "made-from.txt"
    if not (made_from.exists() and made_from.read_text() == requirements.read_text()):
        print(f"Making the environment of {environment} in {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        made_from.write_text(requirements.read_text())
    return str(python)
