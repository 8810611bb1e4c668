"""What the test bed of the claims trains."""

from typing import Any, Protocol

import jax


class Network(Protocol):
  """What can be trained: hashable, equal where it is the same function.  A `Model` is one."""

  def init(self, rng: jax.Array) -> tuple[Any, Any]:
    """Fresh parameters and state."""
    ...

  def apply(
    self, params: Any, state: Any, rng: jax.Array | None, images: jax.Array, *, is_training: bool
  ) -> tuple[dict[str, jax.Array], Any]:
    """Outputs, 'logits' [N, classes] among them, and the new state."""
    ...
