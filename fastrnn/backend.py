"""Settings of the whole process, by the names that they have in ``keras.backend``."""

from fastrnn.config import epsilon, floatx, set_floatx
from fastrnn.utils import clear_session

__all__ = ["clear_session", "epsilon", "floatx", "set_floatx"]
