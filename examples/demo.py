"""What ``make demo`` runs: train, evaluate and use a sentiment classifier with the command line.

It trains on IMDB where that can be had, and otherwise on the built-in reviews. The model and the
curves of its training are left in the folder ``demo``.
"""

import shlex
import sys
from pathlib import Path

from fastrnn import cli
from fastrnn.datasets import imdb

# In each pair the same words, or nearly so, say the opposite: what counts is their order.
PAIRS = (
    "I expected it to be dull, yet it was brilliant.",
    "I expected it to be brilliant, yet it was dull.",
    "The plot was really very good.",
    "The plot was anything but good.",
    "There is something clumsy about the acting.",
    "There is nothing clumsy about the acting.",
)
TEXTS = {
    "imdb": (
        "A brilliant film, funny and moving from the first scene to the last.",
        "Dull, predictable and far too long. I want those two hours back.",
        *PAIRS,
    ),
    "reviews": PAIRS,
}
OTHER = {
    "imdb": "reviews     made-up reviews full of such pairs: it gets them right",
    "reviews": "imdb --data PATH     the real thing, once you have imdb.npz",
}


def main():
    """Run the demonstration; returns an exit code."""
    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    model, curves = str(folder / "sentiment.fastrnn"), str(folder / "curves.png")

    fastrnn("info")
    dataset = find_dataset()
    fastrnn("train", dataset, "--seed", "1", "--out", model, "--plot", curves)
    fastrnn("evaluate", model)
    fastrnn("predict", "--model", model, *TEXTS[dataset])
    print(
        f"\nThe curves of the training are in {curves}. What to try next:\n\n"
        f'  .venv/bin/fastrnn predict --model {model} "your own words"\n'
        f"  .venv/bin/fastrnn train {dataset} --units 64 --out {model}\n"
        f"  .venv/bin/fastrnn train {OTHER[dataset]}\n"
        "  .venv/bin/fastrnn --help\n"
        "  examples/imdb_sentiment.py, the same in Python: a Keras script"
    )
    return 0


def find_dataset():
    """The data set to train on: IMDB, if there is a way to it."""
    try:
        imdb.get_word_index()
        imdb.load_data()
    except OSError as error:
        print(
            "\nIMDB's reviews cannot be had here, so this trains on the built-in reviews instead: "
            "made-up sentences in which the order of the words decides.\n"
            f"({str(error).partition(' (')[0]}.)"
        )
        return "reviews"
    return "imdb"


def fastrnn(*arguments):
    """Show a command and carry it out in this process; end where it fails."""
    print(f"\n$ fastrnn {shlex.join(arguments)}")
    code = cli.main(arguments)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
