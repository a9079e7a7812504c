"""Files that appear all at once."""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(path):
    """A binary file to write, which takes the place of ``path`` once it is safely on disk.

    Whatever breaks off the writing, an error, Ctrl-C, the end of the process or of the power, what
    stood there before still stands.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with new_file(folder + "/a") as file:
    ...         _ = file.write(b"whole")
    ...     os.listdir(folder)
    ['a']
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; name a file.")
    temporary = f"{path}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        file = open(temporary, "xb")
    except OSError as error:  # nobody asked for a file of that name
        raise type(error)(error.errno, error.strerror, path) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
