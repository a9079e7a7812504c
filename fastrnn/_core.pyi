"""The door to the C kernels: types; shapes stand in the functions' docstrings."""

from collections.abc import Sequence
from typing import Literal

from numpy import float32, float64, int32, int64
from numpy.typing import NDArray

_Real = NDArray[float32] | NDArray[float64]
_Activation = Literal[
    "linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "relu6", "leaky_relu", "elu", "selu",
    "exponential", "softplus", "softsign",
]
_AnyActivation = _Activation | Literal["silu", "gelu"]

def available_isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def build_info() -> dict[str, str]: ...
def free_spare_memory() -> None: ...
def known_prefixes() -> tuple[int, int, int]: ...

class Block:
    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Ids:
    n: int
    @property
    def rows(self) -> memoryview: ...
    @property
    def places(self) -> memoryview: ...
    def __init__(self, ids: NDArray[int32], V: int, every: bool = False) -> None: ...

class Sweep:
    B: int
    T: int
    H: int
    ids: Ids | None
    @property
    def steps(self) -> int: ...
    @property
    def runs(self) -> Block: ...

def project(
    x: _Real,
    W: _Real,
    bias: _Real | None,
    z: _Real,
    runs: NDArray[int64] | None = None,
    ids: Ids | None = None,
) -> None: ...
def project_dx(dz: _Real, W: _Real, dx: _Real, runs: NDArray[int64] | None = None) -> None: ...
def project_dW(
    x: _Real,
    dz: _Real,
    dW: _Real,
    dbias: _Real | None,
    runs: NDArray[int64] | None = None,
    rows: NDArray[int32] | None = None,
) -> None: ...
def gather_rows(rows: NDArray[int32], table: _Real, out: _Real) -> None: ...
def add_rows(rows: NDArray[int32], values: _Real, table: _Real) -> None: ...
def scatter_rows(ids: Ids, dz: _Real, out: _Real) -> None: ...
def activate(activation: _AnyActivation, z: _Real, y: _Real) -> None: ...
def activate_backward(
    activation: _AnyActivation, z: _Real, y: _Real, dy: _Real, dz: _Real
) -> None: ...
def softmax(z: _Real, y: _Real) -> None: ...
def softmax_backward(y: _Real, dy: _Real, dz: _Real) -> None: ...
def sum_squares(array: _Real) -> float: ...
def update(
    rule: Literal["sgd", "rmsprop", "adam"],
    value: _Real,
    grad: _Real,
    slot_a: _Real | None,
    slot_b: _Real | None,
    slot_c: _Real | None,
    numbers: tuple[float, ...],
    flag: bool,
    rows: NDArray[int32] | None = None,
    values: _Real | None = None,
    table: int = 0,
    V: int = 0,
) -> None: ...
def loss(
    kind: Literal[
        "binary_crossentropy", "mean_squared_error", "mean_absolute_error",
        "categorical_crossentropy", "sparse_categorical_crossentropy",
    ],
    target: _Real | NDArray[int64],
    output: _Real,
    weight: _Real,
    losses: _Real,
    doutput: _Real,
    from_logits: bool,
    epsilon: float,
) -> None: ...
def walks(B: int) -> int: ...
def sweep_forward(
    kind: Literal["simple_rnn", "lstm", "gru"],
    activation: _Activation,
    recurrent_activation: _Activation,
    reset_after: bool,
    B: int,
    T: int,
    xz: _Real | tuple[_Real, _Real, _Real | None],
    ids: Ids | None,
    U: _Real,
    first: Sequence[_Real] | None,
    start: NDArray[int64] | None,
    stop: NDArray[int64] | None,
    share: bool,
    y: _Real | None,
    last: Sequence[_Real],
    repeat: bool,
    keep: bool = True,
    bias: _Real | None = None,
    noise: _Real | None = None,
) -> Sweep: ...
def sweep_backward(
    sweep: Sweep,
    U: _Real,
    dy: _Real | None,
    dlast: Sequence[_Real | None] | None,
    dxz: _Real | None,
    dfirst: Sequence[_Real],
    dU: _Real,
    dbias: _Real | None = None,
    projection: tuple[_Real, _Real, _Real, _Real, _Real | None] | None = None,
) -> None: ...

class Program:
    static_size: int
    def __init__(
        self,
        widths: Sequence[int],
        statics: int,
        code: Sequence[tuple[str, int, int, int, int | str, int, int, int]],
        loads: Sequence[tuple[int, bool, bool]],
        stores: Sequence[tuple[int, bool, bool]],
        carries: Sequence[tuple[int, int]],
        matrices: Sequence[tuple[int, int, bool]],
    ) -> None: ...
    def run(
        self,
        B: int,
        T: int,
        statics: _Real,
        matrices: list[_Real],
        loads: Sequence[_Real],
        stores: Sequence[_Real],
        first: Sequence[_Real | None],
        last: Sequence[_Real | None],
        start: NDArray[int64] | None = None,
        stop: NDArray[int64] | None = None,
        reverse: bool = False,
    ) -> None: ...
