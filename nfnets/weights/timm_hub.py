"""The weights of timm on the Hugging Face hub: where they are, and what pictures they want."""

from typing import NamedTuple

from nfnets.weights import huggingface

RGB = tuple[float, float, float]

FILE = 'model.safetensors'


class Released(NamedTuple):
  """The weights of one network, with the preprocessing that they were trained and measured with.

  All pictures are resized with a bicubic filter.
  """

  repo: str
  """`owner/name` on the hub."""
  train_size: int
  """Side of the training images, in pixels."""
  test_size: int
  """Side of the images that the published accuracy is for."""
  crop_fraction: float
  """At the test size: the centre that is shown has this share of the side of the resized image."""
  squash: bool
  """Whether the whole image is resized to a square, whatever its shape; else its shorter side."""
  mean: RGB
  """Of the pixels, on the scale 0..255."""
  std: RGB

  @property
  def url(self) -> str:
    """Where a browser finds the file."""
    return huggingface.address(self.repo, FILE)


def _scaled(red: float, green: float, blue: float) -> RGB:
  return 255 * red, 255 * green, 255 * blue


_IMAGENET = {'mean': _scaled(0.485, 0.456, 0.406), 'std': _scaled(0.229, 0.224, 0.225)}
_HALF = {'mean': _scaled(0.5, 0.5, 0.5), 'std': _scaled(0.5, 0.5, 0.5)}

# Our name of the network -> its weights: the default configurations of timm 1.0.31.
RELEASED = {
  'nfnet_f0': Released('timm/dm_nfnet_f0.dm_in1k', 192, 256, 0.9, True, **_IMAGENET),
  'nfnet_f1': Released('timm/dm_nfnet_f1.dm_in1k', 224, 320, 0.91, True, **_IMAGENET),
  'nfnet_f2': Released('timm/dm_nfnet_f2.dm_in1k', 256, 352, 0.92, True, **_IMAGENET),
  'nfnet_f3': Released('timm/dm_nfnet_f3.dm_in1k', 320, 416, 0.94, True, **_IMAGENET),
  'nfnet_f4': Released('timm/dm_nfnet_f4.dm_in1k', 384, 512, 0.951, True, **_IMAGENET),
  'nfnet_f5': Released('timm/dm_nfnet_f5.dm_in1k', 416, 544, 0.954, True, **_IMAGENET),
  'nfnet_f6': Released('timm/dm_nfnet_f6.dm_in1k', 448, 576, 0.956, True, **_IMAGENET),
  'nfnet_l0': Released('timm/nfnet_l0.ra2_in1k', 224, 288, 1.0, False, **_IMAGENET),
  'eca_nfnet_l0': Released('timm/eca_nfnet_l0.ra2_in1k', 224, 288, 1.0, False, **_IMAGENET),
  'eca_nfnet_l1': Released('timm/eca_nfnet_l1.ra2_in1k', 256, 320, 1.0, False, **_IMAGENET),
  'eca_nfnet_l2': Released('timm/eca_nfnet_l2.ra3_in1k', 320, 384, 1.0, False, **_IMAGENET),
  'timm_nf_regnet_b1': Released('timm/nf_regnet_b1.ra2_in1k', 256, 288, 0.9, False, **_IMAGENET),
  'timm_nf_resnet50': Released('timm/nf_resnet50.ra2_in1k', 256, 288, 0.94, False, **_IMAGENET),
  'test_nfnet': Released('timm/test_nfnet.r160_in1k', 160, 160, 0.95, False, **_HALF),
}
