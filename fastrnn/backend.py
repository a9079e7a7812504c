"""Settings of the whole process, by the names that they have in ``keras.backend``."""

from fastrnn.config import backend, epsilon, floatx, set_floatx
from fastrnn.utils import clear_session

__all__ = ["backend", "clear_session", "epsilon", "floatx", "set_floatx"]
