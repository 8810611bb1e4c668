"""Package metadata of nfnets; the settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
  """Reads `__version__` from the source, so that building needs none of the dependencies."""
  source = (HERE / 'nfnets' / '__init__.py').read_text(encoding='utf-8')
  found = re.search(r"^__version__ = '([^']+)'$", source, re.MULTILINE)
  if found is None:
    raise RuntimeError("nfnets/__init__.py has no line __version__ = '...'")
  return found[1]


def long_description() -> str:
  """The README, once there is one."""
  readme = HERE / 'README.md'
  return readme.read_text(encoding='utf-8') if readme.exists() else ''


CORE = [
  'dm-haiku>=0.0.16',
  'jax>=0.10',
  'jaxlib>=0.10',
  'ml_dtypes>=0.5',
  'numpy>=2.0',
  'optax>=0.2.8',
]

TRAIN = [
  'absl-py>=2.1',
  'array-record>=0.8',
  'google-crc32c>=1.7',
  'grain>=0.2.18',
  'importlib_resources>=6.0',  # tensorflow-datasets imports it without requiring it
  'matplotlib>=3.9',
  'ml_collections>=1.1',
  'opencv-python-headless>=4.11',
  'orbax-checkpoint>=0.12',
  'pillow>=11.0',
  'simplejpeg>=1.8',
  'tensorboardX>=2.6.4',
  'tensorflow-datasets>=4.9.10',
]

# TensorFlow only prepares data sets: the small wheel will do where there is one. 3.14 has none.
X86_LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"
ELSEWHERE = "(sys_platform != 'linux' or platform_machine != 'x86_64')"

PREPARE = [
  *TRAIN,
  f"tensorflow-cpu>=2.21; {X86_LINUX} and python_version < '3.14'",
  f"tensorflow>=2.21; {ELSEWHERE} and python_version < '3.14'",
]

HUB = ['huggingface_hub>=1.30,!=2.0.0']  # these go on after a broken connection

DEV = [
  *TRAIN,
  *HUB,
  'dill>=0.3.8',
  'pyright[nodejs]>=1.1.400',  # with its own Node.js: nothing else to install
  'pytest>=9.0',
  'pytest-xdist>=3.8',
  'ruff>=0.14',
  'safetensors>=0.8',
]

setup(
  name='nfnets',
  version=version(),
  description='Normalizer-Free networks in JAX and Haiku: models, adaptive gradient clipping, '
  'training and released weights',
  long_description=long_description(),
  long_description_content_type='text/markdown',
  author='The nfnets authors',
  license_expression='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11',
  packages=find_packages(include=['nfnets', 'nfnets.*']),
  package_data={
    'nfnets': [
      'data/*.tsv',
      'data/*.md',
      'data/builders/*.csv.gz',
      'data/builders/*.md',
      'native/kernels/*.cc',
      'native/kernels/*.h',
    ]
  },
  install_requires=CORE,
  extras_require={'train': TRAIN, 'prepare': PREPARE, 'hub': HUB, 'dev': DEV},
  classifiers=[
    'Development Status :: 3 - Alpha',
    'Intended Audience :: Science/Research',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
    'Programming Language :: Python :: 3.13',
    'Programming Language :: Python :: 3.14',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
  ],
)
