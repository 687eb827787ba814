"""Types and shapes checked as before in less time; to be imported before the modules that are checked.

What the jaxtyping of the command line does to each function is needed for those that name shapes alone.
"""

import inspect
from functools import partial
from importlib.machinery import SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any
from unittest import mock

import jaxtyping
from beartype import beartype
from jaxtyping import _import_hook

_with_shapes = jaxtyping.jaxtyped
_MAY_NAME_SHAPES = ("jaxtyping", "~", "'")  # an array, a type variable, a name in quotation marks


def _names_shapes(function: FunctionType) -> bool:
    """Whether an annotation is an array's, or may stand for one."""
    hints = function.__annotations__.values()
    return any(isinstance(hint, str) or any(part in repr(hint) for part in _MAY_NAME_SHAPES) for hint in hints)


def _checked(target: Any = None, **options: Any) -> Any:
    """Check types, and shapes where there are any: two wrappers and a table of sizes fewer a call."""
    if target is None:
        return partial(_checked, **options)
    plain = isinstance(target, FunctionType) and not inspect.isgeneratorfunction(target) and not _names_shapes(target)
    return beartype(target) if plain and "typechecker" in options else _with_shapes(target, **options)


def _exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
    """Run a module of ours, and leave the libraries that it imports the names of their compiled files."""
    name = partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())  # type: ignore[attr-defined]
    with mock.patch("importlib._bootstrap_external.cache_from_source", name):
        code = loader.get_code(module.__name__)
    exec(code, module.__dict__)  # noqa: S102 - what every loader does


jaxtyping.jaxtyped = _checked
_import_hook._JaxtypingLoader.exec_module = _exec_module
