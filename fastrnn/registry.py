"""Objects made from a name, a config or an instance: the one mechanism behind every ``get``.

Initializers, regularizers, constraints, losses, metrics and optimizers are `Configurable`: their
arguments are kept under their own names, so that ``get_config`` can read them off.  Each kind has a
`Registry`, which turns what a user writes, ``"glorot_uniform"``, into an object and back into the
dict that Keras writes into its files.
"""

from __future__ import annotations

import contextlib
import contextvars

from fastrnn.names import nearest, unknown

__all__ = [
    "Configurable", "CustomObjectScope", "Registry", "custom_object_scope", "get_custom_objects",
    "own", "register_keras_serializable", "registered_name", "with_own",
]

# A variable, so that what is made inside of something else need not be told.
_own = contextvars.ContextVar("own", default=None)
# What is known in the whole process, by its name in files, "package>name".
_registered = {}


@contextlib.contextmanager
def custom_object_scope(custom_objects):
    """Inside, classes and functions of one's own are known by name, as `fastrnn`'s are.

    Parameters
    ----------
    custom_objects : dict of str to class or function, or None

    Raises
    ------
    TypeError
        If it is no dict.

    Examples
    --------
    >>> from fastrnn import layers
    >>> class Linear(layers.Dense):
    ...     pass
    >>> with custom_object_scope({"Linear": Linear}):
    ...     layers.deserialize({"class_name": "Linear", "config": {"units": 3}}).units
    3
    """
    if not isinstance(custom_objects, (dict, type(None))):
        raise TypeError(
            f"custom_objects must be a dict of classes by name; got {custom_objects!r}."
        )
    before = _own.set((_own.get() or {}) | (custom_objects or {}))
    try:
        yield
    finally:
        _own.reset(before)


CustomObjectScope = custom_object_scope  # Keras has this name too


def get_custom_objects():
    """All classes and functions of one's own that are known in the whole process, by name.

    Returns
    -------
    dict
        What is put into it is known from then on.

    Examples
    --------
    >>> from fastrnn import layers
    >>> class Broad(layers.Dense):
    ...     pass
    >>> get_custom_objects()["Broad"] = Broad
    >>> layers.deserialize({"class_name": "Broad", "config": {"units": 3}}).units
    3
    """
    return _registered


def register_keras_serializable(package="Custom", name=None):
    """A decorator for classes and functions of one's own: they are known when models are loaded.

    Parameters
    ----------
    package : str, default "Custom"
        So that several may have one name: in files it is called ``package>name``.
    name : str, optional
        Default: its own.

    Raises
    ------
    ValueError
        For a class without ``get_config``.

    Examples
    --------
    >>> from fastrnn import layers
    >>> @register_keras_serializable("mine")
    ... class Plain(layers.Dense):
    ...     pass
    >>> layers.deserialize(layers.serialize(Plain(3))).units
    3
    """
    def register(thing):
        if isinstance(thing, type) and not hasattr(thing, "get_config"):
            raise ValueError(
                f"register_keras_serializable: class {thing.__name__} has no get_config(); write "
                "it, so that it gives the arguments that make an equal object."
            )
        _registered[f"{package}>{name or thing.__name__}"] = thing
        return thing

    return register


def registered_name(thing):
    """What a class or function of one's own is called in files."""
    plain = getattr(thing, "__name__", type(thing).__name__)
    return next((name for name, known in _registered.items() if known is thing), plain)


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


def own(name, full_name=None):
    """What `custom_object_scope` has under that name, or what is registered under the full one.

    None if there is neither.
    """
    scope = _own.get() or {}
    found = scope.get(name, scope.get(full_name))
    return _registered.get(full_name, _registered.get(name)) if found is None else found


def with_own(value):
    """``value`` with what `own` has in place of names and configs, in lists and dicts too."""
    if isinstance(value, (list, tuple)):
        return [with_own(part) for part in value]
    if isinstance(value, str):
        return value if own(value) is None else own(value)
    if not isinstance(value, dict):
        return value
    name, config, full_name = (
        value.get(key) for key in ("class_name", "config", "registered_name")
    )
    if name == "function" and isinstance(config, str):
        found = own(config)
        return value if found is None else found
    if isinstance(name, str) and (found := own(name, full_name)) is not None:
        return found.from_config(config)
    return {key: with_own(part) if key != "config" else part for key, part in value.items()}


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

    def missing(self, method, what):
        """The error for a method that a class of one's own leaves out, and what it must do."""
        return NotImplementedError(
            f"{type(self).__name__}: the class has no {method}; write it, so that it {what}."
        )

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

    def find(self, name, full_name=None):
        """The class of that name, or a function of one's own (see `custom_object_scope`).

        ``full_name``: the one it has in files, if it is known (see `register_keras_serializable`).

        Raises
        ------
        ValueError
            If there is none; the message names the nearest.
        """
        found = self._found(name, full_name)
        if found is None:
            raise ValueError(unknown(self.kind, name, self._names))
        return found

    def _found(self, name, full_name=None):
        found = own(name, full_name)
        return self._classes.get(_plain(name)) if found is None else found

    def _named(self, name):
        """The object of that name, made without arguments."""
        found = self.find(name)
        return found() if isinstance(found, type) else found

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
            return self._named(identifier)
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
            ours = str(thing.__module__).partition(".")[0] == __package__
            return {
                # So Keras says that it is one of its own functions.
                "module": "builtins" if ours else thing.__module__, "class_name": "function",
                "config": registered_name(thing), "registered_name": registered_name(thing),
            }
        cls = type(thing)
        known = self._classes.get(_plain(cls.__name__)) is cls
        return {
            "module": self.module if known else cls.__module__,
            "class_name": cls.__name__,
            "config": thing.get_config(),
            "registered_name": None if known else registered_name(cls),
        }

    def deserialize(self, config, custom_objects=None):
        """The object of a dict made by `serialize` (``class_name`` and ``config`` will do).

        Layers come without weights.

        Parameters
        ----------
        config : dict, or None
        custom_objects : dict of str to class or function, optional
            Those of one's own, by name; see `custom_object_scope`.

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
        with custom_object_scope(custom_objects):
            return self._deserialized(
                config["class_name"], config.get("config") or {}, config.get("registered_name")
            )

    def _deserialized(self, name, config, full_name):
        if name == "function":
            found = self._found(str(config))
            if found is None:
                raise self._missing(f"{self.kind}: the function {config!r}", config)
            return found() if isinstance(found, type) else found
        title = isinstance(config, dict) and config.get("name")
        found = self._found(str(name), full_name)
        if found is None:
            what = f"{self.kind} {title!r} is a {name}" if title else f"{self.kind}: {name!r}"
            raise self._missing(what, name)
        try:
            return found.from_config(config)
        except Exception as error:
            if title:
                error.add_note(f"{self.kind} {title!r} ({name}) cannot be made from its config")
            raise

    def _missing(self, what, name):
        """The error for a class or function, in words and by name, that is not known here."""
        return ValueError(
            f"{what}, which fastrnn does not have.{nearest(name, self._names)} If it is one of "
            "your own, give it in custom_objects."
        )
