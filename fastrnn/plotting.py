"""Curves of training runs and gradients, drawn with matplotlib where that is installed."""

from __future__ import annotations

import os

__all__ = ["check_plot_file", "plot_gradient_flow", "plot_history"]


def check_plot_file(path):
    """Raise now what the functions that draw would raise after a long training.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If it writes no such kind of file; the kind goes by the file's ending.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError(
            "drawing curves needs matplotlib: pip install matplotlib (or fastrnn[plot])"
        ) from error
    kinds = sorted(FigureCanvasAgg.get_supported_filetypes())
    if os.path.splitext(path)[1].lstrip(".").lower() not in kinds:
        raise ValueError(f"{path}: expected a file name that ends in one of {', '.join(kinds)}.")


def plot_history(history, path):
    """Draw the loss and the metrics of a run, one panel each, over its epochs.

    Parameters
    ----------
    history : dict from str to list of float
        ``History.history``: ``val_loss`` is drawn beside ``loss``, and so on.
    path : str or path
        Where to write the picture; its ending says which kind.

    Raises
    ------
    ImportError, ValueError
        As `check_plot_file`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_history({"loss": [0.7, 0.5], "val_loss": [0.7, 0.6]}, folder + "/curves.png")
    """
    check_plot_file(path)
    # Not pyplot: it would choose a backend and keep the figure for the whole process.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = [name for name in history if not name.startswith("val_")]
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for name, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        for series, label in ((name, "training"), (f"val_{name}", "validation")):
            values = history.get(series, [])
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)


def plot_gradient_flow(norms, target, label="step t"):
    """Draw norms of gradients over the steps, on a logarithmic scale.

    Parameters
    ----------
    norms : dict from str to array (T,)
        A line for each, by its name; zeros leave gaps.
    target : str, path or matplotlib axes
        Where to write the picture, its ending says which kind; or the axes to draw in.
    label : str, default "step t"
        Of the axis of steps.

    Raises
    ------
    ImportError, ValueError
        As `check_plot_file`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_gradient_flow({"lstm": [1e-6, 1e-3, 1.0]}, folder + "/flow.png")
    """
    axes, figure = target, None
    if not hasattr(target, "plot"):
        check_plot_file(target)
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
    for name, values in norms.items():
        steps = range(1, len(values) + 1)
        axes.plot(steps, [v if v > 0 else float("nan") for v in values], label=name)
    axes.set(xlabel=label, ylabel="norm of the gradient of the loss by $h_t$", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    if figure is not None:
        figure.savefig(target)
