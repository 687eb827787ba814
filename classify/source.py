"""Where the features come from: a feature store, or a table of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triher.errors import StopRun
from triher.feature_table import VIEW, as_features, read_feature_table
from triher.files import sha256_of_file
from triher.store import Features, Header, read_index, read_store


@dataclass(frozen=True)
class Source:
    """Features, what made them, and how their columns are called where they have names."""

    header: Header
    features: Features
    names: Mapping[str, tuple[str, ...]]
    """View -> names of its columns; empty for embeddings, which have numbers."""

    @property
    def is_table(self) -> bool:
        """Whether the features are a table's; two patients may have equal ones by chance."""
        return bool(self.names)


def is_store(path: Path) -> bool:
    """Whether a file is a feature store, by its name."""
    return path.suffix == ".h5"


def source_key(path: Path) -> list[str]:
    """What changes when the features do; cheap.

    Raises:
        StopRun: as `triher.store.read_index`; ``file_unreadable``.
    """
    if not path.is_file():
        raise StopRun("file_unreadable", f"there are no features at {path}")
    if not is_store(path):
        return [sha256_of_file(path)]
    index = read_index(path)
    return [index.identity, index.content]


def read_source(path: Path) -> Source:
    """Read a store, or a table.

    Raises:
        StopRun: as `triher.store.read_store` or `triher.feature_table.read_feature_table`.
    """
    if is_store(path):
        header, features = read_store(path)
        return Source(header, features, {})
    header, features, names = as_features(read_feature_table(path))
    return Source(header, features, {VIEW: names})
