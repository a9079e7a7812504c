"""The command ``fastrnn``: what it does, what it says, and its exit codes."""

import io
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import cli, sentiment

FAST = ("--maxlen", "12", "--units", "4")


@pytest.fixture
def model(tmp_path, tiny_imdb):
    """A model file that the command trained."""
    file = tmp_path / "model.fastrnn"
    train = ("train", "imdb", "--data", str(tiny_imdb), "--epochs", "1", "--quiet")
    assert cli.main([*train, *FAST, "--out", str(file)]) == 0
    return file


def start(*arguments, **options):
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen(
        [sys.executable, "-m", "fastrnn", *map(str, arguments)], text=True, **pipes, **options
    )


def fails(capsys, *arguments):
    """The one line of error that the command ends with."""
    assert cli.main(list(map(str, arguments))) == 1
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("fastrnn: error: ")
    return line


def misunderstood(capsys, *arguments):
    """What the command says of arguments that it does not understand."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(arguments))
    assert exit_.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def no_training(monkeypatch):
    """Whatever is checked must be checked before the data is even loaded."""

    def load_dataset(*_):
        raise AssertionError("the data was loaded before the arguments were checked")

    monkeypatch.setattr(sentiment, "load_dataset", load_dataset)


# -- train ------------------------------------------------------------------------------------


def test_train_saves_draws_and_evaluates(tmp_path, tiny_imdb, capsys):
    out, plot = tmp_path / "m.fastrnn", tmp_path / "curves.png"
    arguments = ["train", "imdb", "--data", tiny_imdb, "--epochs", 2, "--out", out, "--plot", plot]
    assert cli.main([*map(str, arguments), *FAST]) == 0
    printed = capsys.readouterr().out
    assert "Training on 60 reviews (imdb)" in printed
    assert "Epoch 2/2" in printed
    assert f"Saved {out}" in printed and f"Drew {plot}" in printed
    assert "Test accuracy " in printed.splitlines()[-1]
    assert plot.read_bytes().startswith(b"\x89PNG")
    classifier = sentiment.SentimentClassifier.load(out)
    assert (classifier.maxlen, classifier.model.layers[0].output_dim) == (12, 4)


def test_quiet_prints_the_result_only(tmp_path, tiny_imdb, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("train", "imdb", "--data", str(tiny_imdb), "--epochs", "1", "--quiet")
    assert cli.main([*arguments, *FAST]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Test accuracy ") and line.endswith("on 20 reviews.")
    assert os.listdir() == [cli.DEFAULT_MODEL]


def test_seed_makes_runs_equal(tmp_path, tiny_imdb):
    arguments = ("train", "imdb", "--data", str(tiny_imdb), "--epochs", "1", "--quiet", *FAST)
    weights = []
    for seed, name in (("7", "a"), ("7", "b"), ("8", "c")):
        assert cli.main([*arguments, "--seed", seed, "--out", str(tmp_path / name)]) == 0
        weights.append(sentiment.SentimentClassifier.load(tmp_path / name).model.get_weights()[0])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_threads(tmp_path, tiny_imdb):
    before = fastrnn.get_num_threads()
    arguments = ("train", "imdb", "--data", str(tiny_imdb), "--epochs", "1", "--quiet", *FAST)
    try:
        assert cli.main([*arguments, "--threads", "3", "--out", str(tmp_path / "m")]) == 0
        assert fastrnn.get_num_threads() == 3
    finally:
        fastrnn.set_num_threads(before)


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_places_to_write_are_checked_first(option, tmp_path, capsys, no_training):
    nowhere = tmp_path / "nowhere" / "file.png"
    assert "there is no folder" in fails(capsys, "train", "imdb", option, nowhere)
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert "is a folder" in fails(capsys, "train", "imdb", option, folder)


def test_folder_that_may_not_be_written(tmp_path, capsys, no_training, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    line = fails(capsys, "train", "imdb", "--out", tmp_path / "m")
    assert "permission denied" in line


def test_kind_of_picture_is_checked_first(tmp_path, capsys, no_training):
    line = fails(capsys, "train", "imdb", "--out", tmp_path / "m", "--plot", tmp_path / "a.xyz")
    assert "a.xyz: expected a file name that ends in one of" in line and "png" in line


def test_missing_matplotlib_is_said_first(tmp_path, capsys, no_training, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = fails(capsys, "train", "imdb", "--out", tmp_path / "m", "--plot", tmp_path / "a.png")
    assert "drawing curves needs matplotlib" in line


def test_ctrl_c_saves_what_is_trained_so_far(tmp_path, tiny_imdb):
    out, plot = tmp_path / "m.fastrnn", tmp_path / "curves.png"
    arguments = ("train", "imdb", "--data", tiny_imdb, "--epochs", 1_000_000, "--out", out)
    with start(*arguments, "--plot", plot, *FAST) as process:
        while not process.stdout.readline().startswith("Epoch 3/"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "keeping what is trained so far" in errors and "Traceback" not in errors
    assert f"Saved {out}" in printed and plot.exists()
    assert sentiment.SentimentClassifier.load(out).predict(["good"])


# -- evaluate, predict, info --------------------------------------------------------------------


def test_evaluate(model, tiny_imdb, capsys):
    assert cli.main(["evaluate", str(model), "--data", str(tiny_imdb)]) == 0
    assert "on 20 reviews." in capsys.readouterr().out


def test_evaluate_on_another_data_set(model, capsys, monkeypatch):
    texts = (["good", "bad"], [1, 0])
    monkeypatch.setattr("fastrnn.datasets.reviews.load_texts", lambda: (texts, texts))
    monkeypatch.setattr("fastrnn.datasets.reviews.get_word_index", lambda: {"good": 4, "bad": 5})
    assert cli.main(["evaluate", str(model), "--dataset", "reviews"]) == 0
    assert "on 2 reviews." in capsys.readouterr().out


def test_predict_texts(model, capsys):
    texts = ["The film is good", "bad"]
    assert cli.main(["predict", "--model", str(model), *texts]) == 0
    expected = sentiment.SentimentClassifier.load(model).predict(texts)
    assert capsys.readouterr().out.splitlines() == [
        f"{label}\t{probability:.3f}\t{text}"
        for text, (label, probability) in zip(texts, expected, strict=True)
    ]


def test_predict_lines_of_standard_input(model, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("good film\n\n  \nbad"))
    assert cli.main(["predict", "--model", str(model)]) == 0
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == [
        "good film",
        "bad",
    ]


def test_predict_answers_each_line_as_it_comes(model):
    with start("predict", "--model", model) as process:
        for text in ("good", "bad"):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(f"\t{text}\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_reader_that_goes_away_is_no_error(model):
    with start("predict", "--model", model) as process:
        process.stdout.close()
        process.stdin.write("good film\n" * 10)
        process.stdin.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == ""


def test_default_model_is_what_train_saves_by_default(tmp_path, tiny_imdb, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ("train", "imdb", "--data", str(tiny_imdb), "--epochs", "1", "--quiet")
    assert cli.main([*arguments, *FAST]) == 0
    assert cli.main(["predict", "good"]) == 0
    assert cli.main(["evaluate", "--data", str(tiny_imdb)]) == 0


def test_info(capsys):
    assert cli.main(["info"]) == 0
    assert "instruction set" in capsys.readouterr().out


# -- bench ----------------------------------------------------------------------------------------


def test_bench_prints_a_line_for_each_layer(capsys, monkeypatch):
    monkeypatch.delenv("FASTRNN_DATA_HOME", raising=False)
    assert cli.main(["bench", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["layer", "SimpleRNN", "LSTM", "GRU"]
    assert "training step, ms" in lines[-4] and lines[-1].count("(") == 3


@pytest.fixture
def called(monkeypatch):
    """The commands that are called instead of being run; each ends with code 7."""
    commands = []
    monkeypatch.setattr(subprocess, "call", lambda command: commands.append(command) or 7)
    return commands


def test_bench_peers_runs_the_comparison_of_a_checkout(tmp_path, called, monkeypatch):
    script = tmp_path / "benchmarks" / "compare" / "compare.py"
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.setattr(fastrnn, "__file__", str(tmp_path / "fastrnn" / "__init__.py"))
    assert cli.main(["bench", "--quick", "--peers", "--grid", "--units", "32"]) == 7
    assert called == [[sys.executable, str(script), "--quick", "--grid", "--units", "32"]]


def test_bench_peers_says_where_the_comparison_is(tmp_path, called, monkeypatch, capsys):
    monkeypatch.setattr(fastrnn, "__file__", str(tmp_path / "fastrnn" / "__init__.py"))
    assert cli.main(["bench", "--peers"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "make compare" in line and not called


# -- mistakes -------------------------------------------------------------------------------------


def test_model_that_is_not_there(capsys, tmp_path):
    line = fails(capsys, "predict", "--model", tmp_path / "m", "good")
    assert "there is no model file" in line and "fastrnn train imdb" in line


def test_model_that_is_something_else(capsys, tmp_path):
    (tmp_path / "m").write_text("text")
    assert "not a fastrnn model file" in fails(capsys, "evaluate", tmp_path / "m")


def test_data_that_is_not_there(capsys, tmp_path):
    line = fails(capsys, "train", "imdb", "--data", tmp_path / "no.npz", "--out", tmp_path / "m")
    assert "no.npz" in line
    assert not list(tmp_path.iterdir())


def test_traceback_on_request(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRNN_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(["evaluate", str(tmp_path / "m")])


def test_unexpected_error_names_its_type(capsys, monkeypatch):
    def show_config():
        raise ZeroDivisionError("in\ntwo lines")

    monkeypatch.setattr(fastrnn, "show_config", show_config)
    assert fails(capsys, "info").endswith("ZeroDivisionError: in two lines")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["tain"], "tain"),
        (["train"], "dataset"),
        (["train", "imbd"], "imbd"),
        (
            ["train", "imdb", "--epochs", "0"],
            "--epochs: expected a whole number from 1 on; got '0'",
        ),
        (["train", "imdb", "--units", "x"], "--units: expected a whole number from 1 on; got 'x'"),
        (["train", "imdb", "--seed", "-1"], "--seed: expected"),
        (["info", "--verbose"], "--verbose"),
    ],
)
def test_arguments_that_are_not_understood(arguments, said, capsys):
    assert said in misunderstood(capsys, *arguments)


@pytest.mark.parametrize(
    "command", [[], ["train"], ["evaluate"], ["predict"], ["info"], ["bench"]]
)
def test_help_has_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main([*command, "--help"])
    assert exit_.value.code == 0
    _, _, examples = capsys.readouterr().out.partition("examples:\n")
    lines = [line.strip() for line in examples.splitlines() if line.startswith("  fastrnn ")]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        cli._parser().parse_args(words[: words.index("<")] if "<" in words else words)


def test_runs_as_a_module_and_as_a_script():
    for command in ([sys.executable, "-m", "fastrnn"], [_script()]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"fastrnn {fastrnn.__version__}\n"


def _script():
    return os.path.join(os.path.dirname(sys.executable), "fastrnn")
