"""Batches that users make: generators, Sequences, loaders; trained on as the arrays would be."""

import numpy as np
import pytest

import fastrnn
from fastrnn import Input, Model, Sequential, optimizers
from fastrnn.callbacks import BackupAndRestore, LambdaCallback
from fastrnn.layers import GRU, Dense, Embedding
from fastrnn.sources import is_source

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 9, (12, 5)), RNG.integers(0, 2, 12)
WEIGHT = RNG.uniform(0.5, 2, 12)
PIECES = [slice(i, i + 4) for i in range(0, 12, 4)]


class Pages(fastrnn.utils.PyDataset):
    def __init__(self, weighted=False):
        super().__init__(workers=2)
        self.taken, self.weighted = [], weighted

    def __len__(self):
        return len(PIECES)

    def __getitem__(self, i):
        self.taken.append(i)
        own = PIECES[i]
        return (X[own], Y[own], WEIGHT[own])[: 3 if self.weighted else 2]

    def on_epoch_begin(self):
        self.taken.append("begin")

    def on_epoch_end(self):
        self.taken.append("end")


class Loader:
    """Like PyTorch's DataLoader, and data sets of TensorFlow: batches, from the first each time."""

    def __len__(self):
        return len(PIECES)

    def __iter__(self):
        return ([X[own], Y[own]] for own in PIECES)


class Unsized:
    """Batches from the first each time, of which nobody knows how many there are."""

    def __init__(self, batches=3):
        self.batches = batches

    def __iter__(self):
        return iter([(X[own], Y[own]) for own in PIECES][: self.batches])


def endless():
    while True:
        yield from Loader()


def made(built=True, **options):
    fastrnn.utils.set_random_seed(1)
    layers = [Embedding(9, 3), GRU(4), Dense(1, "sigmoid")]
    model = Sequential([Input((5,)), *layers] if built else layers)
    model.compile(optimizers.Adam(0.05), "binary_crossentropy", metrics=["acc"], **options)
    return model


def on_arrays(model, **options):
    return model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0, **options).history


@pytest.mark.parametrize(("x", "options"), [
    (Pages, {"shuffle": False}), (Loader, {}), (endless, {"steps_per_epoch": 3}),
    (lambda: iter([*Loader(), *Loader()]), {"steps_per_epoch": 3}),
])  # fmt: skip
@pytest.mark.parametrize("built", [True, False])
def test_fit_as_on_arrays(x, options, built):
    model = made(built)
    history = model.fit(x(), epochs=2, verbose=0, **options)
    assert history.history == on_arrays(made())
    assert history.params["steps"] == 3


def test_weights_of_rows_and_classes():
    history = made().fit(Pages(weighted=True), epochs=2, shuffle=False, verbose=0).history
    assert history == on_arrays(made(), sample_weight=WEIGHT)
    history = made().fit(Loader(), epochs=2, class_weight={1: 3.0}, verbose=0).history
    assert history == on_arrays(made(), class_weight={1: 3.0})


def test_validation_evaluation_and_prediction():
    model = made()
    arrays = on_arrays(made(), validation_data=(X, Y), validation_batch_size=4)
    for x, steps in ((Pages(), None), (Loader(), None), (endless(), 3)):
        found = made().fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0,
                           validation_data=x, validation_steps=steps).history  # fmt: skip
        for name, values in arrays.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-6)
        np.testing.assert_allclose(
            model.evaluate(x, steps=steps, verbose=0), model.evaluate(X, Y, verbose=0), rtol=1e-6
        )
        np.testing.assert_allclose(
            model.predict(x, steps=steps, verbose=0), model.predict(X, verbose=0), rtol=1e-6
        )
    assert model.predict(Pages(), steps=2, verbose=0).shape == (8, 1)


