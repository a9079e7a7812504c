"""Callbacks: which hooks are called when, and what the ready-made ones do."""

import csv

import numpy as np
import pytest

from fastrnn import optimizers
from fastrnn.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from fastrnn.layers import Dense
from fastrnn.models import Sequential, load_model

X = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
Y = 2 * X


def model(learning_rate=0.0, metrics=None):
    model = Sequential([Dense(1)])
    model.compile(optimizers.SGD(learning_rate), "mse", metrics=metrics)
    return model


def fit(callback, model=None, **kwargs):
    model = model or globals()["model"]()
    options = {"epochs": 2, "batch_size": 2, "verbose": 0} | kwargs
    return model.fit(X, Y, callbacks=[callback], **options)


class Recorder(Callback):
    """Notes each hook with its number and the names in its logs."""

    def __init__(self):
        super().__init__()
        self.calls = []


def _record(name):
    def hook(self, *args):
        *number, logs = (*args, None) if name.endswith("begin") and len(args) < 2 else args
        self.calls.append((name, *number, sorted(logs) if logs else None))

    return hook


for _name in [n for n in vars(Callback) if n.startswith("on_") and "_batch_" in n[2:]]:
    setattr(Recorder, _name, _record(_name))
for _name in ("on_train_begin", "on_test_begin", "on_predict_begin", "on_train_end",
              "on_test_end", "on_predict_end", "on_epoch_begin", "on_epoch_end"):
    setattr(Recorder, _name, lambda self, *args, _name=_name: self.calls.append((_name, *args)))


def names(calls):
    return [call[0] for call in calls]


def test_hooks_in_their_order():
    recorder = Recorder()
    fit(recorder, epochs=1, validation_data=(X, Y))
    steps = ["on_train_batch_begin", "on_train_batch_end"] * 3
    tests = ["on_test_begin", *["on_test_batch_begin", "on_test_batch_end"] * 3, "on_test_end"]
    assert names(recorder.calls) == [
        "on_train_begin", "on_epoch_begin", *steps, *tests, "on_epoch_end", "on_train_end"
    ]
    calls = recorder.calls
    assert [c[1] for c in calls if c[0] == "on_train_batch_end"] == [0, 1, 2]
    assert next(c for c in calls if c[0] == "on_train_batch_end")[2] == ["loss"]
    epoch_end = next(c for c in calls if c[0] == "on_epoch_end")
    assert epoch_end[1] == 0 and sorted(epoch_end[2]) == ["loss", "val_loss"]
    assert recorder.params == {"verbose": 0, "epochs": 1, "steps": 3}


def test_hooks_of_evaluate_and_predict():
    recorder, trained = Recorder(), model()
    trained.evaluate(X, Y, batch_size=2, verbose=0, callbacks=[recorder])
    assert names(recorder.calls) == [
        "on_test_begin", *["on_test_batch_begin", "on_test_batch_end"] * 3, "on_test_end"
    ]
    outputs = []
    recorder = LambdaCallback(on_predict_batch_end=lambda i, logs: outputs.append(logs["outputs"]))
    y = trained.predict(X, batch_size=2, verbose=0, callbacks=recorder)
    np.testing.assert_array_equal(np.concatenate(outputs), y)
    recorder = Recorder()
    trained.predict(X, verbose=0, callbacks=[recorder])
    assert names(recorder.calls)[0] == "on_predict_begin"
    assert names(recorder.calls)[-1] == "on_predict_end"


def test_hooks_that_nobody_overrides_are_not_called():
    assert not CallbackList([History()]).wants("on_train_batch_end")
    assert CallbackList([TerminateOnNaN()]).wants("on_train_batch_end")

    class Old(Callback):
        def on_batch_end(self, batch, logs=None):
            self.seen = batch

    old = Old()
    assert CallbackList([old]).wants("on_train_batch_end")
    fit(old)
    assert old.seen == 2


@pytest.mark.parametrize("callbacks", ["stop", [print], [EarlyStopping]])
def test_what_is_no_callback(callbacks):
    with pytest.raises(TypeError, match="callbacks: expected callbacks of fastrnn.callbacks"):
        CallbackList(callbacks)


