"""NumPy's types of arrays under the names that the whole zoo uses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
