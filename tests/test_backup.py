"""Training that is interrupted and taken up again: the weights are those of a run in one go."""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import fastrnn
from fastrnn import backup, losses
from fastrnn.atomic import new_file
from fastrnn.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from fastrnn.layers import BatchNormalization, Bidirectional, Dense, Dropout, SimpleRNN
from fastrnn.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    Ftrl,
    Lion,
    Nadam,
    schedules,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 5, 3)).astype(np.float32)
Y = RNG.normal(size=(23, 1)).astype(np.float32)
RAGGED = [row[: 1 + i % 5] for i, row in enumerate(X)]
EPOCHS, BATCH = 4, 4


def model(seed=1, optimizer=None):
    fastrnn.utils.set_random_seed(seed)
    model = fastrnn.Sequential([
        SimpleRNN(4, dropout=0.3), Dropout(0.2), BatchNormalization(), Dense(1)
    ])
    model.compile(optimizer or Adam(0.05), "mse", metrics=["mae"])
    return model


class Interrupt(Callback):
    """Breaks training off after so many batches, in all."""

    def __init__(self, after, error=KeyboardInterrupt):
        super().__init__()
        self.left = after
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise self.error


def fit(model, callbacks=(), x=X, **options):
    options = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0} | options
    return model.fit(x, Y, callbacks=list(callbacks), **options)


def assert_same(found, expected):
    """Weights, slots and all else, bit for bit."""
    for a, b in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    a, b = found.optimizer.state(), expected.optimizer.state()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


OPTIONS = {
    "plain": {},
    "no shuffling": {"shuffle": False},
    "validation": {"validation_split": 0.2},
    "ragged": {"x": RAGGED},
    "epochs that are no passes": {"steps_per_epoch": 4},
    "pieces": {"truncate": 2},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("save_freq", ["epoch", 1, 4])
@pytest.mark.parametrize("after", [1, 9])
def test_bit_for_bit(name, save_freq, after, tmp_path):
    options = OPTIONS[name]
    whole = model()
    expected = fit(whole, **options).history
    broken = model()
    keep = BackupAndRestore(tmp_path / "backup", save_freq)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, [keep, Interrupt(after)], **options)
    # Another process: other seeds, other weights, a callback that knows nothing.
    again = model(seed=2)
    assert again.layers[1].stream.seed != whole.layers[1].stream.seed
    found = fit(again, [BackupAndRestore(tmp_path / "backup", save_freq)], **options)
    assert_same(again, whole)
    assert found.history == expected and found.epoch == list(range(EPOCHS))
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_in_the_same_session_and_more_than_once(error, tmp_path):
    whole = model()
    fit(whole)
    broken = model()
    keep = BackupAndRestore(tmp_path, save_freq=3)
    for after in (1, 4, 5, 3):
        with pytest.raises(error):
            fit(broken, [keep, Interrupt(after, error)])
    fit(broken, [keep])
    assert_same(broken, whole)


def callbacks(folder):
    return [
        EarlyStopping("loss", patience=1, restore_best_weights=True, min_delta=1e9),
        ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1e9),
        LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        ModelCheckpoint(folder / "best.fastrnn", "loss", save_best_only=True),
        CSVLogger(folder / "log.csv"),
    ]


@pytest.mark.parametrize("after", [1, 5, 8, 11])
@pytest.mark.parametrize("save_freq", ["epoch", 2])
def test_other_callbacks_go_on_too(after, save_freq, tmp_path):
    for folder in ("whole", "broken"):
        (tmp_path / folder).mkdir()
    whole = model()
    fit(whole, callbacks(tmp_path / "whole"))
    broken = model()
    keep = BackupAndRestore(tmp_path / "backup", save_freq)
    with pytest.raises(KeyboardInterrupt):
        # Its place in the list does not matter.
        fit(broken, [keep, *callbacks(tmp_path / "broken"), Interrupt(after)])
    again = model(seed=3)
    fit(again, [keep, *callbacks(tmp_path / "broken")])
    assert_same(again, whole)
    assert again.history.history == whole.history.history
    logs = [(tmp_path / folder / "log.csv").read_text() for folder in ("whole", "broken")]
    assert logs[0] == logs[1]


