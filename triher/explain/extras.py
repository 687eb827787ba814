"""What explanations need to be installed."""

from importlib.util import find_spec

from triher.errors import StopRun

_MODULES = ("captum", "shap", "umap")


def require_extras() -> None:
    """Check that the libraries of explanations are installed, before any work.

    Raises:
        StopRun: ``extra_missing``.
    """
    lacking = [name for name in _MODULES if find_spec(name) is None]
    if lacking:
        message = f"explanations need {', '.join(lacking)}, which is not installed"
        remedy = "pip install 'triher[extract,explain]', or take 'explain' out of the configuration"
        raise StopRun("extra_missing", message, remedy=remedy)
