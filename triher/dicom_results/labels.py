"""What every object of ours says about itself: who made it, that it is for research, and identifiers of its own."""

import hashlib
import uuid
from dataclasses import dataclass

import numpy as np
from highdicom.sr import AlgorithmIdentification, CodedConcept
from pydicom.dataset import Dataset

from triher import __version__

MAKER = "TriHER"
NO_UNITS = CodedConcept("1", "UCUM", "no units")
NOTICE = "RESEARCH USE ONLY - not for diagnosis"
SERIES_NUMBERS = {"map": 9801, "picture": 9802, "report": 9803}
"""Kind of object -> its series' number, behind those of scanners."""
_NAMES = uuid.UUID("6f3b9f0e-3d0f-5a52-9d0e-5a1d0c6a3b11")  # namespace of our identifiers (RFC 4122, version 5)
_SCHEME = "99TRIHER"


@dataclass(frozen=True)
class Origin:
    """The model that said it."""

    bundle_sha256: str
    encoder: str
    head: str

    def algorithm(self) -> AlgorithmIdentification:
        """As a structured report names it."""
        parameters = [f"bundle SHA-256 {self.bundle_sha256}", f"encoder {self.encoder}", f"head {self.head}"]
        return AlgorithmIdentification(MAKER, __version__, parameters)


def own_uid(*parts: str) -> str:
    """A UID that is equal whenever it is made of equal parts (PS3.5 B.2).

    >>> own_uid("study", "map") == own_uid("study", "map") != own_uid("study", "report")
    True
    """
    return f"2.25.{uuid.uuid5(_NAMES, '|'.join(parts)).int}"


def digest_of(*arrays: np.ndarray) -> str:
    """What an object says, as a part of its UID: other pixels must have another one (PS3.5 9.1).

    Without it, a map by another method, or of another version, would carry the UID of the earlier one, which an
    archive keeps instead.
    """
    found = hashlib.sha256(__version__.encode())
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def own_code(value: str, meaning: str) -> CodedConcept:
    """A concept for which no public code is established."""
    return CodedConcept(value, _SCHEME, meaning)


def describe(made: Dataset, kind: str, header: Dataset) -> None:
    """Say on an object of ours what its series is, and which side of the body its source shows (PS3.3 C.7.3.1)."""
    made.SeriesDescription = f"{MAKER} HER2 {kind} - RESEARCH USE ONLY"
    if kind != "report":
        made.Laterality = header.get("Laterality", "")
