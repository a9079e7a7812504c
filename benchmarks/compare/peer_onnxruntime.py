"""The model as an ONNX graph, run by ONNX Runtime, which predicts only."""

import os
from functools import partial

import numpy as np
import onnxruntime
from cells import CELLS, in_order, two_biases
from onnx import TensorProto, helper, numpy_helper
from protocol import Peer, by_batches, serve

# Layer: (operator, attributes)
OPERATORS = {
    "SimpleRNN": ("RNN", {}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"linear_before_reset": 1}),
}


def graph(layer, E, W, U, b, K, c):
    """Return the model's bytes. ONNX's layers want the steps first, and an axis of directions.

    Their bias is that of the input followed by that of the state.
    """
    cell = CELLS[layer]
    operator, attributes = OPERATORS[layer]
    W, U, b = (in_order(w, cell.keras, cell.onnx) for w in (W, U, two_biases(b)))
    constants = {
        "E": E,
        "W": W.T[None],
        "U": U.T[None],
        "b": b.reshape(1, -1),
        "K": K,
        "c": c,
        "zero": np.array([0], "int64"),
    }
    nodes = [
        helper.make_node("Transpose", ["ids"], ["ids_tb"], perm=[1, 0]),
        helper.make_node("Gather", ["E", "ids_tb"], ["x_tbd"]),
        helper.make_node(
            operator, ["x_tbd", "W", "U", "b"], ["", "h_1bh"], hidden_size=len(U), **attributes
        ),
        helper.make_node("Squeeze", ["h_1bh", "zero"], ["h_bh"]),
        helper.make_node("Gemm", ["h_bh", "K", "c"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "sentiment",
            [helper.make_tensor_value_info("ids", TensorProto.INT32, ["B", "T"])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["B", 1])],
            [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    return model.SerializeToString()


class OnnxRuntime(Peer):
    def start(self, layer, weights):
        self.sessions = {}
        for threads in self.thread_counts():
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self.sessions[threads] = onnxruntime.InferenceSession(
                graph(layer, *weights), options, providers=["CPUExecutionProvider"]
            )

    def thread_counts(self):
        return sorted({1, os.cpu_count()})

    def predictors(self):
        counts = self.thread_counts()
        return {f"threads: {n}": by_batches(partial(self.predict, n)) for n in counts}

    def predict(self, threads, x):
        return self.sessions[threads].run(["p"], {"ids": x})[0]

    def versions(self):
        return {"onnxruntime": onnxruntime.__version__}


if __name__ == "__main__":
    serve(OnnxRuntime)
