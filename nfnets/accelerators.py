"""Whether this machine has something faster than its CPU, told before JAX is asked."""

import glob
import os

_DEVICES = ('/dev/nvidia[0-9]*', '/dev/accel[0-9]*', '/dev/vfio/[0-9]*', '/dev/kfd')


def may_be_used() -> bool:
  """Whether there is an accelerator that JAX may use; `JAX_PLATFORMS=cpu` says that none is."""
  return os.environ.get('JAX_PLATFORMS') != 'cpu' and any(map(glob.glob, _DEVICES))
