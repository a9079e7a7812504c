"""The comparison as a picture: how many times as long as fastrnn each peer takes."""

import grid
import speed

# In the order of the legend. Colours that remain apart for those who see fewer (Okabe, Ito).
MARKS = {
    "Keras (TensorFlow)": ("#E69F00", "s"),
    "Keras (TensorFlow, XLA)": ("#E69F00", "D"),
    "Keras (JAX)": ("#009E73", "s"),
    "jax.lax.scan": ("#009E73", "o"),
    "PyTorch": ("#D55E00", "o"),
    "ONNX Runtime": ("#0072B2", "o"),
}


def panels(figures):
    """Return what there is to draw.

    Returns
    -------
    dict
        By (row, column) of the picture, which are a task and a layer: a list of lines, from the
        top, each a label and, by peer, median, least and greatest ratio.
    """
    drawn = {}
    for layer, result in figures.get("speed", {}).get("layers", {}).items():
        drawn["The model", layer] = [
            (speed.TASKS[task], ratios(peers)) for task, peers in result["tasks"].items()
        ]
    for row in figures.get("grid", {}).get("rows", []):
        lines = drawn.setdefault((f"Layer alone:\n{grid.TASKS[row['task']]}", row["layer"]), [])
        lines.append((f"H {row['units']}, B {row['batch']}", ratios(row["peers"])))
    return drawn


def ratios(peers):
    """Return the ratios of all but fastrnn."""
    return {name: own["ratio"] for name, own in peers.items() if name != "fastrnn"}


def draw(figures, path):
    """Draw what was measured into a file, whose ending says of which kind.

    Raises
    ------
    ImportError, ValueError
        As `fastrnn.plotting.check_plot_file`; ValueError, too, where there is nothing to draw.
    """
    from matplotlib.figure import Figure

    drawn = panels(figures)
    if not drawn:
        raise ValueError(f"{path}: there is nothing to draw without --speed or --grid")
    rows, columns = (list(dict.fromkeys(axis)) for axis in zip(*drawn, strict=True))
    heights = [max(4, *(len(lines) for (row, _), lines in drawn.items() if row == r)) for r in rows]
    figure = Figure(
        figsize=(1.5 + 3.6 * len(columns), 1.6 + 0.24 * sum(heights) + 0.6 * len(rows)),
        layout="constrained",
    )
    grid_of_axes = figure.subplots(
        len(rows), len(columns), squeeze=False, sharex=True, sharey="row", height_ratios=heights
    )
    for row, line_of_axes in zip(rows, grid_of_axes, strict=True):
        for column, axes in zip(columns, line_of_axes, strict=True):
            draw_panel(axes, drawn.get((row, column), []))
        line_of_axes[0].set_ylabel(row)
    for column, axes in zip(columns, grid_of_axes[0], strict=True):
        axes.set_title(column)
    for axes in grid_of_axes[-1]:
        axes.set_xlabel("how many times as long as fastrnn it takes")
    marks = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        marks |= dict(zip(names, handles, strict=True))
    figure.legend(marks.values(), marks.keys(), loc="outside lower center", ncols=2 * len(columns))
    figure.savefig(path, dpi=150)


def draw_panel(axes, lines):
    """Draw a mark for each peer on each line, with what it varied by, and fastrnn at 1.

    A bar goes from there to the fastest peer: grey where fastrnn is ahead, red where it is not.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    leads = [min((own["median"] for own in peers.values()), default=1) for _, peers in lines]
    colors = ["0.85" if lead > 1 else "#F2A0A0" for lead in leads]
    axes.barh(range(len(lines)), [lead - 1 for lead in leads], left=1, height=0.7, color=colors)
    for name, (color, marker) in MARKS.items():
        points = [(own[name], y) for y, (_, own) in enumerate(lines) if name in own]
        if points:
            own, heights = zip(*points, strict=True)
            middle = [ratio["median"] for ratio in own]
            left = [ratio["median"] - ratio["min"] for ratio in own]
            right = [ratio["max"] - ratio["median"] for ratio in own]
            axes.errorbar(
                middle,
                heights,
                xerr=(left, right),
                fmt=marker,
                color=color,
                label=name,
                markersize=4.5,
                elinewidth=1,
            )
    axes.set_yticks(range(len(lines)), [label for label, _ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
