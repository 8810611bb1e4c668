"""Of one process; what two know of each other is in test_two_processes.py."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnets.errors import InputError
from nfnets.training.agreement import check_devices, check_same, checksum, gather, together


def test_one_process_agrees_with_itself():
  assert gather('word') == ['word']
  assert together(lambda: 7) == 7
  check_same({'seed': 0})
  check_devices()
  with pytest.raises(KeyError, match='lost'):
    together(lambda: {}['lost'])


def test_unequal_numbers_of_devices_are_refused(monkeypatch: pytest.MonkeyPatch):
  owners = [0, 0, 1, 2, 2]
  devices = [SimpleNamespace(process_index=owner) for owner in owners]
  monkeypatch.setattr(jax, 'devices', lambda: devices)
  message = r'^process 1 has 1 device\(s\) and process 0 has 2: all processes of a run need equally'
  with pytest.raises(InputError, match=message):
    check_devices()


def test_a_checksum_sees_every_bit():
  tree = {'a': jnp.arange(6.0).reshape(2, 3), 'b': [jnp.bfloat16(1), np.int32(4)], 'c': None}
  same = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': [jnp.bfloat16(1), jnp.int32(4)]}
  assert checksum(tree) == checksum(same)
  for other in (
    tree | {'a': tree['a'].at[1, 2].add(1e-6)},
    tree | {'a': tree['a'].at[0, 0].set(-0.0)},
    tree | {'b': [jnp.bfloat16(1.01), 4]},
  ):
    assert checksum(other) != checksum(tree)
