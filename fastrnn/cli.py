"""The command ``fastrnn``: train, evaluate and use a sentiment classifier; measure the build.

Exit codes: 0 all is well, 1 it failed, 2 the command was not understood, 130 Ctrl-C, 141 the
reader of the output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import textwrap
import time

__all__ = ["main"]

FAILURE, MISUNDERSTOOD, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
DEFAULT_MODEL = "sentiment.fastrnn"


def main(argv=None):
    """Run the command and return its exit code.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; default: those of the process.

    Raises
    ------
    SystemExit
        With code 2 where the arguments are not understood, 0 after ``--help``.
    """
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python would complain when it flushes at exit; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("FASTRNN_TRACEBACK"):
            raise
        _say_error(_in_one_line(error))
        return FAILURE


# -- the commands -----------------------------------------------------------------------------


def _train(arguments):
    from fastrnn import sentiment, set_num_threads, utils

    _check_writable(arguments.out)
    if arguments.plot:
        from fastrnn.plotting import check_plot_file

        check_plot_file(arguments.plot)
        _check_writable(arguments.plot)
    if arguments.threads:
        set_num_threads(arguments.threads)
    if arguments.seed is not None:
        utils.set_random_seed(arguments.seed)

    num_words = arguments.num_words or sentiment.PRESETS[arguments.preset].num_words
    data = sentiment.load_dataset(arguments.dataset, arguments.data, num_words)
    classifier = sentiment.SentimentClassifier(
        data.word_index,
        num_words=num_words,
        maxlen=arguments.maxlen,
        units=arguments.units,
        dataset=arguments.dataset,
        preset=arguments.preset,
    )
    say = _silent if arguments.quiet else print
    say(
        f"Training on {len(data.train[0])} reviews ({arguments.dataset}); "
        f"vocabulary {classifier.num_words}, trained on the last {classifier.maxlen} words of each."
    )
    code, began = 0, time.perf_counter()
    try:
        classifier.fit(
            *data.train,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            verbose=0 if arguments.quiet else 1,
        )
        say(f"Trained in {time.perf_counter() - began:.1f} s.")
        losses = classifier.model.history.history.get("val_loss")
        if losses:
            best = losses.index(min(losses)) + 1
            say(f"Kept epoch {best} of {len(losses)}, of the least val_loss.")
    except KeyboardInterrupt:
        if classifier.model is None:  # not even begun
            raise
        print("\nInterrupted: keeping what is trained so far.", file=sys.stderr)
        code = INTERRUPTED
    classifier.save(arguments.out)
    say(f"Saved {arguments.out} ({os.path.getsize(arguments.out) / 1e6:.2f} MB).")
    if arguments.plot and classifier.model.history.history:
        from fastrnn.plotting import plot_history

        plot_history(classifier.model.history.history, arguments.plot)
        say(f"Drew {arguments.plot}.")
    if not code:
        _print_evaluation(classifier, data.test)
    return code


def _evaluate(arguments):
    from fastrnn import sentiment

    classifier = _load(arguments.model)
    dataset = arguments.dataset or classifier.dataset or "imdb"
    data = sentiment.load_dataset(dataset, arguments.data, classifier.num_words)
    _print_evaluation(classifier, data.test)
    return 0


def _predict(arguments):
    classifier = _load(arguments.model)
    if not arguments.text and sys.stdin.isatty():
        print("Type a text a line; Ctrl-D ends.", file=sys.stderr)
    # Texts from standard input are answered line by line, so that the command can sit in a pipe.
    batches = [arguments.text] if arguments.text else ([line] for line in _lines(sys.stdin))
    for texts in batches:
        for text, (label, probability) in zip(texts, classifier.predict(texts), strict=True):
            print(f"{label}\t{probability:.3f}\t{text}", flush=True)
    return 0


def _info(_arguments):
    from fastrnn import show_config

    show_config()
    return 0


def _bench(arguments):
    from fastrnn import _core, bench

    if arguments.peers is not None:
        return _compare(arguments)
    print(
        f"The sentiment model with {bench.UNITS} units, {bench.MAXLEN} steps, batches of "
        f"{bench.BATCH}; {_core.isa()}, threads: {_core.get_num_threads()}.\n"
        "Medians (least-most) on this machine, as busy as it is."
    )
    seconds = 0.1 if arguments.quick else 2.0
    print(bench.table({layer: bench.measure(layer, seconds) for layer in bench.LAYERS}))
    return 0


def _compare(arguments):
    """Run the comparison with other libraries, which is in the repository only."""
    import subprocess

    import fastrnn

    repository = os.path.dirname(os.path.dirname(os.path.abspath(fastrnn.__file__)))
    script = os.path.join(repository, "benchmarks", "compare", "compare.py")
    if not os.path.exists(script):
        _say_error(
            "the comparison with other libraries is not installed with the package: clone "
            "fastrnn's repository and run `make compare` there"
        )
        return MISUNDERSTOOD
    options = [*["--quick"] * arguments.quick, *arguments.peers]
    return subprocess.call([sys.executable, script, *options])


# -- their parts --------------------------------------------------------------------------------


def _load(path):
    from fastrnn.sentiment import SentimentClassifier

    if not os.path.exists(path):
        raise FileNotFoundError(
            f"there is no model file {path}; train one with `fastrnn train imdb --out {path}`, "
            "or name another"
        )
    return SentimentClassifier.load(path)


def _print_evaluation(classifier, test):
    scores = classifier.evaluate(*test)
    print(
        f"Test accuracy {scores['accuracy']:.4f}, loss {scores['loss']:.4f}, "
        f"on {len(test[0])} reviews."
    )


def _lines(stream):
    """The lines of a stream that hold text."""
    for line in stream:
        if line.strip():
            yield line.rstrip("\n")


def _check_writable(path):
    """Raise OSError now, not after the training, if ``path`` cannot be written."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; name a file to write")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write {path}: permission denied")


