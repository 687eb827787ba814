"""The axes, named once, and the array types built from them.

Axis names used in every annotation:

- ``phase``: position in the configured list of DCE phases, pre-contrast first
- ``slice``, ``row``, ``col``: voxel axes of a volume; ``slice`` runs along the acquisition's slice axis
- ``patient``: row of the cohort, in the order of the table
- ``feature``: column of an embedding
- ``class``: position in the scheme, see `triher.labels.SCHEMES`
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real, Shaped, UInt8

Volume: TypeAlias = Real[np.ndarray, "slice row col"]
Phases: TypeAlias = Real[np.ndarray, "phase slice row col"]
Mask: TypeAlias = Bool[np.ndarray, "slice row col"]
Pictures: TypeAlias = UInt8[np.ndarray, "slice 3 row col"]
Embeddings: TypeAlias = Float[np.ndarray, "slice feature"]
Vectors: TypeAlias = Float[np.ndarray, "patient feature"]
Probabilities: TypeAlias = Float64[np.ndarray, "patient class"]
Labels: TypeAlias = Int[np.ndarray, " patient"]
Scores: TypeAlias = Real[np.ndarray, " patient"]
Names: TypeAlias = Shaped[np.ndarray, " patient"]
