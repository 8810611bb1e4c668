"""The reference's input as people write it with tf.data: for `input` to compare with."""

from collections.abc import Iterator, Sequence
from typing import Any

from nfnets.errors import InputError

_BUFFER = 256  # records that are shuffled; all are in memory anyway


class TfBatches(Iterator[Any]):
  """Batches of crops, without end."""

  def __init__(self, files: Sequence[bytes], *, size: int, batch_size: int, threads: int):
    """`files` are encoded images; `threads` decode.

    Raises:
      InputError: TensorFlow is not installed.
    """
    try:
      import tensorflow as tf
    except ImportError as error:
      raise InputError('--against=tf.data needs TensorFlow: pip install nfnets[prepare]') from error
    tf.config.set_visible_devices([], 'GPU')
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    dataset = tf.data.Dataset.from_tensor_slices(list(files)).repeat().shuffle(_BUFFER, seed=0)
    dataset = dataset.map(lambda data: _crop(tf, data, size), num_parallel_calls=threads)
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
    self._batches: Any = iter(dataset.with_options(options))

  def __next__(self) -> Any:
    return next(self._batches)

  def close(self) -> None:
    """Stops reading ahead."""
    self._batches = None


def _crop(tf: Any, data: Any, size: int) -> Any:
  """The distorted crop decoded alone, resized and mirrored."""
  begin, extent, _ = tf.image.sample_distorted_bounding_box(
    tf.image.extract_jpeg_shape(data),
    tf.zeros([1, 0, 4]),
    min_object_covered=0.1,
    aspect_ratio_range=(3 / 4, 4 / 3),
    area_range=(0.08, 1.0),
    max_attempts=10,
    use_image_if_no_bounding_boxes=True,
  )
  window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
  image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
  image = tf.image.resize(image, [size, size], tf.image.ResizeMethod.BICUBIC)
  image = tf.image.random_flip_left_right(image)
  return tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)
