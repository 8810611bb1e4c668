"""The dtypes that weights come in."""

import ml_dtypes
import numpy as np

# bfloat16 is no floating dtype to NumPy, so there is no asking NumPy.
FLOATING = tuple(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)))


def is_floating(dtype: np.dtype) -> bool:
  """Whether the dtype is one that weights come in, in either byte order."""
  return dtype.newbyteorder('=') in FLOATING
