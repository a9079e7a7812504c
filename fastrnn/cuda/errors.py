"""What the driver reports, in words that say what to do."""

from __future__ import annotations

import contextlib
import weakref

__all__ = ["NEEDS_LESS", "OUT_OF_MEMORY", "failure", "reported", "status_of"]

OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY, of cuda.h
NEEDS_LESS = (
    "Fewer rows at a time (batch_size), or recurrent layers with recompute, need less."
)
# After these a process can do nothing more with the GPU: it was taken away, its memory failed, or a
# kernel did.
LOST = {
    f"CUDA_ERROR_{name}"
    for name in (
        "ECC_UNCORRECTABLE", "NVLINK_UNCORRECTABLE", "CONTAINED",
        "ILLEGAL_ADDRESS", "LAUNCH_TIMEOUT", "CONTEXT_IS_DESTROYED", "ASSERT",
        "HARDWARE_STACK_ERROR", "ILLEGAL_INSTRUCTION", "MISALIGNED_ADDRESS",
        "INVALID_ADDRESS_SPACE", "INVALID_PC", "LAUNCH_FAILED", "EXTERNAL_DEVICE", "UNKNOWN",
    )
}  # fmt: skip


def failure(what, status):
    """The error to raise where the driver, asked for ``what``, answers with a status."""
    said = f"the NVIDIA driver says {status.name}"
    if status == OUT_OF_MEMORY:
        return MemoryError(f"fastrnn.cuda: the GPU has no memory left for {what}. {NEEDS_LESS}")
    if status.name == "CUDA_ERROR_DEVICE_UNAVAILABLE":
        return RuntimeError(
            f"fastrnn.cuda: {what}: {said}: another process has the GPU for itself. Wait until it "
            "ends, or choose another GPU (CUDA_VISIBLE_DEVICES)."
        )
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
        module = found and getattr(found[1], "__module__", None)  # None: a method of C
        if module and module.startswith("numba."):
            finalizer.detach()


@contextlib.contextmanager
def reported(what):
    """Inside, what Numba raises for the driver becomes `failure`."""
    try:
        yield
    except Exception as error:
        status = status_of(error)
        if status is None:
            raise
        raise failure(what, status) from error


def status_of(error):
    """The driver's status that an exception tells of; None if it is about something else.

    Numba asks the driver itself, or by way of cuda.core, whose exceptions begin with its name.
    """
    from numba.cuda.cudadrv.driver import CudaAPIError

    if isinstance(error, CudaAPIError):
        return error.code
    name = str(error).partition(":")[0]
    if not name.startswith("CUDA_ERROR_"):
        return None
    from cuda.bindings import driver

    return driver.CUresult.__members__.get(name)
