"""The examples run, reduced to seconds, and learn what they set out to show."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments):
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", "--quick", *arguments],
        capture_output=True, text=True, timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(text, label):
    """The first number behind a label that begins a line."""
    return float(re.search(rf"^\s*{re.escape(label)}\s+(\S+)", text, re.MULTILINE)[1])


def test_sentiment():
    text = run("sentiment")
    counting = number(text, "counting words")
    assert counting < 0.8  # the same words say either thing
    assert number(text, "SimpleRNN") > counting + 0.05
    assert all(number(text, reader) > 0.95 for reader in ("LSTM", "GRU", "Bidirectional(GRU)"))


def test_labelling():
    text = run("labelling")
    alone, forwards, both = (
        number(text, label)
        for label in ("each word by itself", "reading forwards", "reading both ways")
    )
    assert alone + 0.08 < forwards < both
    assert "they/pronoun can/auxiliary fish/verb the/determiner can/noun" in text


def test_translation():
    text = run("translation")
    assert number(text, "wholly right:") > 0.6
    assert re.search(r"^in the year nineteen .* on \w+ the .* 19\d\d-\d\d-\d\d", text, re.MULTILINE)


def test_text_generation():
    text = run("text_generation")
    guess, first, last = re.search(r": ([\d.]+) at a guess, ([\d.]+) .*, ([\d.]+)", text).groups()
    assert float(last) < float(first) < float(guess)
    assert float(last) < 3.2
    assert len(re.findall(r"^temperature [\d.]+: return .{50,}", text, re.MULTILINE)) == 3


@pytest.mark.skipif(
    find_spec("statsmodels") is None, reason="the series comes with statsmodels, which is missing"
)
def test_forecasting():
    text = run("forecasting")
    one_month, all_months = text.split("months ahead")
    assert number(one_month, "LSTM") < number(one_month, "as a year before")
    assert number(one_month, "LSTM") < 0.4
    assert number(all_months, "LSTM") < 4


def test_gradient_flow(tmp_path):
    text = run("gradient_flow", "--picture", tmp_path / "flow.png")
    rows = {
        name: [float(n) for n in re.search(rf"^{name} +(.*)", text, re.MULTILINE)[1].split()]
        for name in ("SimpleRNN", "GRU", "LSTM")
    }
    (*_, decay, _, error), *gated = rows.values()
    assert error > 0.12
    for *_, gated_decay, reach, gated_error in gated:
        assert gated_decay > 10 * decay
        assert reach == 50
        assert gated_error < 0.03
    assert not number(text, "SGD(0.001)") < 10
    assert number(text, "SGD(0.001, clipnorm=1)") < 1
    assert (tmp_path / "flow.png").stat().st_size > 5000


def test_own_cell():
    text = run("own_cell")
    assert float(re.search(r"no more than (.*)", text)[1]) < 1e-6
    assert number(text, "after training") < 0.15


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_what_it_shows(path):
    text = path.read_text()
    assert text.startswith('"""') and len(text.partition("\n")[0]) > 40
