"""A layer, a cell and models that are written as a `call`, for Keras and for fastrnn alike."""

import importlib

__all__ = ["classes"]


def classes(library):
    """The classes by their names, of ``keras`` or ``fastrnn``."""
    layers, ops = (importlib.import_module(f"{library.__name__}.{m}") for m in ("layers", "ops"))

    class Sized:
        """What has a width, and says so in its configuration."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.make()

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    class Block(Sized, layers.Layer):
        """Weights of its own, and layers."""

        def make(self):
            self.wide = layers.Dense(2 * self.units, activation="tanh")
            self.narrow = [layers.Dense(self.units), layers.LayerNormalization()]

        def build(self, input_shape):
            self.scale = self.add_weight(shape=(self.units,), initializer="ones", name="scale")
            super().build(input_shape)

        def call(self, x):
            y = self.wide(x)
            for layer in self.narrow:
                y = layer(y)
            return x + self.scale * y

    class LeakyCell(Sized, layers.Layer):
        """h' = h + a (tanh(x W + h U) - h), with a learned."""

        def make(self):
            self.state_size = self.units

        def build(self, input_shape):
            shape = input_shape[-1], self.units
            self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform", name="kernel")
            self.recurrent = self.add_weight(
                shape=(self.units, self.units), initializer="orthogonal", name="recurrent"
            )
            self.leak = self.add_weight(shape=(self.units,), initializer="zeros", name="leak")

        def call(self, inputs, states):
            h = states[0]
            u = ops.tanh(ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent))
            h = h + ops.sigmoid(self.leak) * (u - h)
            return h, [h]

    class Attention(layers.Layer):
        """The mean of the steps that count, weighted by what they have in common with a vector."""

        def call(self, inputs, mask=None):
            x, query = inputs
            scores = ops.sum(x * ops.expand_dims(query, 1), axis=-1)
            if mask is not None and mask[0] is not None:
                scores = ops.where(mask[0], scores, -1e9)
            return ops.sum(ops.expand_dims(ops.softmax(scores, axis=1), -1) * x, axis=1)

    class Reader(Sized, library.Model):
        """Padded ids, and a branch for training."""

        def make(self):
            self.words = layers.Embedding(31, 4, mask_zero=True)
            self.rnn = layers.Bidirectional(layers.GRU(self.units, return_sequences=True))
            self.own = layers.RNN(LeakyCell(2 * self.units), return_sequences=True)
            self.attention = Attention()
            self.blocks = [Block(2 * self.units), Block(2 * self.units)]
            self.drop = layers.Dropout(0.0)
            self.head = layers.Dense(1, activation="sigmoid")

        def call(self, ids, training=False):
            x = self.own(self.rnn(self.words(ids)))
            x = self.attention([x, x[:, -1]])
            for block in self.blocks:
                x = block(x)
            if training:
                x = self.drop(x, training=training)
            return self.head(x)

    class Pair(Sized, library.Model):
        """A state handed over, and layers in a dict."""

        def make(self):
            self.encoder = layers.LSTM(self.units, return_state=True)
            self.decoder = layers.LSTM(self.units, return_sequences=True)
            self.heads = {"a": layers.Dense(2), "b": layers.Dense(1)}

        def call(self, inputs):
            source, target = inputs
            _, h, c = self.encoder(source)
            y = self.decoder(target, initial_state=[h, c])
            return ops.concatenate([self.heads["a"](y), self.heads["b"](y)], axis=-1)

    class ResidualCell(Sized, layers.Layer):
        """A cell with another inside, whose output is added to what comes in."""

        def make(self):
            self.cell = layers.LSTMCell(self.units)
            self.state_size = self.cell.state_size
            self.output_size = self.units

        def build(self, input_shape):
            self.cell.build(input_shape)
            self.built = True

        def call(self, inputs, states):
            y, states = self.cell(inputs, states)
            return y + inputs, states

    class Looped(Sized, layers.Layer):
        """Cells that are called for each step, from a state of zeros and one that is learned."""

        def make(self):
            self.cell = layers.GRUCell(self.units)
            self.stack = layers.StackedRNNCells([layers.LSTMCell(2), layers.SimpleRNNCell(3)])

        def build(self, input_shape):
            self.first = self.add_weight(
                shape=(1, self.units), initializer="random_normal", name="first"
            )
            self.cell.build(input_shape[:1] + input_shape[2:])
            self.stack.build((input_shape[0], self.units))
            self.built = True

        def call(self, x):
            rows = ops.shape(x)[0]
            h = ops.zeros((rows, self.units)) + self.first
            states = [*self.stack.get_initial_state(batch_size=rows)]
            found = []
            for t in range(x.shape[1]):
                h, _ = self.cell(x[:, t], h)
                y, states = self.stack(h, states)
                found.append(ops.concatenate([y, h], axis=-1))
            return ops.stack(found, axis=1)

    class Gates(layers.Layer):
        """Functions that divide, repeat, look up and sum products."""

        def build(self, input_shape):
            self.table = self.add_weight(
                shape=(input_shape[1], input_shape[2]), initializer="random_normal", name="table"
            )
            super().build(input_shape)

        def call(self, x):
            x = x + ops.take(self.table, ops.arange(x.shape[1]), axis=0)
            i, f, z = ops.split(ops.tile(x, (1, 1, 3)) * 0.5, 3, axis=-1)
            scores = ops.einsum("btd,bsd->bts", ops.sigmoid(i), ops.tanh(f))
            scores = ops.where(ops.tril(ops.ones((x.shape[1],) * 2)) > 0, scores, -1e9)
            y = ops.einsum("bts,bsd->btd", ops.softmax(scores, axis=-1), ops.cumsum(z, axis=1))
            return ops.repeat(ops.pad(y, ((0, 0), (1, 0), (0, 0))), 2, axis=1)

    class Cells(Sized, library.Model):
        """Those, one behind the other."""

        def make(self):
            self.residual = layers.RNN(ResidualCell(self.units), return_sequences=True)
            self.looped = Looped(self.units)
            self.gates = Gates()
            self.head = layers.Dense(1)

        def call(self, x):
            return self.head(self.gates(self.looped(self.residual(x))))

    found = Attention, Block, Cells, Gates, LeakyCell, Looped, Pair, Reader, ResidualCell
    return {c.__name__: c for c in found}