def test_an_order_of_its_own_for_each_epoch():
    fastrnn.utils.set_random_seed(4)
    pages = Pages()
    made().fit(pages, epochs=4, verbose=0)
    assert pages.taken[::5] == ["begin"] * 4 and pages.taken[4::5] == ["end"] * 4
    epochs = [pages.taken[i : i + 3] for i in range(1, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs) and len(set(map(tuple, epochs))) > 1
    again = Pages()
    fastrnn.utils.set_random_seed(4)
    made().fit(again, epochs=4, verbose=0)
    assert again.taken == pages.taken


def test_several_inputs_and_outputs_and_sequences_that_were_never_padded():
    def model():
        fastrnn.utils.set_random_seed(2)
        a, b = Input((None,), name="a"), Input((2,), name="b")
        x = GRU(3, return_sequences=True)(Embedding(9, 4)(a))
        whole = Model([a, b], {"p": Dense(1, name="p")(x), "q": Dense(1, name="q")(b)})
        whole.compile("sgd", "mse")
        return whole

    rows = [[1, 2], [3, 4, 5], [6], [7, 8, 1, 2]]
    tags, b, q = [[0.5] * len(row) for row in rows], RNG.normal(size=(4, 2)), np.ones(4)
    batches = [({"a": rows[i : i + 2], "b": b[i : i + 2]},
                {"p": tags[i : i + 2], "q": q[i : i + 2]}) for i in (0, 2)]  # fmt: skip
    one, two = model(), model()
    options = {"epochs": 2, "verbose": 0}
    found = one.fit(iter(batches * 2), steps_per_epoch=2, **options).history
    assert found == two.fit({"a": rows, "b": b}, {"p": tags, "q": q}, batch_size=2, shuffle=False,
                            **options).history  # fmt: skip
    streamed = one.predict(iter(batches), steps=2, verbose=0)
    for name, y in one.predict({"a": rows, "b": b}, verbose=0).items():
        np.testing.assert_allclose(streamed[name], y, rtol=1e-6)


def test_batches_that_end_early():
    model = made()
    with pytest.warns(UserWarning, match="there are 1 batches where 2 were asked for"):
        history = model.fit(iter(Loader()), steps_per_epoch=2, epochs=5, verbose=0)
    assert history.epoch == [0, 1]
    with pytest.warns(UserWarning, match="there are 0 batches where 3"):
        assert model.fit(iter([]), steps_per_epoch=3, epochs=2, verbose=0).epoch == []
    with pytest.warns(UserWarning, match="there are 3 batches where 5 were asked for"):
        assert model.fit(Loader(), steps_per_epoch=5, verbose=0).params["steps"] == 3
    with pytest.warns(UserWarning, match="there are 3 batches where 7"):
        assert model.predict(iter(Loader()), steps=7, verbose=0).shape == (12, 1)


@pytest.mark.parametrize("built", [True, False])
def test_a_generator_without_a_number_of_steps_is_one_epoch(built):
    model = made(built)
    found = model.fit(iter(Loader()), verbose=0)
    expected = made().fit(Loader(), verbose=0)
    assert found.history == expected.history and found.params["steps"] is None
    assert not model.stop_training
    with pytest.warns(UserWarning, match="at an end after epoch 1 of 3.* give steps_per_epoch"):
        history = made().fit(iter(Loader()), epochs=3, verbose=0, validation_data=(X, Y))
    assert history.epoch == [0] and history.history["loss"] == expected.history["loss"]
    assert list(history.history) == ["acc", "loss", "val_acc", "val_loss"]


def test_what_can_be_read_again_is_in_each_epoch():
    history = made().fit(Unsized(), epochs=2, verbose=0, validation_data=Unsized()).history
    arrays = on_arrays(made(), validation_data=(X, Y), validation_batch_size=4)
    for name, values in arrays.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6)


