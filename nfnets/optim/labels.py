"""A label for every parameter, told by its names."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def label_tree(label_of: Callable[[str, str], str], params: optax.Params) -> Any:
  """The structure of `params` (module path -> name -> array) with a label for every leaf.

  Args:
    label_of: (module path, name) -> label.
    params: in deeper trees the last key is the name and the others, joined by '/', the module path.
  """

  def label_at(path: Any, leaf: Any) -> str:
    del leaf
    *modules, name = (jax.tree_util.keystr((key,), simple=True) for key in path)
    return label_of('/'.join(modules), name)

  return jax.tree.map_with_path(label_at, params)
