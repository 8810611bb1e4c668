import gc
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full_disk import files_up_to

from nfnets.disk import disk_trouble
from nfnets.errors import InputError
from nfnets.training.checkpointing import Checkpoints

ROOT = Path(__file__).parents[2]


class State(NamedTuple):
  step: jax.Array
  params: Any
  nothing: Any
  empty: Any


def make_state(step: int) -> State:
  """A state whose numbers follow from the step, in all kinds of leaves."""
  rng = np.random.default_rng(step)
  weights = rng.standard_normal((3, 5), np.float32)
  weights[0, :3] = [np.nan, -0.0, np.inf]
  return State(
    step=jnp.int32(step),
    params={
      'net/~/conv': {'w': jnp.asarray(weights), 'b': jnp.asarray(weights[1], jnp.bfloat16)},
      'net/~/block': {'skip_gain': jnp.float32(step), 'seen': jnp.uint8(step)},
    },
    nothing=None,
    empty=({}, ()),
  )


def like(state: State) -> State:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


LIKE = like(make_state(0))


def assert_is_state(state: State | None, step: int) -> None:
  """Bit for bit, types included."""
  expected = make_state(step)
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
    assert got.dtype == want.dtype
    assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


@pytest.fixture
def after_failures() -> Iterator[None]:
  """Drops at once what Orbax leaves of a restore that failed; it complains when it is dropped."""
  yield
  gc.collect()


def may_fail(test: Callable[..., None]) -> Callable[..., None]:
  """A test in which Orbax cannot restore something."""
  quiet = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
  return quiet(pytest.mark.usefixtures('after_failures')(test))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
  """Steps 1 to 3 were saved; 2 and 3 are kept."""
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save(step, make_state(step))
  return tmp_path / 'checkpoints'


def test_a_state_comes_back_bit_for_bit(folder: Path):
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.steps() == [2, 3]
    assert_is_state(checkpoints.restore_newest(LIKE), 3)


def test_a_state_comes_back_where_the_shardings_say(folder: Path):
  mesh = jax.make_mesh((2,), ('devices',), devices=jax.devices()[2:])
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), LIKE)
  with Checkpoints(folder) as checkpoints:
    state = checkpoints.restore_newest(wanted)
  assert_is_state(state, 3)
  assert all(x.sharding == everywhere for x in jax.tree.leaves(state))


def test_an_empty_folder_has_no_state(tmp_path: Path):
  with Checkpoints(tmp_path / 'new' / 'checkpoints') as checkpoints:
    assert checkpoints.steps() == []
    assert checkpoints.restore_newest(LIKE) is None


@pytest.mark.parametrize(('keep', 'kept'), [(1, [4, 5]), (2, [4, 5]), (3, [3, 4, 5])])
def test_the_newest_few_are_kept_and_never_less_than_two(tmp_path: Path, keep: int, kept: list):
  with Checkpoints(tmp_path, keep=keep) as checkpoints:
    for step in range(1, 6):
      checkpoints.save(step, make_state(step))
  assert sorted(int(one.name) for one in tmp_path.iterdir()) == kept


def test_the_buffers_may_be_reused_as_soon_as_save_returns(tmp_path: Path):
  mesh = jax.make_mesh((4,), ('devices',))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
  expected = np.arange(300_000, dtype=np.float32)
  with Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2, 3):
      state = {'w': jax.device_put(jnp.asarray(expected) + step, everywhere)}
      checkpoints.save(step, state)
      jax.block_until_ready(overwrite(state))
      assert state['w'].is_deleted()
    wanted = {'w': jax.ShapeDtypeStruct((300_000,), jnp.float32, sharding=everywhere)}
  with Checkpoints(tmp_path) as checkpoints:
    np.testing.assert_array_equal(checkpoints.restore_newest(wanted)['w'], expected + 3)


def test_a_step_that_is_there_is_not_written_again(folder: Path):
  before = {file: file.stat().st_mtime_ns for file in folder.rglob('*')}
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(3, make_state(7))
  assert {file: file.stat().st_mtime_ns for file in folder.rglob('*')} == before


def lose_the_data(folder: Path) -> None:
  shutil.rmtree(folder / 'state' / 'd')
  shutil.rmtree(folder / 'state' / 'ocdbt.process_0')


