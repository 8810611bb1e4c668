"""The smallest network under a name, for as long as these tests run."""

from collections.abc import Iterator

import pytest
from runs import MICRO, in_the_zoo


@pytest.fixture(autouse=True)
def micro() -> Iterator[str]:
  """The name under which configs find the smallest network."""
  with in_the_zoo():
    yield MICRO
