"""Objects made from a name, a config or an instance: the one mechanism behind every ``get``.

Initializers, regularizers, constraints, losses, metrics and optimizers are `Configurable`: their
arguments are kept under their own names, so that ``get_config`` can read them off.  Each kind has a
`Registry`, which turns what a user writes, ``"glorot_uniform"``, into an object and back into the
dict that Keras writes into its files.
"""

from __future__ import annotations

from fastrnn.names import unknown

__all__ = ["Configurable", "Registry"]

# Set in a function's code flags where it takes **kwargs.
_TAKES_KEYWORDS = 0x08


def _arguments(cls):
    """Names of the constructor's arguments; ``**kwargs`` stands for those of the next class."""
    names = []
    for base in cls.__mro__:
        code = getattr(base.__dict__.get("__init__"), "__code__", None)
        if code is not None:
            names += code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            if not code.co_flags & _TAKES_KEYWORDS:
                break
    return names


class Configurable:
    """Something whose constructor's arguments are kept as attributes of the same names.

    Examples
    --------
    >>> class Shift(Configurable):
    ...     def __init__(self, by=1.0):
    ...         self.by = by
    >>> Shift(2.0).get_config()
    {'by': 2.0}
    >>> Shift.from_config({"by": 3.0}).by
    3.0
    """

    def get_config(self):
        """The arguments that make an equal object, as a dict."""
        return {name: getattr(self, name) for name in _arguments(type(self))}

    @classmethod
    def from_config(cls, config):
        """A new object from `get_config`'s dict."""
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items() if v is not None)
        return f"<{type(self).__name__}({arguments})>"


def _plain(name):
    """What is compared: ``"glorot_uniform"``, ``"GlorotUniform"`` -> ``"glorotuniform"``."""
    return name.lower().replace("_", "")


class Registry:
    """The classes of one kind, and the ways to name them.

    Parameters
    ----------
    kind : str
        What to call one in messages: ``"initializer"``.
    module : str
        Where Keras keeps them: ``"keras.initializers"``.

    Examples
    --------
    >>> shapes = Registry("shape", "keras.shapes")
    >>> @shapes.add("square", "quadrat")
    ... class Square(Configurable):
    ...     pass
    >>> type(shapes.get("quadrat")).__name__
    'Square'
    >>> shapes.serialize(shapes.get("square"))["class_name"]
    'Square'
    """

    def __init__(self, kind, module):
        self.kind = kind
        self.module = module
        self._names = []  # as they are shown
        self._classes = {}  # by plain name, and by function where one stands for a class

    def add(self, *aliases):
        """A class decorator: the class is known by its own name and by ``aliases``.

        The first alias is the one shown in messages.  Functions may be aliases too.
        """

        def register(cls):
            self._names.append(aliases[0])
            for alias in (cls.__name__, *aliases):
                self._classes[_plain(alias) if isinstance(alias, str) else alias] = cls
            return cls

        return register

    def find(self, name):
        """The class of that name.

        Raises
        ------
        ValueError
            If there is none; the message names the nearest.
        """
        cls = self._classes.get(_plain(name))
        if cls is None:
            raise ValueError(unknown(self.kind, name, self._names))
        return cls

    def get(self, identifier):
        """The object that ``identifier`` stands for.

        Parameters
        ----------
        identifier : None, str, dict, class or object
            A name (of the class or in snake case), a dict as `serialize` makes it, a class, an
            object or a function; None gives None.

        Raises
        ------
        ValueError
            If the name is not known; the message names the nearest.
        TypeError
            If it is nothing of the above.
        """
        if identifier is None or isinstance(identifier, Configurable):
            return identifier
        if isinstance(identifier, str):
            return self.find(identifier)()
        if isinstance(identifier, dict):
            return self.deserialize(identifier)
        if isinstance(identifier, type):
            return identifier()
        if callable(identifier):
            cls = self._classes.get(identifier)
            return identifier if cls is None else cls()
        raise TypeError(
            f"{self.kind}: expected a name, a config, an object or None; got {identifier!r}."
        )

    def serialize(self, thing):
        """``thing`` as the dict that Keras writes; None stays None.

        Of a function it has the name only.
        """
        if thing is None:
            return None
        if not hasattr(thing, "get_config"):
            name = getattr(thing, "__name__", type(thing).__name__)
            return {
                "module": thing.__module__, "class_name": "function", "config": name,
                "registered_name": name,
            }
        cls = type(thing)
        known = self._classes.get(_plain(cls.__name__)) is cls
        return {
            "module": self.module if known else cls.__module__,
            "class_name": cls.__name__,
            "config": thing.get_config(),
            "registered_name": None if known else cls.__name__,
        }

    def deserialize(self, config):
        """The object of a dict made by `serialize` (``class_name`` and ``config`` will do).

        Raises
        ------
        ValueError
            If it is no such dict, or the class (or function) is not known here.
        """
        if config is None:
            return None
        if not isinstance(config, dict) or "class_name" not in config:
            raise ValueError(
                f"{self.kind}: expected a dict with 'class_name' and 'config'; got {config!r}."
            )
        if config["class_name"] == "function":
            return self.find(config["config"])()
        return self.find(config["class_name"]).from_config(config.get("config") or {})
