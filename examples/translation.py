"""Many to many, unaligned: dates in words become dates in digits.

"Sunday, the third of May, nineteen ninety-eight" -> "1998-05-03": what comes out has another length
and another order than what goes in. So one network, the encoder, reads the words and hands its last
state to a second one, the decoder, which writes the date sign by sign.

In training the decoder is shown, at every step, the right sign before the one to be told ("teacher
forcing"). In use nobody knows the right one: the same layers, put into a model of their own, are
fed one step at a time with what they wrote last.

    python examples/translation.py [--quick]
"""

import calendar
import datetime
import re
import sys

import numpy as np

from fastrnn import Input, Model, Sequential
from fastrnn.layers import LSTM, Dense, Embedding
from fastrnn.optimizers import Adam
from fastrnn.utils import pad_sequences, set_random_seed

QUICK = "--quick" in sys.argv
UNITS = 64
SIGNS = "0123456789-^"  # the last one begins every date
NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
).split()
PHRASES = (
    "the {day} of {month}, {year}",
    "{month} the {day}, {year}",
    "{weekday}, the {day} of {month}, {year}",
    "in the year {year}, on {month} the {day}",
)


def number(n, last=NUMBERS):
    """A number below 100 in words; with ``last=ORDINALS``, as in "twenty-third"."""
    if n < 20:
        return last[n]
    if n % 10:
        return f"{TENS[n // 10]}-{last[n % 10]}"
    return TENS[n // 10] if last is NUMBERS else TENS[n // 10][:-1] + "ieth"


def in_words(date, rng):
    """A date as someone might say it."""
    century, rest = divmod(date.year, 100)
    if date.year // 10 == 200:
        year = "two thousand" + (f" and {number(rest)}" if rest else "")
    else:
        end = "hundred" if rest == 0 else f"oh {number(rest)}" if rest < 10 else number(rest)
        year = f"{number(century)} {end}"
    return rng.choice(PHRASES).format(
        day=number(date.day, ORDINALS), month=calendar.month_name[date.month], year=year,
        weekday=calendar.day_name[date.weekday()],
    )


def translate(encoder, decoder, words):
    """Ids of words (B, T) -> a list of B dates in digits."""
    stream = decoder.stream(len(words))
    (name,) = stream.state  # that of its only recurrent layer
    stream.state = {name: encoder.predict(words, verbose=0)}
    sign, written = np.full(len(words), SIGNS.index("^")), []
    for _ in range(len("1998-05-03")):  # where lengths differ, a sign for the end is learned too
        sign = stream(sign).argmax(axis=1)
        written.append(sign)
    return ["".join(SIGNS[s] for s in row) for row in np.transpose(written)]


def main():
    set_random_seed(0)
    rng = np.random.default_rng(0)
    first, days = datetime.date(1900, 1, 1), 200 * 365
    chosen = rng.choice(days, 6000 if QUICK else 20000, replace=False)  # no date occurs twice
    dates = [first + datetime.timedelta(int(day)) for day in chosen]
    texts = [in_words(date, rng) for date in dates]

    rows = [re.findall(r"\w+", text.lower()) for text in texts]
    index = {word: i for i, word in enumerate(sorted({w for row in rows for w in row}), 1)}
    words = pad_sequences([[index[word] for word in row] for row in rows])
    signs = np.array([[SIGNS.index(s) for s in f"^{date}"] for date in dates])
    train, test = slice(1000, None), slice(1000)

    source, before = Input((None,)), Input((None,))
    read = Embedding(len(index) + 1, 32, mask_zero=True)(source)
    _, *state = LSTM(UNITS, return_state=True)(read)
    writer = [
        Embedding(len(SIGNS), 16), LSTM(UNITS, return_sequences=True),
        Dense(len(SIGNS), activation="softmax"),
    ]  # fmt: skip
    embed, remember, tell = writer
    model = Model([source, before], tell(remember(embed(before), initial_state=state)))
    encoder = Model(source, state)
    decoder = Sequential([Input((None,)), *writer])

    model.compile(Adam(5e-3, clipnorm=1.0), "sparse_categorical_crossentropy")
    model.fit(
        [words[train], signs[train, :-1]], signs[train, 1:], batch_size=64, epochs=8, verbose=0,
    )

    right = [str(date) for date in dates[test]]
    told = translate(encoder, decoder, words[test])
    exact = np.mean([a == b for a, b in zip(told, right, strict=True)])
    print(f"{len(dates[train])} dates to learn from, {len(right)} others to be tested on")
    print(f"wholly right: {exact:.3f}\n")
    for text, date, truth in zip(texts[:6], told[:6], right[:6], strict=True):
        print(f"{text:65} {date}" + ("" if date == truth else f"  (wrong: {truth})"))


if __name__ == "__main__":
    main()
