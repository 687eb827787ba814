"""The feature store, format ``triher-features`` version 1.

A store is one HDF5 file for one cohort, one encoder and one recipe. Words in capitals as in RFC 2119.

**Root attributes.** ``format`` MUST be ``triher-features`` and ``version`` MUST be 1. ``encoder``, ``recipe`` and
``versions`` MUST be JSON objects. ``identity`` MUST be the SHA-256 of encoder and recipe in canonical JSON, without
the keys of the encoder that change no embedding (`COSMETIC`); it decides whether embeddings can be reused.
``content`` MUST be the SHA-256 over the patients' checksums in order. ``origin`` MUST be the SHA-256 over
``encoder``, ``recipe``, ``versions`` and ``identity`` as written, a zero byte after each, and the probe's bytes. Text
MUST be of fixed length and UTF-8 (the heap of variable-length strings has no checksum).

**Datasets** (all MUST be contiguous, without filters, little-endian).

- ``patient_id [patient]`` fixed-length UTF-8 bytes; ids are data, never names of groups or files.
- ``input_sha256 [patient]`` 64 hex digits: the slab that the embeddings were computed from; the first 32 are of
  the images alone, without mask and recipe, so that one exam under two ids is recognized.
- ``checksum [patient]`` 64 hex digits over all that the store holds of the patient; readers MUST check it.
- ``indptr [patient + 1]`` int64: the slices of patient *i* are rows ``indptr[i]:indptr[i + 1]``.
- ``slice_index [slice]`` int32, position in the source volume; ``area_mm2 [slice]`` float32, lesion area.
- ``views/<view>/embeddings [slice, feature]`` float32, one group for each phase or fusion.
- ``acquisition/<field> [patient]`` float64, facts about the source images (spacing, matrix, signal). Beside them
  ``encoder_saw`` MUST be there where the encoder was trained on patients whom it can tell apart: 1 for those whom
  the network that embedded them was trained on, 0.5 for those by whom its training was stopped, 0 for all others.
- ``probe [picture, feature]`` float32: the embedding of the fixed synthetic pictures, which shows drift.

Readers MUST refuse soft and external links, external or virtual data, and datasets larger than the file; they
MAY ignore datasets and attributes that they do not know. A store MUST appear under its name only when complete.
Writers SHOULD use the file layout of HDF5 1.8, in which the library checks its own metadata as it reads them.
"""

from triher.store_model import COSMETIC, Features, Header, Index, concatenate, identity
from triher.store_read import read_header, read_index, read_store
from triher.store_write import write_store

__all__ = [
    "COSMETIC", "Features", "Header", "Index", "concatenate", "identity", "read_header",
    "read_index", "read_store", "write_store",
]  # fmt: skip
