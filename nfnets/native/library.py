"""The kernels as a library: compiled once on each machine, and known to XLA from then on."""

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax

from nfnets import accelerators
from nfnets.cache import cache_folder, private_folder
from nfnets.errors import InputError

TARGETS = (
  'nfnets_activated_convolution',
  'nfnets_activated_product',
  'nfnets_convolution',
  'nfnets_convolution_input_gradient',
  'nfnets_convolution_kernel_gradient',
  'nfnets_product',
  'nfnets_summed_product',
  'nfnets_stack',
  'nfnets_standardization',
  'nfnets_standardization_gradient',
  'nfnets_sum_squares',
  'nfnets_unstack',
  'nfnets_update',
)
"""Functions of the library, under the names by which programs call them."""

SWITCH = 'NFNETS_NATIVE'
"""Of the environment variable that says 0 where the kernels are not wanted."""

_SOURCES = Path(__file__).parent / 'kernels'
_FLAGS = ('-std=c++20', '-O3', '-march=native', '-shared', '-fPIC', '-pthread')
_COMPILERS = ('c++', 'g++', 'clang++')
_OFF = {'0', 'false', 'no', 'off'}
_SECONDS = 300

_log = logging.getLogger(__name__)
_in_use = False


def use_kernels() -> bool:
  """Has programs that are compiled for CPUs from here on use the kernels.

  For commands, at their start.  The first call on a machine compiles them, which takes some
  seconds, into `cache_folder()/native`; later ones load what is there.  What `jax.jit` compiled
  before stays as it is, and so do programs that are exported: others can run those.

  Returns:
    Whether they are in use.  Not so without a C++ compiler (`$CXX`, or one of the usual names),
    where it fails, which is logged, where `NFNETS_NATIVE=0` is set, on a machine with an
    accelerator unless `JAX_PLATFORMS=cpu`, or on Windows: then XLA computes all.
  """
  global _in_use
  wanted = os.environ.get(SWITCH, '').strip().lower() not in _OFF
  served = os.name == 'posix' and not accelerators.may_be_used()
  _in_use = wanted and served and _load()
  return _in_use


def are_in_use() -> bool:
  """Whether programs for CPUs are compiled with the kernels."""
  return _in_use


@functools.cache
def _load() -> bool:
  try:
    compiler = _compiler()
    if compiler is None:
      return False
    library = ctypes.CDLL(str(_compiled(compiler)))
  except (OSError, ValueError, subprocess.SubprocessError, InputError) as error:
    _log.warning('kernels for this CPU cannot be compiled, so XLA computes all: %s', _cause(error))
    return False
  for target in TARGETS:
    capsule = jax.ffi.pycapsule(getattr(library, target))
    jax.ffi.register_ffi_target(target, capsule, platform='cpu')
  return True


def _compiler() -> tuple[str, ...] | None:
  """A command, such as `c++` or `ccache g++`; None where there is none.

  Raises:
    InputError: `$CXX` names a program that there is not.
  """
  own = shlex.split(os.environ.get('CXX', ''))
  if own and shutil.which(own[0]) is None:
    raise InputError(f'CXX={os.environ["CXX"]!r} is not found: name a C++ compiler, or unset it')
  if own:
    return tuple(own)
  found = next(filter(None, map(shutil.which, _COMPILERS)), None)
  return None if found is None else (found,)


def _compiled(compiler: tuple[str, ...]) -> Path:
  """The library; compiled if it is not there, and in its place only when it is whole."""
  library = _place(compiler)
  folder = private_folder(library.parent, 'native kernels')
  if not library.exists():
    with tempfile.TemporaryDirectory(dir=folder) as workshop:
      fresh = Path(workshop) / library.name
      includes = ('-isystem', jax.ffi.include_dir())
      sources = map(str, sorted(_SOURCES.glob('*.cc')))
      command = (*compiler, *_FLAGS, *includes, *sources, '-o', str(fresh))
      subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
      fresh.replace(library)
  return library


def _place(compiler: tuple[str, ...]) -> Path:
  """Where the library is kept: another place for other sources, compilers, CPUs and jaxlibs."""
  version = subprocess.run(
    (*compiler, '--version'), check=False, capture_output=True, text=True, timeout=_SECONDS
  )
  digest = hashlib.sha256()
  for source in sorted(_SOURCES.iterdir()):
    digest.update(source.read_bytes())
  for text in (
    *compiler,
    *_FLAGS,
    version.stdout,
    _instructions(),
    importlib.metadata.version('jaxlib'),
  ):
    digest.update(text.encode())
  return cache_folder() / 'native' / f'kernels-{digest.hexdigest()[:16]}.so'


def _instructions() -> str:
  """What tells CPUs from one another that run different programs."""
  try:
    lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
  except OSError:
    return f'{platform.machine()} {platform.processor()}'
  told = ('flags', 'Features', 'model name')
  return '\n'.join(sorted({line for line in lines if line.startswith(told)}))


def _cause(error: Exception) -> str:
  """One line of what a compiler had to say."""
  output = error.stderr if isinstance(error, subprocess.CalledProcessError) else ''
  lines = [line for line in (output or '').splitlines() if 'error' in line]
  return lines[0] if lines else str(error)
