"""Whether a network and a dataset mean the same classes."""

from collections.abc import Sequence

from nfnets.data.datasets import Dataset
from nfnets.data.imagenet_labels import imagenet_labels, imagenet_wnids
from nfnets.errors import InputError
from nfnets.inference.network import Network


def check_classes(network: Network, dataset: Dataset, names: Sequence[str]) -> None:
  """That the classes of the network are those of the dataset, as far as they have names.

  Case, spaces, hyphens and underscores make no difference; ImageNet's WordNet identifiers and its
  English names are the same.  A number stands for a name that nobody gave, and is not compared
  but where the classes of the dataset are numbers.

  Args:
    network: its `labels` may be None.
    dataset: of its classes those count that occur.
    names: of the classes, as `nfnets.data.folders.class_names` finds them.

  Raises:
    InputError: there are more or fewer of them, or the first that differs.
  """
  if dataset.num_classes != network.model.num_classes:
    raise InputError(
      f'dataset={dataset.name!r} has {dataset.num_classes} classes, and the network '
      f'{network.model.num_classes}: it was made for other data'
    )
  occurring = range(dataset.num_classes) if dataset.classes is None else dataset.classes
  for index, (name, label) in enumerate(zip(names, network.labels or (), strict=False)):
    one, other = _plain(name), _plain(label)
    named = _is_name(other) and (_is_name(one) or dataset.of_numbers)
    if index in occurring and named and one != other:
      raise InputError(
        f'dataset={dataset.name!r} calls class {index} {name!r}, and the network '
        f'{network.model.name} ({network.provenance}) {label!r}: it was made for other data'
      )


def _is_name(plain: str) -> bool:
  return plain != '' and not plain.isdecimal()


def _plain(name: str) -> str:
  """A name without what people write differently."""
  word = _WORDS.get(name.strip(), name)
  return ' '.join(word.casefold().replace('_', ' ').replace('-', ' ').split())


_WORDS = dict(zip(imagenet_wnids(), imagenet_labels(), strict=True))