def test_history():
    trained = model(0.1, metrics=["mae"])
    history = fit(Callback(), trained, epochs=3, initial_epoch=1, validation_split=0.4)
    assert history is trained.history
    assert history.epoch == [1, 2] and history.params["epochs"] == 3
    assert list(history.history) == ["loss", "mae", "val_loss", "val_mae"]
    assert all(type(v) is float for values in history.history.values() for v in values)
    own = History()
    assert fit(own) is own and len(own.history["loss"]) == 2
    fit(own)
    assert len(own.history["loss"]) == 4 and own.epoch == [0, 1]


def test_what_is_added_to_the_logs_goes_into_the_history():
    callback = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(own=epoch + 0.5))
    assert fit(callback).history["own"] == [0.5, 1.5]


def test_lambda_callback_refuses_other_names():
    with pytest.raises(TypeError, match="no hook 'on_epoch_stop'"):
        LambdaCallback(on_epoch_stop=print)


def test_stop_training_in_the_middle_of_an_epoch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.batch = batch
            self.model.stop_training = batch == 1

    stop = Stop()
    history = fit(stop, epochs=5)
    assert stop.batch == 1 and history.epoch == [0]


def test_terminate_on_nan(capsys):
    bad = model(1e30)
    with np.errstate(all="ignore"):
        history = fit(TerminateOnNaN(), bad, epochs=50)
    assert len(history.epoch) < 50
    assert "training ends" in capsys.readouterr().out
    with np.errstate(all="ignore"), pytest.raises(RuntimeError, match="after batch"):
        fit(TerminateOnNaN(raise_error=True), model(1e30), epochs=50)


def test_learning_rate_scheduler(capsys):
    trained = model(0.5)
    history = fit(LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1), trained)
    assert trained.optimizer.learning_rate == 0.125
    assert history.history["learning_rate"] == [0.25, 0.125]
    assert "Epoch 2: the learning rate is 0.125." in capsys.readouterr().out


@pytest.mark.parametrize("schedule", [
    lambda epoch: 0.5 / (epoch + 1), lambda epoch, rate: 0.5 / (epoch + 1),
    lambda epoch, rate=None: np.float32(0.5) / (epoch + 1),
])
def test_learning_rate_scheduler_of_the_epoch_alone(schedule):
    history = fit(LearningRateScheduler(schedule))
    assert history.history["learning_rate"] == [0.5, 0.25]
    assert type(history.history["learning_rate"][0]) is float


def test_learning_rate_scheduler_needs_a_number():
    with pytest.raises(ValueError, match="expected the schedule to give a number; got None"):
        fit(LearningRateScheduler(lambda epoch: None))


class Scripted(Callback):
    """Puts given figures into the logs, in place of real ones."""

    def __init__(self, **figures):
        super().__init__()
        self.figures = figures

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.figures.items()})


def scripted(callback, trained=None, **figures):
    trained = trained or model(0.1, metrics=["mae"])
    epochs = len(next(iter(figures.values())))
    return trained.fit(
        X, Y, epochs=epochs, batch_size=5, verbose=0, callbacks=[Scripted(**figures), callback]
    )


@pytest.mark.parametrize(
    ("options", "figures", "epochs"),
    [
        ({}, [3, 2, 2.5, 1], 3),
        ({"patience": 2}, [3, 2, 2.5, 2.2, 1], 4),
        ({"patience": 1}, [3, 2, 2.5, 1, 0.5], 3),
        ({"patience": 2}, [3, 2, 2.5, 1, 1.1, 1.2, 1.3], 6),
        ({"min_delta": 0.6}, [3, 2, 1.5, 1], 3),
        ({"baseline": 1.5, "patience": 2}, [3, 2, 1.9, 1.8], 4),
        ({"baseline": 1.5, "patience": 2}, [3, 1, 0.9, 0.8], 4),
        ({"start_from_epoch": 2}, [3, 4, 5, 6, 1], 4),
        ({"mode": "max"}, [1, 2, 1, 3], 3),
    ],
)
def test_early_stopping(options, figures, epochs):
    history = scripted(EarlyStopping("val_loss", **options), val_loss=figures)
    assert len(history.epoch) == epochs


def test_early_stopping_baseline_never_reached():
    # Improvements that do not beat the baseline do not reset the patience.
    history = scripted(EarlyStopping(baseline=0.5, patience=3), val_loss=[3, 2, 1, 1.5, 1.6, 1.7])
    assert len(history.epoch) == 4


