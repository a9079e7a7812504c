"""One to many: text, character by character.

A GRU reads lines and learns to tell the next character; then it is given a beginning and writes on,
each character drawn from its own forecast. The temperature says how bold it is: at 0.2 it keeps to
what is likeliest, at 1 it writes as surprisingly as what it read. `model.stream` feeds it one
character at a time, so that a line costs its length, not its length squared. The text is that of
the docstrings in Python's standard library.

    python examples/text_generation.py [--quick]
"""

import importlib
import inspect
import re
import sys
import warnings

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.layers import GRU, Dense, Dropout, Embedding
from fastrnn.optimizers import Adam
from fastrnn.utils import set_random_seed

QUICK = "--quick" in sys.argv
MODULES = (
    "argparse codecs collections contextlib datetime decimal difflib dis email.message fractions "
    "functools heapq inspect io itertools json locale logging math os pathlib platform random re "
    "shutil signal smtplib socket socketserver statistics string subprocess sys tarfile tempfile "
    "textwrap threading traceback unittest urllib.request uuid xml.etree.ElementTree zipfile"
).split()
STEPS = 100


def read():
    """Sentences about Python, as one string of small letters and a few signs."""
    texts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that some Python is about to drop
        for name in MODULES:
            module = importlib.import_module(name)
            members = [m for _, m in inspect.getmembers(module) if not inspect.ismodule(m)]
            texts += [inspect.getdoc(m) or "" for m in (module, *members)]
    paragraphs = {" ".join(p.split()): None for text in texts for p in text.split("\n\n")}
    prose = [p.lower() for p in paragraphs if re.fullmatch(r"[A-Z][\w ,.'()-]{30,}\.", p)]
    return "\n".join(prose) + "\n"


def write(model, letters, beginning, length, temperature, rng):
    """The beginning, and what the model makes of it."""
    index = {letter: i for i, letter in enumerate(letters)}
    stream, text = model.stream(), beginning
    for letter in beginning:
        probability = stream(np.array([index[letter]]))[0]
    for _ in range(length):
        weights = np.exp(np.log(probability.astype(float) + 1e-12) / temperature)
        chosen = rng.choice(len(letters), p=weights / weights.sum())
        text += letters[chosen]
        probability = stream(np.array([chosen]))[0]
    return text.replace("\n", " / ")


def main():
    set_random_seed(4)
    text = read()
    letters = sorted(set(text))
    ids = np.array([letters.index(letter) for letter in text])
    rows = (len(ids) - 1) // STEPS
    x, y = (ids[s : s + rows * STEPS].reshape(rows, STEPS) for s in (0, 1))
    held_out = max(1, rows // 20)

    units = 64 if QUICK else 160
    model = Sequential([
        Input((None,)), Embedding(len(letters), 32), GRU(units, return_sequences=True),
        Dropout(0.3), Dense(len(letters), activation="softmax"),
    ])  # fmt: skip
    model.compile(Adam(5e-3, clipnorm=1.0), "sparse_categorical_crossentropy")
    history = model.fit(
        x[:-held_out], y[:-held_out], batch_size=16, epochs=5 if QUICK else 12, verbose=0,
        validation_data=(x[-held_out:], y[-held_out:]),
    ).history

    guess = -np.log(1 / len(letters)) / np.log(2)
    bits = [loss / np.log(2) for loss in history["val_loss"]]
    print(f"{len(text):,} characters of {len(letters)} kinds were read")
    print(f"bits for a character: {guess:.2f} at a guess, {bits[0]:.2f} after an epoch, "
          f"{bits[-1]:.2f} after {len(bits)}")
    rng = np.random.default_rng(0)
    for temperature in (0.2, 0.6, 1.0):
        written = write(model, letters, "return ", 60 if QUICK else 160, temperature, rng)
        print(f"\ntemperature {temperature}: {written}")


if __name__ == "__main__":
    main()