def lose_the_index(folder: Path) -> None:
  (folder / 'state' / 'manifest.ocdbt').unlink()


def lose_the_item(folder: Path) -> None:
  shutil.rmtree(folder / 'state')


def lose_everything_inside(folder: Path) -> None:
  shutil.rmtree(folder)
  folder.mkdir()


def cut_the_files_short(folder: Path) -> None:
  for file in folder.rglob('*'):
    if file.is_file():
      os.truncate(file, file.stat().st_size // 2)


DAMAGES = (
  lose_the_data,
  lose_the_index,
  lose_the_item,
  lose_everything_inside,
  cut_the_files_short,
)


@may_fail
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_broken_state_is_passed_over_and_can_be_saved_again(
  folder: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
  damage(folder / '3')
  with Checkpoints(folder) as checkpoints, caplog.at_level(logging.WARNING, 'nfnets'):
    assert_is_state(checkpoints.restore_newest(LIKE), 2)
    assert f'checkpoint 3 in {folder} is passed over: ' in caplog.text
    assert checkpoints.steps() == [2]
    assert (folder / 'passed-over-3').is_dir()  # what could not be read today may be tomorrow
    checkpoints.save(3, make_state(3))
  with Checkpoints(folder) as checkpoints:
    assert checkpoints.steps() == [2, 3]
    assert_is_state(checkpoints.restore_newest(LIKE), 3)


@may_fail
def test_a_step_can_be_passed_over_twice(folder: Path):
  for _ in range(2):
    lose_the_index(folder / '3')
    with Checkpoints(folder) as checkpoints:
      assert_is_state(checkpoints.restore_newest(LIKE), 2)
      checkpoints.save(3, make_state(3))
  assert {one.name for one in folder.iterdir()} == {'2', '3', 'passed-over-3'}


@may_fail
def test_where_all_are_broken_nothing_is_lost_and_the_newest_is_named(folder: Path):
  lose_the_item(folder / '2')
  lose_the_index(folder / '3')
  left = set(folder.rglob('*'))
  message = rf'^none of the 2 checkpoints in {folder} can be restored; the newest, 3: .+'
  with Checkpoints(folder) as checkpoints, pytest.raises(InputError, match=message) as caught:
    checkpoints.restore_newest(LIKE)
  assert '\n' not in str(caught.value)
  assert set(folder.rglob('*')) == left


@may_fail
def test_states_of_another_shape_are_refused(folder: Path):
  other = LIKE._replace(step=jax.ShapeDtypeStruct((2,), jnp.int32, sharding=LIKE.step.sharding))
  with Checkpoints(folder) as checkpoints, pytest.raises(InputError, match='none of the 2'):
    checkpoints.restore_newest(other)
  with Checkpoints(folder) as checkpoints:
    assert_is_state(checkpoints.restore_newest(LIKE), 3)


@may_fail
def test_reading_leaves_a_folder_alone(folder: Path):
  lose_the_index(folder / '3')
  with Checkpoints(folder, read_only=True) as reader:
    before = set(folder.rglob('*'))
    assert_is_state(reader.restore_newest(LIKE), 2)
  assert set(folder.rglob('*')) == before


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path):
  (tmp_path / 'checkpoints').write_text('mine')
  with pytest.raises(InputError, match=f'^{tmp_path}/checkpoints cannot hold checkpoints: '):
    Checkpoints(tmp_path / 'checkpoints')


def test_reading_does_not_make_a_folder(tmp_path: Path):
  with Checkpoints(tmp_path / 'nowhere', read_only=True) as reader:
    assert reader.restore_newest(LIKE) is None
  assert not list(tmp_path.iterdir())


def test_reading_beside_a_run_that_saves(tmp_path: Path):
  state = {'w': jnp.ones((1 << 24,))}  # 64 MiB: is still being written when the reader comes
  wanted = {'w': jax.ShapeDtypeStruct(state['w'].shape, jnp.float32, sharding=state['w'].sharding)}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state)
    with Checkpoints(tmp_path, read_only=True) as reader:
      reader.steps()
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore_newest(wanted)['w'].shape == (1 << 24,)


