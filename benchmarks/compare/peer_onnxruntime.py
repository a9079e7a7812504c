"""ONNX Runtime, which predicts only: the model, and a layer by itself, as graphs."""

import os
from functools import partial

import numpy as np
import onnxruntime
from cells import CELLS, in_order, two_biases
from onnx import TensorProto, helper, numpy_helper
from protocol import LayerPeer, ModelPeer, serve

# Layer: (operator, attributes)
OPERATORS = {
    "SimpleRNN": ("RNN", {}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"linear_before_reset": 1}),
}
THREADS = sorted({1, os.cpu_count()})


def recurrent(layer, x, outputs, W, U, b):
    """Return the node of a layer, and its constants.

    ONNX's layers want the steps first, and an axis of directions. Their bias is that of the input
    followed by that of the state.
    """
    cell = CELLS[layer]
    operator, attributes = OPERATORS[layer]
    W, U, b = (in_order(w, cell.keras, cell.onnx) for w in (W, U, two_biases(b)))
    node = helper.make_node(operator, [x, "W", "U", "b"], outputs, hidden_size=len(U), **attributes)
    return node, {"W": W.T[None], "U": U.T[None], "b": b.reshape(1, -1)}


def sessions(nodes, constants, input_, output):
    """Return a session of a graph for each number of threads.

    Its input and its output are (name, type, shape).
    """
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "compared",
            [helper.make_tensor_value_info(*input_)],
            [helper.make_tensor_value_info(*output)],
            [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    ).SerializeToString()
    made = {}
    for threads in THREADS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        made[threads] = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
    return made


class Model(ModelPeer):
    def start(self, layer, weights):
        E, W, U, b, K, c = weights
        node, constants = recurrent(layer, "x_tbd", ["", "h_1bh"], W, U, b)
        nodes = [
            helper.make_node("Transpose", ["ids"], ["ids_tb"], perm=[1, 0]),
            helper.make_node("Gather", ["E", "ids_tb"], ["x_tbd"]),
            node,
            helper.make_node("Squeeze", ["h_1bh", "zero"], ["h_bh"]),
            helper.make_node("Gemm", ["h_bh", "K", "c"], ["z"]),
            helper.make_node("Sigmoid", ["z"], ["p"]),
        ]
        constants |= {"E": E, "K": K, "c": c, "zero": np.array([0], "int64")}
        self.sessions = sessions(
            nodes,
            constants,
            ("ids", TensorProto.INT32, ["B", "T"]),
            ("p", TensorProto.FLOAT, ["B", 1]),
        )

    def batch_predictors(self):
        return {f"threads: {n}": partial(self.predict, n) for n in THREADS}

    def predict(self, threads, x):
        return self.sessions[threads].run(["p"], {"ids": x})[0]


class Layer(LayerPeer):
    def start(self, layer, weights, x, dy):
        self.x = np.ascontiguousarray(x.swapaxes(0, 1))
        self.y_shape = (len(self.x), 1, *dy.shape[::2])  # (T, 1, B, H)
        node, constants = recurrent(layer, "x", ["y"], *weights)
        self.sessions = sessions(
            [node],
            constants,
            ("x", TensorProto.FLOAT, ["T", "B", "D"]),
            ("y", TensorProto.FLOAT, ["T", 1, "B", "H"]),
        )

    def forwards(self):
        ways = {f"threads: {n}": partial(self.forward, n) for n in THREADS}
        return ways | {f"threads: {n}, bound": self.bound(n) for n in THREADS}

    def forward(self, threads):
        return self.sessions[threads].run(["y"], {"x": self.x})

    def bound(self, threads):
        """Return a function like `forward` whose input and output stay where they are."""
        session = self.sessions[threads]
        y = np.empty(self.y_shape, "float32")
        binding = session.io_binding()
        binding.bind_cpu_input("x", self.x)
        binding.bind_output("y", "cpu", 0, y.dtype, y.shape, y.ctypes.data)

        def forward():
            session.run_with_iobinding(binding)
            return (y,)

        return forward

    def in_keras_layout(self, values):
        return [y[:, 0].swapaxes(0, 1) for y in values]


if __name__ == "__main__":
    serve({"onnxruntime": onnxruntime.__version__}, Model, Layer)
