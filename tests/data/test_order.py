import numpy as np
import pytest

from nfnets.data.order import Draws, shuffled

COUNT, SEED = 50, 3
ORDER = [6, 1, 8, 5, 2, 7, 9, 4, 3, 0, 3, 1, 9, 8, 6, 7, 4, 2, 0, 5]
DRAWN = [0.8498935430691834, 0.8176126023535526]


def test_every_epoch_is_a_permutation_of_its_own():
  epochs = shuffled(COUNT, SEED, np.arange(4 * COUNT)).reshape(4, COUNT)
  for epoch in epochs:
    assert sorted(epoch) == list(range(COUNT))
  assert len({tuple(epoch) for epoch in [*epochs, np.arange(COUNT)]}) == 5


def test_a_place_holds_the_same_record_whoever_asks():
  whole = shuffled(COUNT, SEED, np.arange(3 * COUNT))
  places = np.array([149, 0, 77, 50, 49, 0])
  np.testing.assert_array_equal(shuffled(COUNT, SEED, places), whole[places])


def test_seeds_and_sizes_give_other_orders():
  first = shuffled(COUNT, SEED, np.arange(COUNT))
  assert (first != shuffled(COUNT, SEED + 1, np.arange(COUNT))).mean() > 0.5
  assert (first != shuffled(2 * COUNT, SEED, np.arange(COUNT))).mean() > 0.5
  assert not shuffled(1, SEED, np.arange(9)).any()


def test_the_order_of_a_run_never_changes():
  """A run that was begun with an earlier version is resumed with this one."""
  assert shuffled(10, SEED, np.arange(20)).tolist() == ORDER
  assert Draws(SEED).at(7).random(2).tolist() == pytest.approx(DRAWN, abs=1e-15)


def test_every_image_has_random_numbers_of_its_own():
  draws = Draws(SEED)
  first = draws.at(4).random(6)
  second = draws.at(5).random(6)
  assert not set(first) & set(second)
  draws.at(9).integers(0, 5, dtype=np.uint32)  # leaves half of a word behind
  np.testing.assert_array_equal(draws.at(4).random(6), first)
  np.testing.assert_array_equal(Draws(SEED).at(5).random(6), second)
  assert (Draws(SEED + 1).at(4).random(6) != first).all()


def test_random_numbers_of_neighbours_are_not_related():
  draws = Draws(SEED)
  drawn = np.stack([draws.at(place).random(2) for place in range(4000)])
  assert abs(drawn.mean() - 0.5) < 0.02
  assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.06
  assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.06