def test_early_stopping_restores_the_best_weights(capsys):
    trained, kept = model(0.1), []
    keep = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(trained.get_weights()))
    stop = EarlyStopping(patience=1, restore_best_weights=True, verbose=1)
    trained.fit(X, Y, epochs=9, verbose=0,
                callbacks=[Scripted(val_loss=[3, 1, 2, 2, 2]), keep, stop])
    assert stop.best_epoch == 1 and len(kept) == 3
    for a, b in zip(trained.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(a, b)
    out = capsys.readouterr().out
    assert "Epoch 3: early stopping." in out and "those of epoch 2, the best" in out


def test_which_way_is_better_comes_from_the_metric():
    trained = model(0.1, metrics=["mae"])
    scripted(stop := EarlyStopping("val_mae", patience=1), trained, val_mae=[3, 2, 1])
    assert stop.best == 1
    accuracy = Sequential([Dense(1, activation="sigmoid")])
    accuracy.compile("sgd", "binary_crossentropy", metrics=["acc"])
    stop = EarlyStopping("val_acc", patience=1)
    accuracy.fit(X, Y > 0, epochs=3, verbose=0, callbacks=[Scripted(val_acc=[1, 2, 3]), stop])
    assert stop.best == 3
    with pytest.raises(ValueError, match="whether more or less of 'own' is better is not known"):
        scripted(EarlyStopping("own"), own=[1, 2, 3])


def test_a_figure_that_is_not_there_is_warned_of():
    with pytest.warns(UserWarning, match="EarlyStopping: there is no 'val_loss'.*there are: loss"):
        fit(EarlyStopping(), epochs=1)
    with pytest.warns(UserWarning, match="ReduceLROnPlateau: there is no 'val_loss'"):
        fit(ReduceLROnPlateau(), epochs=1)


def test_reduce_learning_rate_on_plateau(capsys):
    trained = model(0.8, metrics=["mae"])
    callback = ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.3, verbose=1)
    history = scripted(callback, trained, val_loss=[3, 2, 2, 2, 2, 2, 2, 2])
    # Two epochs without improvement, then again two; then the floor.
    assert history.history["learning_rate"] == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.3, 0.3]
    assert "Epoch 4: the learning rate is now 0.4." in capsys.readouterr().out
    trained.optimizer.learning_rate = 0.8
    callback = ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2)
    history = scripted(callback, trained, val_loss=[1] * 7)
    assert history.history["learning_rate"] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1]


@pytest.mark.parametrize("make", [lambda: ReduceLROnPlateau(factor=1.0),
                                  lambda: EarlyStopping(mode="up")])
def test_settings_that_cannot_be(make):
    with pytest.raises(ValueError, match="must"):
        make()


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(CSVLogger(path))
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["epoch", "loss", "val_loss"]
    assert [r[0] for r in rows[1:]] == ["0", "1"] and rows[1][2] == "NA"
    assert [float(r[1]) for r in rows[1:]] == history.history["loss"]
    fit(CSVLogger(path, append=True), epochs=1)
    with open(path, newline="") as file:
        assert [r[0] for r in csv.reader(file)] == ["epoch", "0", "1", "0"]
    fit(CSVLogger(path, separator=";"), epochs=1)
    assert path.read_text().splitlines()[0] == "epoch;loss;val_loss"


# -- ModelCheckpoint ------------------------------------------------------------------------------


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_checkpoint_after_each_epoch(tmp_path, capsys):
    trained, path = model(0.1), tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.fastrnn"
    scripted(ModelCheckpoint(path, verbose=1), trained, val_loss=[3, 2, 2.5])
    assert files(path.parent) == ["01-3.00.fastrnn", "02-2.00.fastrnn", "03-2.50.fastrnn"]
    last = load_model(path.parent / "03-2.50.fastrnn")
    np.testing.assert_array_equal(last.get_weights()[0], trained.get_weights()[0])
    assert last.optimizer.iterations == 3
    assert "Epoch 1: saved to " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "figures", "saved"),
    [
        ({}, [3, 2, 2.5, 1], [1, 2, 4]),
        ({"mode": "max"}, [3, 2, 2.5, 4], [1, 4]),
        ({"initial_value_threshold": 2.2}, [3, 2, 2.5, 1], [2, 4]),
        ({"initial_value_threshold": 2.2, "mode": "max"}, [2, 3, 2.5, 4], [2, 4]),
        ({}, [float("nan"), 2, 1], [1]),  # as in Keras, nothing is better than NaN
    ],
)
def test_checkpoint_of_the_best(options, figures, saved, tmp_path, capsys):
    callback = ModelCheckpoint(
        tmp_path / "{epoch}.fastrnn", save_best_only=True, verbose=1, **options
    )
    scripted(callback, val_loss=figures)
    assert files(tmp_path) == [f"{epoch}.fastrnn" for epoch in saved]
    out = capsys.readouterr().out
    assert ("no better than" in out) == (len(saved) < len(figures))