def _silent(_text):
    pass


def _say_error(message):
    with contextlib.suppress(OSError):
        print(f"fastrnn: error: {message}", file=sys.stderr)


def _in_one_line(error):
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    message = " ".join(str(error).split())
    expected = isinstance(error, (ImportError, OSError, ValueError))
    return message if expected and message else f"{type(error).__name__}: {message}"


# -- the arguments --------------------------------------------------------------------------------


def _whole_from(smallest):
    """A type for argparse: a whole number not below ``smallest``."""

    def whole(text):
        try:
            number = int(text)
        except ValueError:
            number = smallest - 1
        if number < smallest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {smallest} on; got {text!r}"
            )
        return number

    return whole


def _parser():
    import fastrnn

    parser = _described(
        argparse.ArgumentParser,
        prog="fastrnn",
        description="Train, evaluate and use a sentiment classifier; measure how fast it is here.",
        examples="""
            fastrnn train imdb
            fastrnn predict "An hour too long, and still I did not want it to end."
            fastrnn evaluate
            fastrnn info
            fastrnn bench
            """,
        notes="""
            Exit codes: 0 all is well, 1 it failed, 2 the command was not understood,
            130 interrupted. FASTRNN_TRACEBACK=1 shows where an error arose.
            """,
    )
    parser.add_argument("--version", action="version", version=f"fastrnn {fastrnn.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_info(commands)
    _add_bench(commands)
    return parser


def _described(make, *args, description, examples, notes="", **options):
    """A parser whose help ends in examples, laid out as they are here."""
    epilog = "examples:\n" + textwrap.indent(textwrap.dedent(examples).strip("\n"), "  ")
    return make(
        *args,
        description=description,
        epilog=f"{epilog}\n\n{textwrap.dedent(notes).strip()}".rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )


def _command(commands, run, name, description, examples):
    command = _described(
        commands.add_parser, name, help=description, description=description, examples=examples
    )
    command.set_defaults(run=run)
    return command


def _add_train(commands):
    command = _command(
        commands,
        _train,
        "train",
        "Train a classifier, save it and evaluate it.",
        """
        fastrnn train imdb --epochs 5 --plot curves.png
        fastrnn train imdb --preset best     # the most accurate
        fastrnn train imdb --data ~/imdb.npz --out imdb.fastrnn
        fastrnn train reviews            # built in, needs no download

        Ctrl-C ends the training and saves what is trained so far.
        """,
    )
    command.add_argument("dataset", choices=("imdb", "reviews"), help="what to train on")
    _add_data(command)
    command.add_argument(
        "--preset",
        choices=("simple", "best"),
        default="simple",
        help="simple: a SimpleRNN, as in the lesson (default); best: the most accurate that trains "
        "in less than a minute",
    )
    whole = _whole_from(1)
    for name, meaning in (
        ("--epochs", "passes over the data"),
        ("--batch-size", "reviews in a step"),
        ("--maxlen", "of longer reviews, read the last so many words"),
        ("--num-words", "size of the vocabulary"),
        ("--units", "width of the recurrent layer"),
    ):
        command.add_argument(
            name, type=whole, metavar="N", help=f"{meaning} (default: the preset's)"
        )
    command.add_argument(
        "--seed", type=_whole_from(0), metavar="N", help="make the run repeatable, bit for bit"
    )
    command.add_argument(
        "--threads", type=whole, metavar="N", help="threads to use (default: one for each core)"
    )
    command.add_argument(
        "--out",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help=f"where to save the model (default {DEFAULT_MODEL})",
    )
    command.add_argument("--plot", metavar="FILE", help="draw the curves into FILE, such as a.png")
    command.add_argument("--quiet", action="store_true", help="print the result and no more")


def _add_evaluate(commands):
    command = _command(
        commands,
        _evaluate,
        "evaluate",
        "Measure a saved model on test data.",
        """
        fastrnn evaluate
        fastrnn evaluate imdb.fastrnn --data ~/imdb.npz
        """,
    )
    command.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"the model file (default {DEFAULT_MODEL})",
    )
    command.add_argument(
        "--dataset",
        choices=("imdb", "reviews"),
        help="what to test on (default: what the model was trained on)",
    )
    _add_data(command)


