"""The figures of a comparison as Markdown.

Each function takes what JSON holds, so that a table can be made again of figures that were kept.
"""

import grid
import numpy as np
import speed
from peers import fastest

MB = 1e6


def markdown(figures):
    """Return all that was measured, a heading and a text for each kind."""
    parts = [", ".join(f"{key}: {value}" for key, value in figures["machine"].items())]
    parts += [section(name, figures) for name in SECTIONS if name in figures]
    return "\n\n".join(parts) + "\n"


def section(name, figures):
    """Return one kind of figures under its heading."""
    title, text = SECTIONS[name]
    return f"## {title}\n\n{text(figures[name])}"


def table(head, rows):
    """Return a Markdown table; everything but the first column is aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(figures, digits=3):
    """Return a median with the least and the greatest."""
    middle, least, most = (number(figures[key], digits) for key in ("median", "min", "max"))
    return f"{middle} ({least}–{most})"


def number(value, digits=3):
    """Return a number with so many digits that mean something, and no exponent."""
    return np.format_float_positional(
        value, precision=digits, unique=False, fractional=False, trim="-"
    )


def versions(peers):
    """Return names with what they ran on."""
    return "; ".join(
        f"{name}: {', '.join(f'{library} {version}' for library, version in own.items())}"
        for name, own in peers.items()
    )


# -- time ------------------------------------------------------------------------------------------


def speed_section(figures):
    """Return the model's speed, a table for each layer."""
    parts = []
    for layer, result in figures["layers"].items():
        parts.append(
            f"{layer}. Reviews: {result['reviews']}. {figures['rounds']} rounds of "
            f"{figures['batches']} batches; medians (least–greatest).\n\n{speed_table(result)}"
        )
    return "\n\n".join(parts)


def speed_table(result):
    """Return one layer's speed: a row for each peer, the ratio to fastrnn beside each time."""
    tasks = [task for task in speed.TASKS if task in result["tasks"]]
    head = ["who"]
    for task in tasks:
        head += [f"{speed.TASKS[task]}, ms", "× fastrnn"]
    rows = []
    for name in result["peers"]:
        row = [name]
        for task in tasks:
            own = result["tasks"][task].get(name)
            row += [spread(own["ms"]), spread(own["ratio"])] if own else ["–", "–"]
        rows.append(row)
    named = {name: peer["versions"] for name, peer in result["peers"].items()}
    return "\n\n".join([table(head, rows), *several_ways(result, tasks), f"{versions(named)}."])


def several_ways(result, tasks):
    """Yield, where peers know several ways, what was tried before the fastest was chosen."""
    lines = []
    for name, peer in result["peers"].items():
        for task in tasks:
            ways = peer["ways"].get(task, {})
            if len(ways) > 1 and task != "epoch":
                tried = "; ".join(f"{way} {number(ms)}" for way, ms in ways.items())
                lines.append(f"- {name}, {speed.TASKS[task]}: {tried}")
    if lines:
        head = "Of several ways the fastest was measured. What each took when they were tried, ms:"
        yield "\n".join([head, "", *lines])


def grid_section(figures):
    """Return the grid in words, then a table for each layer and task."""
    rows = figures["rows"]
    parts = [grid_summary(rows)]
    for layer in dict.fromkeys(row["layer"] for row in rows):
        for task, title in grid.TASKS.items():
            own = [row for row in rows if (row["layer"], row["task"]) == (layer, task)]
            if own:
                parts.append(f"{layer}, {title}\n\n{grid_table(own)}")
    parts.append(versions(figures["versions"]) + ".")
    return "\n\n".join(parts)