@pytest.mark.parametrize("x", [lambda: iter(Loader()), Unsized])
def test_evaluation_and_prediction_to_the_end(x):
    model = made()
    assert model.evaluate(x(), verbose=0) == model.evaluate(Loader(), verbose=0)
    assert (model.predict(x(), verbose=0) == model.predict(Loader(), verbose=0)).all()
    found = model.fit(X, Y, validation_data=x(), verbose=0).history["val_loss"][0]
    assert found == model.evaluate(Loader(), verbose=0)[0]


def test_a_line_without_a_bar_until_the_end(capsys, monkeypatch):
    model = made()
    monkeypatch.setattr("time.perf_counter", iter(range(0, 10_000, 20)).__next__)
    model.fit(Unsized(), epochs=2)
    model.evaluate(iter(Loader()), verbose=1)
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    bar = "[====================]"
    assert lines[1][0] == "2/?" and ["3/3", bar] in lines and "2/3" in [line[0] for line in lines]
    assert lines[-1] == ["3/3", bar]


def test_training_in_pieces():
    one, two = made(), made()
    found = one.fit(Loader(), epochs=2, truncate=2, verbose=0).history
    assert found == on_arrays(two, truncate=2)


@pytest.mark.parametrize(("use", "message"), [
    (lambda m: m.fit(X, Y, validation_data=endless(), epochs=2),
     "validation_steps: expected a number of batches, as a generator can be read once.*np.conc"),
    (lambda m: m.fit(iter([])), "there are no batches in it"),
    (lambda m: m.fit(Unsized(0)), "there are no batches in it"),
    (lambda m: m.evaluate(iter([])), "there are no batches in it"),
    (lambda m: m.evaluate(Unsized(0)), "there are no batches in it"),
    (lambda m: m.predict(iter([])), "there are no batches in it"),
    (lambda m: m.fit(X, Y, validation_data=iter([])), "there are no batches in it"),
    (lambda m: m.fit(Loader(), Y), "fit: y has no place beside an x that makes batches, Loader"),
    (lambda m: m.fit(Loader(), validation_split=0.5), "fit: validation_split has no place"),
    (lambda m: m.evaluate(Loader(), sample_weight=WEIGHT), "evaluate: sample_weight has no place"),
    (lambda m: m.fit(iter([X]), steps_per_epoch=1), r"batches to be tuples .* ndarray of shape"),
    (lambda m: m.fit(iter([(X,)]), steps_per_epoch=1), "expected labels y beside x; got none"),
    (lambda m: m.fit(iter([(X, Y[:5])]), steps_per_epoch=1), "x has 12 rows, y has 5"),
    (lambda m: m.fit(type("Empty", (Loader,), {"__len__": lambda self: 0})()), "are no batches"),
    (lambda m: made(built=False).fit(iter([]), steps_per_epoch=1), "there are no batches in it"),
    (lambda m: m.predict(iter([]), steps=1), "there are no batches in it"),
])
@pytest.mark.filterwarnings("ignore:x. there are 0 batches")
def test_errors(use, message):
    with pytest.raises(ValueError, match=message):
        use(made())


def test_backups_need_arrays(tmp_path):
    with pytest.raises(ValueError, match="nobody knows which batches come next. Give arrays"):
        made().fit(Loader(), verbose=0, callbacks=BackupAndRestore(tmp_path / "backup"))


def test_stopping_between_two_batches():
    model, seen = made(), []

    def stop(batch, logs):
        seen.append(batch)
        model.stop_training = True

    model.fit(Loader(), epochs=3, verbose=0, callbacks=LambdaCallback(on_train_batch_end=stop))
    assert seen == [0]


def test_sequences_that_leave_something_out():
    class Bare(fastrnn.utils.Sequence):
        pass

    for method in (Bare().__len__, lambda: Bare()[0]):
        with pytest.raises(NotImplementedError, match="Bare: write __len__"):
            method()


def test_what_makes_batches():
    assert is_source(Pages()) and is_source(Loader()) and is_source(endless())
    assert not any(map(is_source, (X, [1], (1,), {"a": 1}, "text", None, 3, np.float32(2))))
