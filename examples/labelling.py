"""Many to many, aligned: a label for each word of a sentence.

The labels are parts of speech in a small made-up English in which most words can be two things:
"the fish can swim" and "they fish the can". A network that looks at one word at a time cannot know;
one that reads forwards knows what came before, one that reads both ways also what comes after.

    python examples/labelling.py [--quick]
"""

import sys

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.layers import LSTM, Bidirectional, Dense, Embedding
from fastrnn.optimizers import Adam
from fastrnn.utils import pad_sequences, set_random_seed

QUICK = "--quick" in sys.argv
TAGS = ["(padding)", "determiner", "noun", "verb", "auxiliary", "pronoun", "adjective"]
WORDS = {
    "determiner": "the a this every".split(),
    "noun": "fish can light plant watch train cook man walk water help plan dry cold".split(),
    "verb": "fish can light plant watch train cook man walk water help plan dry cool".split(),
    "auxiliary": "can will might should".split(),
    "pronoun": "they we you".split(),
    "adjective": "light cold dry cool plain".split(),
}
PHRASES = {  # how a sentence can be made: a phrase is replaced by one of its expansions
    "sentence": ["subject predicate", "subject predicate", "subject predicate object"],
    "subject": ["pronoun", "determiner noun", "determiner adjective noun"],
    "predicate": ["verb", "auxiliary verb", "auxiliary verb object", "verb object"],
    "object": ["determiner noun", "determiner adjective noun", "noun", "pronoun"],
}


def expand(phrase, rng):
    """Words with their tags for a phrase."""
    if phrase in WORDS:
        return [(str(rng.choice(WORDS[phrase])), phrase)]
    parts = str(rng.choice(PHRASES[phrase])).split()
    return [pair for part in parts for pair in expand(part, rng)]


def main():
    set_random_seed(2)
    rng = np.random.default_rng(2)
    sentences = [expand("sentence", rng) for _ in range(3000 if QUICK else 8000)]
    index = {w: i for i, w in enumerate(sorted({w for s in sentences for w, _ in s}), 1)}
    x = pad_sequences([[index[w] for w, _ in s] for s in sentences], padding="post")
    y = pad_sequences([[TAGS.index(tag) for _, tag in s] for s in sentences], padding="post")
    test = len(x) // 5

    def trained(*layers):
        model = Sequential([
            Input((None,)), Embedding(len(index) + 1, 16, mask_zero=True), *layers,
            Dense(len(TAGS), activation="softmax"),
        ])  # fmt: skip
        model.compile(Adam(5e-3), "sparse_categorical_crossentropy", metrics=["acc"])
        model.fit(x[test:], y[test:], batch_size=32, epochs=8, verbose=0)
        tags = model.predict(x[:test], verbose=0).argmax(axis=-1)
        return model, (tags == y[:test])[x[:test] != 0].mean()

    _, alone = trained()
    print(f"each word by itself    {alone:.3f} of the words right")
    _, forwards = trained(LSTM(24, return_sequences=True))
    print(f"reading forwards       {forwards:.3f}")
    model, both = trained(Bidirectional(LSTM(12, return_sequences=True)))
    print(f"reading both ways      {both:.3f}\n")

    for text in ("the fish can fish", "they can fish the can", "the cold water can help a plant"):
        ids = np.array([[index[word] for word in text.split()]])
        tags = model.predict(ids, verbose=0)[0].argmax(axis=-1)
        print(" ".join(f"{w}/{TAGS[tag]}" for w, tag in zip(text.split(), tags, strict=True)))


if __name__ == "__main__":
    main()
