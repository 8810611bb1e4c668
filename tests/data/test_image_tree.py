from collections import Counter
from pathlib import Path

import pytest

from nfnets.data.image_tree import ImageTree, scan
from nfnets.errors import InputError


def plant(root: Path, *files: str) -> Path:
  """Writes files that hold their own name."""
  for file in files:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file)
  return root


def paths(tree: ImageTree, split: str) -> dict[str, str]:
  """Path -> class."""
  return {one.path: tree.classes[one.label] for one in tree.splits[split]}


def test_splits_and_classes_are_folders(tmp_path: Path):
  plant(
    tmp_path,
    'train/dog/1.jpg', 'train/cat/1.jpg', 'train/cat/2.PNG', 'val/dog/3.jpg', 'test/cat/4.webp',
    'README.md', 'train/labels.txt', '.git/x', 'train/.cache/x', 'train/cat/.DS_Store',
  )  # fmt: skip
  tree = scan(tmp_path)
  assert tree.classes == ('cat', 'dog')
  assert list(tree.splits) == ['train', 'val', 'test']
  assert paths(tree, 'train') == {
    'train/dog/1.jpg': 'dog', 'train/cat/1.jpg': 'cat', 'train/cat/2.PNG': 'cat',
  }  # fmt: skip
  assert paths(tree, 'val') == {'val/dog/3.jpg': 'dog'}
  assert paths(tree, 'test') == {'test/cat/4.webp': 'cat'}
  assert len(tree) == 5
  assert tree.splits['val'][0].size == len('val/dog/3.jpg')


def test_links_are_followed(tmp_path: Path):
  store = plant(tmp_path / 'store', 'pictures/1.jpg', '2.jpg')
  source = plant(tmp_path / 'source', 'train/dog/1.jpg', 'val/dog/1.jpg')
  (source / 'train/cat').symlink_to(store / 'pictures')
  (source / 'train/dog/2.jpg').symlink_to(store / '2.jpg')
  (source / 'train/dog/gone.jpg').symlink_to(store / 'gone.jpg')
  tree = scan(source)
  assert paths(tree, 'train') == {
    'train/cat/1.jpg': 'cat', 'train/dog/1.jpg': 'dog', 'train/dog/2.jpg': 'dog',
    'train/dog/gone.jpg': 'dog',
  }  # fmt: skip
  sizes = {one.path: one.size for one in tree.splits['train']}
  assert (sizes['train/dog/2.jpg'], sizes['train/dog/gone.jpg']) == (5, 0)


@pytest.mark.parametrize('below', ['', 'train/'])
def test_holdout_takes_the_same_share_of_each_class(tmp_path: Path, below: str):
  sizes = {'a': 40, 'b': 10, 'c': 2, 'd': 1}
  plant(tmp_path, *(f'{below}{name}/{i}.jpg' for name, size in sizes.items() for i in range(size)))
  tree = scan(tmp_path, holdout=0.1)
  train, held_out = paths(tree, 'train'), paths(tree, 'validation')
  assert Counter(held_out.values()) == {'a': 4, 'b': 1, 'c': 1}
  assert Counter(train.values()) == {'a': 36, 'b': 9, 'c': 1, 'd': 1}
  assert not train.keys() & held_out.keys()
  assert scan(tmp_path, holdout=0.1) == tree
  assert len(scan(tmp_path, holdout=0.9).splits['train']) == 4 + 1 + 1 + 1


def test_what_is_held_out_does_not_follow_the_numbering(tmp_path: Path):
  plant(tmp_path, *(f'a/{i:03d}.jpg' for i in range(100)))
  numbers = [int(path[2:5]) for path in paths(scan(tmp_path, holdout=0.2), 'validation')]
  assert max(numbers) - min(numbers) > 50


def test_the_order_mixes_the_classes(tmp_path: Path):
  plant(tmp_path, *(f'{name}/{i}.jpg' for name in 'ab' for i in range(50)))
  labels = [one.label for one in scan(tmp_path, holdout=0.2).splits['train']]
  assert 10 < sum(labels[:40]) < 30


def test_the_digest_tells_every_change(tmp_path: Path):
  plant(tmp_path, *(f'{name}/{i}.jpg' for name in 'ab' for i in range(10)))
  digests = [scan(tmp_path, holdout=0.2).digest, scan(tmp_path, holdout=0.3).digest]
  plant(tmp_path, 'a/10.jpg')
  digests.append(scan(tmp_path, holdout=0.2).digest)
  (tmp_path / 'a/10.jpg').write_text('longer than before')
  digests.append(scan(tmp_path, holdout=0.2).digest)
  (tmp_path / 'a/10.jpg').rename(tmp_path / 'b/10.jpg')
  digests.append(scan(tmp_path, holdout=0.2).digest)
  (tmp_path / 'b/10.jpg').unlink()
  assert len(set(digests)) == 5
  assert scan(tmp_path, holdout=0.2).digest == digests[0]


@pytest.mark.parametrize(
  ('files', 'holdout', 'told'),
  [
    ([], None, 'holds no folders; it should hold DIR/train/<class>'),
    (['cat/1.jpg', 'dog/1.jpg'], None, r'classes \(cat, dog\) but no splits: .*--holdout=0\.1'),
    (['train/a/1.jpg'], None, r'nothing to evaluate on beside train: .*--holdout=0\.1'),
    (['train/a/1.jpg', 'extra/a/1.jpg'], None, 'holds extra beside train; it should hold'),
    (['train/a/1.jpg', 'a/1.jpg'], 0.1, 'holds a beside train; it should hold'),
    (['val/a/1.jpg', 'test/a/1.jpg'], None, 'holds no train but test, val; it should hold'),
    (['train/a/1.jpg', 'val/a/1.jpg'], 0.1, 'holds train, val: leave --holdout out'),
    (['train/a/1.jpg', 'val/b/1.jpg'], None, "val/b: train has no class 'b'; its classes are a"),
    (['train/a/b/1.jpg', 'val/a/1.jpg'], None, r'train/a is a class but holds folders \(b\)'),
    (['train/a/.x', 'train/b/1', 'val/b/1'], None, "no files for the class 'a'"),
    (['train/1.jpg', 'val/a/1.jpg'], None, 'train holds no folders; it should hold one for each'),
    (['train/a/1.jpg', 'val/1.jpg'], None, 'val holds no pictures'),
    (['train/ a/1.jpg', 'val/ a/1.jpg'], None, "' a' cannot be the name of a class"),
    (['train/a\nb/1.jpg', 'val/x/1.jpg'], None, r"'a\\nb' cannot be the name of a class"),
    (['a/1.jpg', 'b/1.jpg'], 0.5, 'every class has one picture; nothing can be held out'),
    (['a/1.jpg', 'b/1.jpg'], 1.0, r'--holdout=1\.0 is not between 0 and 1'),
  ],
)
def test_another_layout_is_told_in_one_line(
  tmp_path: Path, files: list[str], holdout: float | None, told: str
):
  with pytest.raises(InputError, match=told) as caught:
    scan(plant(tmp_path, *files), holdout)
  assert '\n' not in str(caught.value)


def test_no_folder_is_told(tmp_path: Path):
  with pytest.raises(InputError, match='nowhere is not a folder'):
    scan(tmp_path / 'nowhere')
