from pathlib import Path

from data.fake_imagenet import fake_imagenet

from nfnets.data.datasets import DATASETS
from nfnets.data.records import open_records


def test_it_is_read_like_imagenet_and_no_image_is_there_twice(tmp_path: Path):
  folder = fake_imagenet(tmp_path, 5, 3, Path(__file__).parent / 'photos')
  assert folder == tmp_path / 'imagenet2012' / '5.1.0'
  row = DATASETS['imagenet2012']
  splits = [list(open_records(tmp_path, row, name)) for name in (row.train_split, row.eval_split)]
  assert [len(split) for split in splits] == [5, 3]
  assert len({record.image for split in splits for record in split}) == 8
