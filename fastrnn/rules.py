"""The rules of `Engine.update` that have kernels, and the order in which these take what belongs
to them."""

__all__ = ["RULES"]

# Rule: its slots, its numbers, and its flag.
RULES = {
    "sgd": (("momentum", None, None), ("learning_rate", "momentum"), "nesterov"),
    "rmsprop": (
        ("velocity", "momentum", "average_gradient"),
        ("learning_rate", "rho", "momentum", "epsilon"), "centered",
    ),
    "adam": (
        ("momentum", "velocity", "velocity_hat"),
        ("learning_rate", "beta_1", "beta_2", "epsilon"), "amsgrad",
    ),
}  # fmt: skip