def grid_table(rows):
    """Return rows of the grid: fastrnn's time, and for each peer how many times as long it takes.

    The fastest peer's ratio is bold; one that is left out has a cross.
    """
    names = list(dict.fromkeys(n for row in rows for n in (*row["peers"], *row["left_out"])))
    names.remove("fastrnn")
    lines = []
    for row in rows:
        peers, best = row["peers"], fastest(row["peers"])
        own = spread(peers["fastrnn"]["ms"]), number(grid.gflops(row))
        line = [row["units"], row["batch"], *own]
        for name in names:
            if name in peers:
                text = spread(peers[name]["ratio"])
                line.append(f"**{text}**" if name == best else text)
            else:
                line.append("✗" if name in row["left_out"] else "–")
        lines.append(line)
    return table(["H", "B", "fastrnn, ms", "GFLOP/s", *(f"× {name}" for name in names)], lines)


def grid_summary(rows):
    """Return the grid in a few sentences."""
    summed = grid.summarise(rows)
    sentences = [f"fastrnn is first in {summed['first']} of {summed['rows']} rows."]
    if "least" in summed:
        where = summed["least_row"]
        sentences.append(
            f"The fastest peer takes {number(summed['mean'])} times as long (geometric mean), "
            f"at least {number(summed['least'])} times: {summed['least_peer']}, {where['layer']}, "
            f"H {where['units']}, B {where['batch']}, {grid.TASKS[where['task']]}."
        )
    for task, achieved in summed["gflops"].items():
        sentences.append(f"From H 128 and B 32 on, {grid.TASKS[task]}: {spread(achieved)} GFLOP/s.")
    left_out = {
        f"{name} in {row['layer']}, H {row['units']}, B {row['batch']} ({reason.splitlines()[0]})"
        for row in rows
        for name, reason in row["left_out"].items()
    }
    if left_out:
        sentences.append(f"Left out: {'; '.join(sorted(left_out))}.")
    return " ".join(sentences)


# -- all else --------------------------------------------------------------------------------------


def accuracy_section(figures):
    """Return the accuracies of the script by seed."""
    rows = [
        [
            run["seed"],
            f"{run['best_val_acc']:.4f}",
            f"{run['test_acc']:.4f}",
            f"{run['seconds']:.1f}",
        ]
        for run in figures["runs"]
    ]
    return table(["seed", "best validation accuracy", "test accuracy", "seconds"], rows)


def memory_section(figures):
    """Return peak memories: the script as it stands, and training on data that is ready."""
    bare = figures["numpy"]

    def cells(own):
        return [number(own / MB), number((own - bare) / MB)] if own else ["–", "–"]

    rows = [
        [name, *cells(own.get("script")), *cells(own.get("training")), own.get("way", "–")]
        for name, own in figures["peers"].items()
    ]
    head = ["who", "the script, MB", "over NumPy", "training alone, MB", "over NumPy", "way"]
    return (
        "Peak resident memory, and what it is over an interpreter with NumPy "
        f"({number(bare / MB)} MB). The script loads IMDB, trains an epoch of it, validates and "
        "tests; training alone starts from padded arrays and trains one epoch, in the way that "
        f"takes the least memory.\n\n{table(head, rows)}"
    )


def import_section(figures):
    """Return import times."""
    rows = [
        [
            name,
            spread({k: 1e3 * v for k, v in own["package"].items()}),
            spread({k: 1e3 * v for k, v in own["script"].items()}),
        ]
        for name, own in figures.items()
    ]
    head = ["who", "the package, ms", "all that the script imports, ms"]
    return f"Over `import numpy`, in fresh processes.\n\n{table(head, rows)}"


def size_section(figures):
    """Return installed sizes."""
    rows = [[name, number(own["total"] / MB)] for name, own in figures.items()]
    return f"With dependencies, without NumPy.\n\n{table(['who', 'installed, MB'], rows)}"


# Name: (title, text)
SECTIONS = {
    "speed": ("The model", speed_section),
    "grid": ("The layer grid", grid_section),
    "accuracy": ("Accuracy of the script", accuracy_section),
    "memory": ("Memory", memory_section),
    "import": ("Import time", import_section),
    "size": ("Installed size", size_section),
}
