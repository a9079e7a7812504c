"""NumPy's functions of one number or two that have kernels, by name."""

__all__ = ["ARITHMETIC", "COMPARISONS", "LOGICAL", "UNARY"]

UNARY = (
    "negative", "absolute", "sign", "sqrt", "square", "exp", "expm1", "log", "log1p", "tanh",
    "reciprocal",
)
ARITHMETIC = ("add", "subtract", "multiply", "divide", "power", "maximum", "minimum")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGICAL = ("logical_and", "logical_or")  # of booleans, as "logical_not"
