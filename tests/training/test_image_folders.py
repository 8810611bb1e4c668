"""A person's own pictures, from the folder to the first batch of a run."""

from pathlib import Path

import numpy as np
import pytest
from data.folders import png

from configs.quickstart import get_config
from nfnets.data.image_folders import prepare_folder
from nfnets.data.pipeline import eval_batches, train_batches
from nfnets.data.records import open_records
from nfnets.errors import InputError
from nfnets.training.config import Config
from nfnets.training.derived import derive


@pytest.fixture
def config(tmp_path: Path) -> Config:
  for i in range(30):
    file = tmp_path / 'pets' / ('cat', 'cow', 'dog')[i % 3] / f'{i}.png'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png(np.full((20, 30, 3), 8 * i, np.uint8)))
  prepare_folder(tmp_path / 'pets', tmp_path / 'data', holdout=0.2)
  config = get_config()
  config.data.dataset, config.data.data_dir = 'pets', str(tmp_path / 'data')
  return config


def test_the_quickstart_learns_from_them(config: Config):
  derived = derive(config, 24)
  assert derived.model.num_classes == 3
  assert (derived.train_split, derived.eval_split) == ('train', 'validation')
  records, held_out = (
    open_records(config.data.data_dir, derived.dataset, split)
    for split in (derived.train_split, derived.eval_split)
  )
  with train_batches(records, derived.train_geometry, seed=0, batch_size=24) as batches:
    batch = next(batches)
  assert batch['images'].shape == (24, 16, 16, 3)
  assert np.bincount(batch['labels']).tolist() == [8, 8, 8]
  with eval_batches(held_out, derived.eval_geometry, batch_size=6) as batches:
    (batch,) = batches
  assert batch['mask'].sum() == 6
  assert (batch['images'][:, 8, 8, 0] / 8 % 3 == batch['labels']).all()


def test_without_them_it_is_told_what_there_is(config: Config):
  config.data.dataset = 'pet'
  with pytest.raises(InputError, match=r"'pet': did you mean pets\?"):
    derive(config, 24)
