"""A straight line through points."""

from typing import Any, NamedTuple

import numpy as np


class Line(NamedTuple):
  """The one of least squares."""

  slope: float
  intercept: float
  explained: float
  """Share of the variance of y that it explains, 1 for points on a line."""


def fit_line(x: Any, y: Any) -> Line:
  """Fits `y` [N] over `x` [N]."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  slope, intercept = np.polyfit(x, y, 1)
  left = np.var(y - slope * x - intercept)
  explained = 1 - left / np.var(y) if np.var(y) else 1.0
  return Line(float(slope), float(intercept), float(explained))
