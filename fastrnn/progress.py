"""The progress bar of ``fit``, ``evaluate`` and ``predict``.

On a terminal or in a notebook one line, redrawn ten times a second at most; elsewhere, as in a log
file, a line at the end, and one every half minute of a long epoch.
"""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

WIDTH = 20


class Progress:
    """The line of one pass over the data.

    Parameters
    ----------
    steps : int or None
        How many steps there will be; None if nobody knows: there is no bar then until the end.
    verbose : {0, 1, 2, "auto"}
        0: nothing; 1 and "auto": a bar; 2: a line at the end.

    Examples
    --------
    >>> progress = Progress(steps=3, verbose=2)
    >>> progress.update(1, lambda: {"loss": 0.5})
    >>> progress.finish(3, {"loss": 0.25})  # doctest: +ELLIPSIS
    3/3 - 0s .../step - loss: 0.2500
    """

    def __init__(self, steps, verbose="auto"):
        self.steps = steps
        self.verbose = level(verbose)
        self.began = time.perf_counter()
        self.done = 0
        self.bar = None
        self.redraws = self.verbose == 1 and _can_redraw()
        self.interval = 0.1 if self.redraws else 30.0
        # What is never due costs one comparison a step.
        self.due = self.began + self.interval if self.verbose == 1 else float("inf")

    def update(self, done, logs):
        """After a step, or several, of which there may be more than of all: ``logs()`` gives the
        figures, and is called only if they are shown."""
        self.done = done = done if self.steps is None else min(done, self.steps)
        now = time.perf_counter()
        if now < self.due:
            return
        self.due = now + self.interval
        text = self._text(done, self._left(done, now - self.began), logs())
        if not self.redraws:
            print(self._bar(done) + text, flush=True)
            return
        if self.bar is None:
            self.bar = _new_bar(self.steps)
        self.bar.n = done
        self.bar.set_description_str(text)  # draws, as much as fits on a line

    def finish(self, done, logs):
        """After the last step: the figures stay, on a line of their own."""
        if not self.verbose:
            return
        self.steps = max(done, self.steps or 0)
        if self.bar is not None:
            self.bar.leave = False
            self.close()
        text = self._text(done, _clock(time.perf_counter() - self.began), logs)
        print(self._bar(done) + text if self.verbose == 1 else f"{done}/{self.steps} -{text}")

    def close(self):
        """End the line, where one is open."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _left(self, done, passed):
        """How much time is left; how much has passed, where nobody knows that."""
        if self.steps is None:
            return _clock(passed)
        return f"ETA {_clock(passed / done * (self.steps - done))}"

    def _text(self, done, clock, logs):
        each = (time.perf_counter() - self.began) / max(1, done)
        figures = "".join(f" - {name}: {_figure(value)}" for name, value in logs.items())
        return f" {clock} {_duration(each)}/step{figures}"

    def _bar(self, done):
        if self.steps is None:
            return f"{done}/?"
        full = WIDTH * done // self.steps
        return f"{done}/{self.steps} [{'=' * full}{'.' * (WIDTH - full)}]"


def level(verbose):
    """0, 1 or 2 for what was given as ``verbose``; ValueError for anything else."""
    if verbose not in (0, 1, 2, "auto"):
        raise ValueError(f"verbose: expected 0, 1, 2 or 'auto'; got {verbose!r}.")
    return 1 if verbose == "auto" else int(verbose)


def _can_redraw():
    isatty = getattr(sys.stdout, "isatty", None)
    return bool(isatty and isatty()) or "ipykernel" in sys.modules


def _new_bar(steps):
    import shutil

    import tqdm

    class Bar(tqdm.tqdm):
        monitor_interval = 0  # it is drawn by the steps: no thread to watch over it

    counts = f"{{n}}/{{total}} [{{bar:{WIDTH}}}]" if steps else "{n}/?"
    size = shutil.get_terminal_size()
    return Bar(
        total=steps, file=sys.stdout, ncols=size.columns, nrows=size.lines, ascii=".=",
        bar_format=counts + "{desc}",
    )


def _clock(seconds):
    """``7s``, ``1:05`` or ``2:03:04``."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _duration(seconds):
    """``3s``, ``12ms`` or ``850us``."""
    if seconds >= 1:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def _figure(value):
    """Four digits; of several figures those of their mean, as there is room for one."""
    value = sum(value) / len(value) if hasattr(value, "__len__") else value
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"