class StopAfter(Callback):
    """Ends training in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == 2


class InterruptAtEpochEnd(Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError


def test_training_that_had_been_told_to_stop_stops(tmp_path):
    whole = model()
    fit(whole, [StopAfter()])
    broken = model()
    keep = BackupAndRestore(tmp_path, 1)
    with pytest.raises(RuntimeError):
        fit(broken, [StopAfter(), keep, InterruptAtEpochEnd()])
    history = fit(broken, [keep])
    assert history.epoch == [0]
    assert_same(broken, whole)


@pytest.mark.parametrize("after", [2, 7, 8])
def test_metrics_of_an_epoch_go_on(after, tmp_path):
    def scored():
        found = model()
        m = fastrnn.metrics
        found.compile("sgd", losses.Huber(), metrics=[
            m.Precision([0.1, 0.4]), m.AUC(), m.AUC(multi_label=True), m.R2Score(), "recall",
            m.F1Score("micro", 0.5), m.FBetaScore(beta=2.0, threshold=0.3), m.LogCoshError(),
            m.RootMeanSquaredError(), m.FalseNegatives(), m.CosineSimilarity(), losses.huber,
        ])
        return found

    whole = scored()
    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(scored(), [BackupAndRestore(tmp_path, 1), Interrupt(after)])
    again = scored()
    fit(again, [BackupAndRestore(tmp_path, 1)])
    found, expected = again.history.history, whole.history.history
    assert list(found) == list(expected) and len(found) == 13
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


class Own(fastrnn.metrics.Metric):
    """Sums up in a variable, a list, a metric inside of it, and numbers of NumPy's."""

    def __init__(self, name="own"):
        super().__init__(name=name)
        self.total = self.add_weight()
        self.values = []
        self.inner = fastrnn.metrics.Mean()
        self.seen = np.float32(0)

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(y_pred.sum())
        self.values.append(y_pred.max())
        self.inner.update_state(y_pred)
        self.seen += np.float32(len(y_pred))

    def reset_state(self):
        super().reset_state()
        self.values, self.seen = [], np.float32(0)

    def result(self):
        return np.array([self.total, sum(self.values), self.inner.result(), self.seen])


def test_metrics_of_ones_own_go_on(tmp_path):
    def scored():
        found = model()
        found.compile("sgd", "mse", metrics=[Own()])
        return found

    expected = fit(scored()).history["own"]
    with pytest.raises(KeyboardInterrupt):
        fit(scored(), [BackupAndRestore(tmp_path, 1), Interrupt(8)])
    again = scored()
    fit(again, [BackupAndRestore(tmp_path, 1)])
    np.testing.assert_array_equal(again.history.history["own"], expected)


@pytest.mark.parametrize("make", [
    lambda: Adagrad(0.05), lambda: Adadelta(1.0), lambda: Adamax(0.05), lambda: Nadam(0.05),
    lambda: Lion(0.01), lambda: Ftrl(0.1, use_ema=True),
    lambda: Nadam(0.05, gradient_accumulation_steps=3),
    lambda: SGD(schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9),
    lambda: Adam(0.05, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3),
    lambda: Adam(0.05, gradient_accumulation_steps=3),
])
def test_optimizers(make, tmp_path):
    whole = model(optimizer=make())
    fit(whole)
    broken = model(optimizer=make())
    with pytest.raises(KeyboardInterrupt):
        fit(broken, [BackupAndRestore(tmp_path, 1), Interrupt(8)])
    again = model(seed=2, optimizer=make())
    fit(again, [BackupAndRestore(tmp_path, 1)])
    assert_same(again, whole)


@pytest.mark.parametrize("both", [False, True])
def test_states_of_stateful_layers(both, tmp_path):
    def model(seed=1):
        fastrnn.utils.set_random_seed(seed)
        layer = SimpleRNN(4, stateful=True)
        model = fastrnn.Sequential([Bidirectional(layer) if both else layer, Dense(1)])
        model.compile(Adam(0.05), "mse")
        return model

    def fit(model, callbacks=()):
        model.fit(X[:20], Y[:20], epochs=2, batch_size=4, verbose=0, callbacks=list(callbacks))

    whole = model()
    fit(whole)
    broken = model()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, [BackupAndRestore(tmp_path, 1), Interrupt(3)])
    again = model(seed=2)
    fit(again, [BackupAndRestore(tmp_path, 1)])
    assert_same(again, whole)
    np.testing.assert_array_equal(again.layers[0].states[0], whole.layers[0].states[0])


SCRIPT = """
import os, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
import test_backup as t
folder, seed, after = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
class Kill(t.Callback):
    left = after
    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
model = t.model(seed)
t.fit(model, [t.BackupAndRestore(folder + "/backup", 2, double_checkpoint=True), Kill()])
np.savez(folder + "/weights.npz", *model.get_weights())
"""