def _add_predict(commands):
    command = _command(
        commands,
        _predict,
        "predict",
        "Print label, probability and text, for each text or line of standard input.",
        """
        fastrnn predict "Not bad at all." "I wanted to like it."
        fastrnn predict --model imdb.fastrnn < reviews.txt
        """,
    )
    command.add_argument(
        "text", nargs="*", metavar="TEXT", help="default: the lines of standard input"
    )
    command.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="FILE",
        help=f"the model file (default {DEFAULT_MODEL})",
    )


def _add_info(commands):
    _command(
        commands,
        _info,
        "info",
        "Print the instruction set and threads in use, and versions.",
        "fastrnn info",
    )


def _add_bench(commands):
    command = _command(
        commands,
        _bench,
        "bench",
        "Measure how fast this build trains and predicts on this machine.",
        """
        fastrnn bench
        fastrnn bench --quick
        fastrnn bench --peers                # beside other libraries
        fastrnn bench --peers --grid --out figures.json
        """,
    )
    command.add_argument("--quick", action="store_true", help="in seconds, and less exactly")
    command.add_argument(
        "--peers",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="run the comparison with Keras, JAX, PyTorch and ONNX Runtime that is in fastrnn's "
        "repository; all that follows are its options",
    )


def _add_data(command):
    command.add_argument(
        "--data",
        metavar="PATH",
        help="imdb.npz, or the folder that holds it (default: $FASTRNN_DATA_HOME, "
        "Keras's cache, or a download)",
    )
