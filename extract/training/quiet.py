"""Lightning, loaded when a network is trained, and kept from saying what means nothing here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from triher.errors import StopRun

_LOGGERS = ("lightning.pytorch", "lightning.fabric")
"""They say which devices there are, and advertise; all of it below a warning."""
_MEANINGLESS = (
    # Lightning 2.6 asks torch 2.10 and later in a way that these are going to drop.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Beginnings of warnings that say nothing here, as regular expressions."""


def load(module: str) -> ModuleType:
    """A module that is built on Lightning.

    Args:
        module: ``extract.training.learner``, say.

    Raises:
        StopRun: ``extra_missing``.
    """
    if find_spec("lightning") is None:
        message = "networks are trained with lightning, which is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[finetune]'")
    with quiet():
        return import_module(module)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning silent for the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        try:
            hush()
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def hush() -> None:
    """Keep Lightning silent for the rest of this process, or of a block that saves its warnings."""
    for beginning in _MEANINGLESS:
        warnings.filterwarnings("ignore", beginning)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
