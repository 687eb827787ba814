"""The libraries of the extra ``explain``, loaded when they are needed: they take seconds."""

import warnings
from importlib import import_module
from types import ModuleType

from triher.errors import StopRun


def load(name: str, purpose: str) -> ModuleType:
    """A library of the extra.

    Args:
        name: of the module.
        purpose: what cannot be had without it.

    Raises:
        StopRun: ``extra_missing``.
    """
    try:
        with warnings.catch_warnings():  # of what these call in other libraries as they start
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        message = f"{purpose} need {name}, and {error.name} is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[explain]'") from error
