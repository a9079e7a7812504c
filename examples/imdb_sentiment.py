"""A sentiment classifier on IMDB: a Keras script with ``keras`` replaced in its imports."""

from fastrnn.datasets import imdb
from fastrnn.layers import Dense, Embedding, SimpleRNN
from fastrnn.models import Sequential
from fastrnn.preprocessing import sequence

(X_train, y_train), (X_test, y_test) = imdb.load_data(num_words=10000)
X_train = sequence.pad_sequences(X_train, maxlen=500)
X_test = sequence.pad_sequences(X_test, maxlen=500)

model = Sequential()
model.add(Embedding(10000, 32))
model.add(SimpleRNN(32))
model.add(Dense(1, activation="sigmoid"))
model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
history = model.fit(X_train, y_train, epochs=10, batch_size=128, validation_split=0.2)
_, accuracy = model.evaluate(X_test, y_test)
print("Test Accuracy: %.2f" % (accuracy * 100))
