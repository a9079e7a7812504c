"""Compute with Keras what the tests expect of fastrnn.

    pip install keras==3.15.1 tensorflow-cpu==2.21.0
    python tests/keras_values/make_keras_values.py [keras_values] [recurrent_values] \
        [model_values] [text_values]

Keras runs on its TensorFlow backend, in float32. That backend is the one whose cross-entropies
take the logits back from a sigmoid or softmax output, and that is the behaviour fastrnn follows.
The last file needs no gradients, and no backend in particular:

    pip install keras==3.15.1 jax==0.10.2
    KERAS_BACKEND=jax python tests/keras_values/make_keras_values.py score_values

Each name above is a pair of files beside this script. ``keras_values.json`` is a dictionary of
topics, each a dictionary of cases by name; in it a string ``"@float32 120 3,4"`` stands for the
array of shape (3, 4) that starts at entry 120 of the array ``float32`` in ``keras_values.npz``.
Cases that hold an equal array share it.

Every case draws its numbers from a generator seeded by a name, so a case can be added or removed
without changing another. Biases, which Keras starts at zero, are random here: an engine that
drops them must not pass.

Where Keras surprises, the cases say so by what they hold; the rules:

- A masked step shows the output before it, and zeros before the first step that counts, even with
  an initial state. So the output of a row without any such step is zero, while its state is the
  initial one.
- ``zero_output_for_mask`` acts without ``return_sequences`` too: the output of a row is zero if the
  step read last is masked, which is the first one with ``go_backwards``. The states are unaffected.
- ``go_backwards`` returns the sequence in the order it was read, but the mask that goes on to the
  next layer is not reversed.
- LSTM and GRU draw one dropout mask for all gates; with ``recurrent_dropout`` one for each gate, of
  the input too. Masks are drawn once a call: those of the input, then those of the state.
- A Bidirectional sets ``zero_output_for_mask`` of both its layers to ``return_sequences``.
- States of stacked cells come back as one list for each cell, also where a cell has a single state.
- A mean over the steps of a row that has none is 0/0: NaN.
"""

import logging
import sys
import warnings

import common  # chooses the backend, before anything imports Keras  # noqa: I001
import fact_cases
import keras
import layer_cases
import model_cases
import more_score_cases
import recurrent_cases
import score_cases
import training_cases
import wrapper_cases

KERAS_VERSION = "3.15.1"


def keras_values():
    """Ungated layers, losses, metrics, optimizers, training, and facts of the API."""
    return {
        "layers": {**layer_cases.simple_rnn_cases(), **layer_cases.other_layer_cases()},
        "activations": layer_cases.activation_cases(),
        "stacks": layer_cases.stack_cases(),
        "losses": score_cases.loss_cases(),
        "metrics": score_cases.metric_cases(),
        "optimizers": score_cases.optimizer_cases(),
        "initializers": score_cases.initializer_cases(),
        "training": training_cases.training_cases(),
        "batches": training_cases.batch_cases(),
        "facts": fact_cases.fact_cases(),
    }


def recurrent_values():
    """Recurrent layers, their cells, and the layers around them, with gradients."""
    return {
        "layers": {
            **recurrent_cases.layer_cases(),
            **recurrent_cases.cell_layer_cases(),
            **wrapper_cases.bidirectional_cases(),
            **wrapper_cases.other_cases(),
        },
        "dropout": recurrent_cases.dropout_cases(),
        "noise": recurrent_cases.noise_cases(),
        "stateful": recurrent_cases.stateful_cases(),
        "cells": recurrent_cases.cell_cases(),
        "masks": wrapper_cases.mask_cases(),
        "facts": recurrent_cases.fact_cases(),
    }


def model_values():
    """Stacks and graphs, and what many updates make of them; configurations as in files."""
    return {
        "models": model_cases.model_cases(),
        "training": model_cases.training_cases(),
        "configs": model_cases.config_cases(),
        "model_configs": model_cases.model_config_cases(),
    }


def score_values():
    """Losses, metrics and optimizers that came later, and facts of them."""
    return {
        "losses": more_score_cases.loss_cases(),
        "metrics": more_score_cases.metric_cases(),
        "optimizers": more_score_cases.optimizer_cases(),
        "facts": more_score_cases.fact_cases(),
    }


def text_values():
    """Layers with a vocabulary."""
    import text_cases  # which are of TensorFlow

    return {"texts": text_cases.text_cases(), "lookups": text_cases.lookup_cases()}


def main():
    """Compute the files named on the command line, or all, and write them."""
    logging.getLogger("tensorflow").setLevel("ERROR")
    warnings.filterwarnings("ignore", message="Gradients do not exist")
    if keras.__version__ != KERAS_VERSION:
        raise SystemExit(f"Keras {KERAS_VERSION} is wanted, this is {keras.__version__}")
    makers = keras_values, recurrent_values, model_values, text_values, score_values
    files = {make.__name__: make for make in makers}
    for name in sys.argv[1:] or files:
        common.save(name, files[name]())


if __name__ == "__main__":
    main()
