"""Ctrl-C in the middle of training."""

from __future__ import annotations

import signal
import threading

__all__ = ["Shield"]


class Shield:
    """Holds back Ctrl-C while weights are changed.

    Python raises KeyboardInterrupt between any two instructions of the main thread; while `update`
    runs it waits.  A handler of one's own for the signal is left alone.
    """

    def __enter__(self):
        self._busy = self._pending = False
        self._before = None
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number, frame):
        if not self._busy:
            raise KeyboardInterrupt
        self._pending = True

    def update(self, step):
        """Call ``step()``, and only then let an interrupt through."""
        self._busy = True
        try:
            step()
        finally:
            self._busy = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
