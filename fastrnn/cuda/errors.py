"""What the driver reports, in words that say what to do."""

from __future__ import annotations

import contextlib
import weakref

__all__ = ["OUT_OF_MEMORY", "failure", "reported"]

OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY, of cuda.h
# After these a process can do nothing more with the GPU: it was taken away, its memory failed, or a
# kernel did.
LOST = {
    f"CUDA_ERROR_{name}"
    for name in (
        "DEVICE_UNAVAILABLE", "ECC_UNCORRECTABLE", "NVLINK_UNCORRECTABLE", "CONTAINED",
        "ILLEGAL_ADDRESS", "LAUNCH_TIMEOUT", "CONTEXT_IS_DESTROYED", "ASSERT",
        "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION", "MISALIGNED_ADDRESS",
        "INVALID_ADDRESS_SPACE", "INVALID_PC", "LAUNCH_FAILED", "EXTERNAL_DEVICE", "UNKNOWN",
    )
}  # fmt: skip


def failure(what, status):
    """The error to raise where the driver, asked for ``what``, answers with a status."""
    said = f"the NVIDIA driver says {status.name}"
    if status.name not in LOST:
        return RuntimeError(f"fastrnn.cuda: {what}: {said}.")
    _give_nothing_back()
    return RuntimeError(
        f"fastrnn.cuda: the GPU is lost: {said}, when asked for {what}. What lay on it is gone, "
        "and this process cannot use it again. Start a new one, and go on from what was saved "
        "(callbacks.BackupAndRestore)."
    )


def _give_nothing_back():
    """Let Numba not return memory and kernels to a driver that refuses all: it would raise for each
    of them, hundreds of times, as Python ends."""
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        found = finalizer.peek()
        if found is not None and found[1].__module__.startswith("numba."):
            finalizer.detach()


@contextlib.contextmanager
def reported(what):
    """Inside, what Numba raises for the driver becomes `failure`."""
    from numba.cuda.cudadrv.driver import CudaAPIError

    try:
        yield
    except CudaAPIError as error:
        raise failure(what, error.code) from error