def test_what_was_best_stays_in_another_fit(tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.fastrnn", save_best_only=True)
    scripted(callback, val_loss=[3, 2])
    scripted(callback, val_loss=[2, 1])
    assert files(tmp_path) == ["1-3.fastrnn", "2-1.fastrnn", "2-2.fastrnn"]


def test_checkpoint_after_batches(tmp_path):
    callback = ModelCheckpoint(tmp_path / "{epoch}-{batch}-{loss:.0f}.fastrnn", save_freq=2)
    fit(callback, epochs=2)  # three batches an epoch
    assert [name[:3] for name in files(tmp_path)] == ["1-2", "2-1", "2-3"]


def test_checkpoint_of_the_weights_alone(tmp_path):
    trained = model(0.1)
    fit(ModelCheckpoint(tmp_path / "w.fastrnn", save_weights_only=True), trained)
    other = Sequential([Dense(1, name=trained.layers[0].name)])
    other.build((None, 1))
    other.load_weights(tmp_path / "w.fastrnn")
    np.testing.assert_array_equal(other.get_weights()[0], trained.get_weights()[0])
    with pytest.raises(ValueError, match="weights alone|weights only|no model"):
        load_model(tmp_path / "w.fastrnn")


def test_checkpoint_warns_of_a_figure_that_is_not_there_and_saves(tmp_path):
    with pytest.warns(UserWarning, match="ModelCheckpoint: there is no 'val_loss'"):
        fit(ModelCheckpoint(tmp_path / "m.fastrnn", save_best_only=True), epochs=1)
    assert files(tmp_path) == ["m.fastrnn"]


def test_checkpoint_names_a_field_that_is_not_there(tmp_path):
    with pytest.raises(KeyError, match="has the field 'val_acc'; there are: epoch, loss"):
        fit(ModelCheckpoint(tmp_path / "{val_acc}.fastrnn"))


@pytest.mark.parametrize("save_freq", ["batch", 0, -1, True, 1.5])
def test_checkpoint_frequency_that_cannot_be(save_freq):
    with pytest.raises(ValueError, match="ModelCheckpoint: save_freq: expected 'epoch' or"):
        ModelCheckpoint("a", save_freq=save_freq)


# -- states ---------------------------------------------------------------------------------------


def test_some_callbacks_come_last_whatever_their_place():
    class Late(Callback):
        runs_last = True

    first, late, last = Callback(), Late(), History()
    assert CallbackList([late, first, last]).callbacks == [first, last, late]


def test_a_callback_goes_on_from_the_state_of_another():
    one = EarlyStopping("loss", patience=3, restore_best_weights=True)
    scripted(one, loss=[3, 2, 2.5])
    other = EarlyStopping("loss", patience=3, restore_best_weights=True)
    other.set_state(one.get_state())
    assert (other.best, other.wait, other.best_epoch) == (2, 1, 1)
    np.testing.assert_array_equal(other.best_weights[0], one.best_weights[0])
    assert Callback().get_state() == {}


def test_csv_logger_drops_lines_of_epochs_that_are_run_again(tmp_path):
    path = tmp_path / "log.csv"
    one = CSVLogger(path)
    scripted(one, loss=[3, 2])
    state = one.get_state()
    more = CSVLogger(path)
    more.on_train_begin()
    more.set_state(state)
    more.on_epoch_end(2, {"loss": 1})
    more.on_epoch_end(3, {"loss": 0})
    again = CSVLogger(path)
    again.on_train_begin()
    again.set_state(state)
    again.on_epoch_end(2, {"loss": 0.5})
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert [r[:2] for r in rows] == [["epoch", "loss"], ["0", "3"], ["1", "2"], ["2", "0.5"]]
    path.unlink()  # a file that somebody has taken away is begun anew
    again.on_epoch_end(3, {"loss": 0})
    assert path.read_text().startswith("3,0")
