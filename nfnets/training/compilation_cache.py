"""What was compiled, kept for the next start of a run."""

import jax
from jax.experimental.compilation_cache import compilation_cache

from nfnets.cache import private_folder


def keep_compiled(folder: str | None) -> None:
  """Makes JAX keep what takes it a second or more to compile, and look there first.

  Args:
    folder: made for its owner alone if there is none; None leaves JAX as its environment has it
      (`JAX_COMPILATION_CACHE_DIR`).

  Raises:
    InputError: the folder cannot be used, or somebody else can write to it: what it holds is run.
  """
  if folder is None:
    return
  path = private_folder(folder, 'compilation_cache')
  jax.config.update('jax_compilation_cache_dir', str(path))
  compilation_cache.reset_cache()  # JAX looks for its folder once