@pytest.mark.parametrize('told_by', ['save', 'wait', 'close'])
def test_a_save_that_failed_is_told_by_what_comes_next(folder: Path, told_by: str):
  big = {'w': jax.random.normal(jax.random.key(0), 100_000)}  # does not shrink when compressed
  before = {file: file.read_bytes() for file in folder.rglob('*') if file.is_file()}
  checkpoints = Checkpoints(folder)
  with files_up_to(100_000):
    checkpoints.save(4, big)
    calls = {
      'save': lambda: checkpoints.save(5, big),
      'wait': checkpoints.wait,
      'close': checkpoints.close,
    }
    with pytest.raises(Exception, match='File too large') as caught:
      calls[told_by]()
  assert disk_trouble(caught.value, folder) == f'no space left for {folder} (File too large)'
  assert {file: file.read_bytes() for file in before} == before
  with Checkpoints(folder) as checkpoints:
    assert_is_state(checkpoints.restore_newest(LIKE), 3)
    assert checkpoints.steps() == [2, 3]
    checkpoints.save(4, make_state(4))
  with Checkpoints(folder) as checkpoints:
    assert_is_state(checkpoints.restore_newest(LIKE), 4)


def test_where_there_is_no_room_nothing_is_begun(folder: Path, monkeypatch: pytest.MonkeyPatch):
  left = set(folder.rglob('*'))
  set_disk(monkeypatch, free=399, total=1000)
  with Checkpoints(folder) as checkpoints:
    with pytest.raises(OSError, match=f"No space left on device: '{folder}'$"):
      checkpoints.save(4, {'w': jnp.ones(100)})
    assert set(folder.rglob('*')) == left


@pytest.mark.parametrize(('free', 'total'), [(400, 1000), (0, 0)])  # some disks do not say
def test_where_there_is_just_enough_room(
  folder: Path, monkeypatch: pytest.MonkeyPatch, free: int, total: int
):
  set_disk(monkeypatch, free, total)
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(4, {'w': jnp.ones(100)})
  assert (folder / '4').is_dir()


def set_disk(monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
  disk = types.SimpleNamespace(free=free, total=total)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: disk)


def test_what_failed_first_is_what_is_raised(folder: Path, caplog: pytest.LogCaptureFixture):
  big = {'w': jax.random.normal(jax.random.key(0), 100_000)}

  def fail() -> None:
    with files_up_to(100_000), Checkpoints(folder) as checkpoints:
      checkpoints.save(4, big)
      raise KeyError

  with pytest.raises(KeyError):
    fail()
  assert f'the last checkpoint was not saved in {folder}: ' in caplog.text
  assert 'Traceback' not in caplog.text


# Says which step it found whole, then saves for ever, each step told when `save` has returned.
WRITER = """
import sys
import jax
import jax.numpy as jnp
from nfnets.training.checkpointing import Checkpoints

@jax.jit
def make_state(step):
  return {f'layer{i}': jnp.full((64, 64, 8), step + i, jnp.float32) for i in range(12)}

def is_right(state, step):
  expected = make_state(step)
  return all(bool((state[name] == x).all()) for name, x in expected.items())

shapes = make_state(0)
like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), shapes)
checkpoints = Checkpoints(sys.argv[1])
state = checkpoints.restore_newest(like)
step = 0 if state is None else int(state['layer0'][0, 0, 0])
print('found' if state is None or is_right(state, step) else 'WRONG', step, flush=True)
while True:
  step += 1
  checkpoints.save(step, make_state(step))
  print('saved', step, flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_newest_whole_state_is_found(tmp_path: Path):
  """Kill -9, 30 times: what was whole is found again, and never anything else."""
  rng, hits, whole = random.Random(0), 0, 0
  for _ in range(30):
    with subprocess.Popen(
      [sys.executable, '-c', WRITER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
      assert writer.stdout is not None
      found, step = writer.stdout.readline().split()
      assert found == 'found'
      assert int(step) >= whole
      time.sleep(rng.uniform(0.02, 0.6))
      writer.send_signal(signal.SIGKILL)
      lines = writer.stdout.read().splitlines(keepends=True)
    saved = [int(line.split()[1]) for line in lines if line.endswith('\n')]
    # A save waits for the one before it, so that all but the last told were whole.
    whole = max([int(step), *saved[:-1]])
    hits += any('.orbax-checkpoint-tmp' in one.name for one in tmp_path.iterdir())
  assert hits > 30 // 4  # else the kills met no save, and nothing was tested
