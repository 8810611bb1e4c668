"""What all tests share: four virtual CPU devices, and compiled programs kept for the next run."""

import os
from pathlib import Path

import pytest

COMPILED = Path(__file__).parents[1] / '.cache' / 'jax'
KERNELS = Path(__file__).parents[1] / '.cache' / 'nfnets'


def set_up_jax() -> None:
  """To be called before anything imports JAX; the processes that tests start inherit most of it."""
  COMPILED.mkdir(parents=True, exist_ok=True)
  COMPILED.chmod(0o700)  # who can write here can run code in the tests
  os.environ |= {
    'JAX_PLATFORMS': 'cpu',
    # Tests compile far more than they compute: without LLVM's optimizations they take 0.6 of it.
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} --xla_backend_optimization_level=0',
    'JAX_COMPILATION_CACHE_DIR': str(COMPILED),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    # Commands would compile the kernels first; the tests of these say otherwise.
    'NFNETS_NATIVE': '0',
  }

  import jax

  # Not inherited: a command run by a test sees one device, as on a plain machine.
  jax.config.update('jax_num_cpu_devices', 4)


set_up_jax()  # not in a hook: pytest imports the conftest.py of inner folders before it calls any

pytest_plugins = ('runs',)


@pytest.fixture
def kernels(monkeypatch):
  """Those for CPUs are in use while the test runs, compiled once for all tests and runs."""
  from nfnets.native import use_kernels

  monkeypatch.setenv('NFNETS_NATIVE', '1')
  monkeypatch.setenv('NFNETS_CACHE', str(KERNELS))
  monkeypatch.setattr('nfnets.native.library._in_use', False)
  assert use_kernels()