def test_a_process_that_is_killed(tmp_path):
    whole = model()
    fit(whole)
    code = SCRIPT.format(tests=os.path.dirname(__file__))
    for seed, after in zip(itertools.count(1), (5, 7, 6, 0), strict=False):
        arguments = [sys.executable, "-c", code, str(tmp_path), str(seed), str(after)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
        assert done.returncode == (-signal.SIGKILL if after else 0), done.stderr
    with np.load(tmp_path / "weights.npz") as found:
        for name, weight in zip(found.files, whole.get_weights(), strict=True):
            np.testing.assert_array_equal(found[name], weight)


# -- the folder ------------------------------------------------------------------------------------


def interrupted(folder, after=7, save_freq=1, **options):
    with pytest.raises(KeyboardInterrupt):
        fit(model(), [BackupAndRestore(folder, save_freq, **options), Interrupt(after)])


def test_finished_training_is_kept_where_asked_for(tmp_path):
    done = model()
    fit(done, [BackupAndRestore(tmp_path, delete_checkpoint=False)])
    assert [p.name for p in tmp_path.iterdir()] == ["latest.state"]
    more = model(seed=2)
    history = fit(more, [BackupAndRestore(tmp_path)], epochs=EPOCHS + 1)
    assert history.epoch == list(range(EPOCHS + 1)) and len(history.history["loss"]) == EPOCHS + 1
    whole = model()
    fit(whole, epochs=EPOCHS + 1)
    assert_same(more, whole)


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    fit(model(), [BackupAndRestore(tmp_path)])
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_state_before_serves_where_the_last_is_damaged(tmp_path):
    interrupted(tmp_path, double_checkpoint=True)
    latest = tmp_path / "latest.state"
    latest.write_bytes(latest.read_bytes()[:-20])
    whole = model()
    fit(whole)
    again = model(seed=2)
    with pytest.warns(UserWarning, match=r"latest\.state is cut off or something else"):
        fit(again, [BackupAndRestore(tmp_path)])
    assert_same(again, whole)


def test_a_write_that_was_broken_off_between_two_renames(tmp_path):
    interrupted(tmp_path, double_checkpoint=True)
    (tmp_path / "latest.state").unlink()
    whole = model()
    fit(whole)
    again = model(seed=2)
    fit(again, [BackupAndRestore(tmp_path)])
    assert_same(again, whole)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something", None])
def test_a_folder_without_a_state_that_can_be_read(content, tmp_path):
    interrupted(tmp_path)
    latest = tmp_path / "latest.state"
    latest.write_bytes(latest.read_bytes()[:300] if content is None else content)
    fresh = model()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="Delete the folder to begin"):
        fit(fresh, [BackupAndRestore(tmp_path)])


def test_another_model_or_other_data(tmp_path):
    interrupted(tmp_path)
    keep = [BackupAndRestore(tmp_path)]
    other = model()
    other.add(Dense(1))
    other.build(X.shape)
    before = other.get_weights()
    with pytest.raises(ValueError, match="does not fit: it is that of another model"):
        other.fit(X, Y, callbacks=keep, batch_size=BATCH, verbose=0)
    for a, b in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"other data: it was .*'batch_size': 4.* 'batch_size': 8"):
        fit(model(), keep, batch_size=8)
    with pytest.raises(ValueError, match="does not fit: Optimizer 'sgd'"):
        fit(model(optimizer=SGD()), keep)


@pytest.mark.parametrize("make", [
    lambda: BackupAndRestore(""), lambda: BackupAndRestore("a", 0),
    lambda: BackupAndRestore("a", True), lambda: BackupAndRestore("a", "batch"),
])
def test_settings_that_cannot_be(make):
    with pytest.raises(ValueError, match="BackupAndRestore: (save_freq|backup_dir): expected"):
        make()


def test_the_file_keeps_every_bit(tmp_path):
    state = {
        "floats": [0.1, float("inf"), np.float64(1) / 3, -0.0], "none": None, "flag": True,
        "nested": {"a": [np.arange(3, dtype=np.int64), {"b": np.float32(0.1) * np.ones((2, 2))}]},
        "name": "h\u00f6lzern", "scalar": np.array(5, np.int64), "transposed": np.ones((2, 3)).T,
    }
    backup.write(tmp_path / "state", state)
    found = backup.read(tmp_path / "state")
    assert found["floats"] == state["floats"] and found["name"] == state["name"]
    assert found["none"] is None and found["flag"] is True and found["scalar"] == 5
    assert found["nested"]["a"][0].dtype == np.int64
    np.testing.assert_array_equal(found["nested"]["a"][1]["b"], state["nested"]["a"][1]["b"])
    assert found["transposed"].shape == (3, 2)
    with pytest.raises(TypeError):
        backup.write(tmp_path / "state", {"what": object()})
    assert backup.read(tmp_path / "state")["name"] == state["name"]
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_write_that_is_broken_off_leaves_the_file_before(tmp_path):
    path = tmp_path / "state"
    backup.write(path, {"epoch": 1})
    for error in (KeyboardInterrupt, OSError):
        with pytest.raises(error), new_file(path) as file:
            file.write(b"half of it")
            raise error
    assert backup.read(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    with pytest.raises(ValueError, match="not the file of a training state"):
        backup.read(_of_another_program(tmp_path / "other"))


def _of_another_program(path):
    import safetensors.numpy

    safetensors.numpy.save_file({"a": np.ones(1)}, path)
    return path
