"""Logits and pooled vectors of the released code."""

import pathlib

import jax
import numpy as np
import pytest
from golden.golden_values import fill, golden_images

import nfnets

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'


def filled(model):
  """Golden parameters and state of a model."""
  return tuple(
    fill(
      {
        module: {name: leaf.shape for name, leaf in leaves.items()}
        for module, leaves in tree.items()
      }
    )
    for tree in jax.eval_shape(model.init, jax.random.key(0))
  )


@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('nfnet_tiny', 'nfnet_tiny_2x48x48x3.npz'),
    ('nfnet_f0', 'nfnet_f0_2x96x96x3.npz'),
    ('nf_resnet50', 'nf_resnet50_2x96x96x3.npz'),
    ('nf_regnet_b0', 'nf_regnet_b0_2x96x96x3.npz'),
    ('resnet50', 'resnet50_2x96x96x3.npz'),
    ('skipinit_resnet50', 'skipinit_resnet50_2x64x64x3.npz'),
    ('fixup_resnet50', 'fixup_resnet50_2x64x64x3.npz'),
  ],
)
def test_outputs_are_those_of_the_released_code(name, file):
  golden = np.load(GOLDEN / file)
  model = nfnets.create_model(name, golden['logits'].shape[1])
  images = golden_images(int(golden['seed']), tuple(golden['shape']))
  outputs, _ = jax.jit(model.apply)(*filled(model), None, images)
  assert set(outputs) == {'logits', 'pool'}
  for output in ('logits', 'pool'):
    np.testing.assert_allclose(outputs[output], golden[output], rtol=1e-4, atol=1e-5)
    assert np.std(golden[output]) > 0.1  # so that the tolerance means something
