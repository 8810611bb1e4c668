"""The shapes of features, and the features themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import nfnets
from nfnets.errors import InputError
from nfnets.models.features import FeatureShape, feature_shapes
from nfnets.models.variants import VARIANTS

KEY = jax.random.key(0)


def test_nfnet_f0_has_the_strides_that_detectors_expect():
  model = nfnets.create_model('nfnet_f0', 0)
  assert feature_shapes(model, 256) == {
    'stem': FeatureShape(64, 64, 128, 4),
    'stage_0': FeatureShape(64, 64, 256, 4),
    'stage_1': FeatureShape(32, 32, 512, 8),
    'stage_2': FeatureShape(16, 16, 1536, 16),
    'stage_3': FeatureShape(8, 8, 1536, 32),
    'neck': FeatureShape(8, 8, 3072, 32),
  }
  assert next(iter(feature_shapes(model, 256))) == 'stem'
  assert feature_shapes(model) == feature_shapes(model, 256)


@pytest.mark.parametrize(
  ('name', 'strides'),
  [
    ('nf_regnet_b0', [2, 4, 8, 16, 32, 32]),
    ('nf_resnet50', [4, 4, 8, 16, 32, 32]),
    ('resnet50_v1', [4, 4, 8, 16, 32, 32]),
    ('wide_resnet_16_4', [1, 1, 2, 4, 4]),
  ],
)
def test_other_families_have_theirs(name, strides):
  shapes = feature_shapes(nfnets.create_model(name), (65, 97))
  assert [shape.stride for shape in shapes.values()] == strides
  for shape in shapes.values():
    assert (shape.height, shape.width) == (-(-65 // shape.stride), -(-97 // shape.stride))


def test_they_are_the_shapes_of_what_is_returned():
  model = nfnets.create_model('nfnet_tiny', 10)
  names = ['block_1', 'stage_2', 'neck']
  shapes = feature_shapes(model, (40, 77), features=names)
  assert list(shapes) == names
  trees = jax.eval_shape(model.init, KEY)
  images = jax.ShapeDtypeStruct((2, 40, 77, 3), jnp.float32)
  outputs = jax.eval_shape(
    lambda *args: model.apply(*args, None, images, return_features=names)[0], *trees
  )
  assert set(outputs) == {*names, 'pool', 'logits'}
  for name in names:
    assert outputs[name].shape == (2, *shapes[name][:3])


def test_what_was_not_asked_for_is_in_no_program():
  """Not even under the names of other features: nothing has to keep it."""
  model = nfnets.create_model('nfnet_tiny', 0)
  trees = jax.eval_shape(model.init, KEY)
  images = jax.ShapeDtypeStruct((2, 48, 48, 3), jnp.float32)

  def outputs(features):
    forward = lambda *args: model.apply(*args, None, images, return_features=features)[0]  # noqa: E731
    return len(jax.make_jaxpr(forward)(*trees).jaxpr.outvars)

  assert outputs(False) == outputs([]) == 1
  assert outputs(['stage_1']) == 2
  assert outputs(True) == 1 + 1 + 5 + 4 + 1  # pool, stem, blocks, stages, neck


def test_a_feature_that_is_not_there_is_named():
  model = nfnets.create_model('nfnet_tiny', 0)
  with pytest.raises(InputError, match=r"^return_features='stage_4' is not known: did you mean st"):
    feature_shapes(model, features=['stage_4'])


def test_a_size_too_small_for_the_strides_is_named():
  with pytest.raises(InputError, match=r'^images of 15 x 64 pixels are too small .* at least 16'):
    feature_shapes(nfnets.create_model('nf_resnet50'), (15, 64))
  assert feature_shapes(nfnets.create_model('nf_resnet50'), 16)['stage_3'].height == 1


def test_deep_networks_name_their_stages_without_unrolling_their_loops():
  row = dataclasses.replace(VARIANTS['nf_wide_resnet_1000_2'], widths=(4, 4, 8), stem_channels=4)
  shapes = feature_shapes(nfnets.Model('narrow', row, 0), 32)
  assert [shape.channels for shape in shapes.values()] == [4, 4, 4, 8, 8]
