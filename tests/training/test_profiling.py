import contextlib
import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from nfnets.training.profiling import Trace


@jax.jit
def step(x: jax.Array) -> jax.Array:
  return jnp.sin(x @ x)


def run(trace: Trace, steps: int, first: int = 10) -> list[tuple[int, str]]:
  """(step, what was said) for every line, of `steps` steps from number `first`."""
  x, said = jnp.ones((8, 8)), []
  with trace:
    for taken in range(1, steps + 1):
      number = first + taken - 1
      with jax.profiler.StepTraceAnnotation('train', step_num=number):
        x = step(x)
      if trace.is_due(taken, last=taken == steps):
        x.block_until_ready()
        said.append((number, trace.turn(number, last=taken == steps)))
  return said


def traced(folder: Path) -> set[str]:
  """The numbers of the steps in the trace."""
  (file,) = folder.rglob('*.trace.json.gz')
  events = json.loads(gzip.decompress(file.read_bytes()))['traceEvents']
  return {event['args']['step_num'] for event in events if 'step_num' in event.get('args', {})}


def test_the_steps_after_the_warm_up_are_traced(tmp_path: Path):
  begun, (number, line) = run(Trace(tmp_path / 'profile', 3), steps=9)
  assert begun == (11, 'tracing 3 steps from 12 on')
  assert number == 14
  assert line.startswith(f'traced steps 12 to 14: `tensorboard --logdir={tmp_path / "profile"}` ')
  assert traced(tmp_path / 'profile') == {'12', '13', '14'}
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))  # what TensorBoard reads


def test_a_run_that_ends_earlier_is_traced_to_its_end(tmp_path: Path):
  _, (number, line) = run(Trace(tmp_path, 5), steps=4)
  assert (number, line.split(':')[0]) == (13, 'traced steps 12 to 13')
  assert traced(tmp_path) == {'12', '13'}


@pytest.mark.parametrize('steps', [1, 2])
def test_a_run_too_short_for_a_trace_is_told(tmp_path: Path, steps: int):
  said = run(Trace(tmp_path, 3), steps, first=1)
  assert said == [(steps, 'nothing is traced: there were no more than 2 steps left')]
  assert not list(tmp_path.iterdir())


def test_none_is_made_unless_asked_for(tmp_path: Path):
  assert run(Trace(tmp_path, 0), steps=6) == []
  assert not list(tmp_path.iterdir())


def test_an_error_leaves_no_trace_open(tmp_path: Path):
  with contextlib.suppress(KeyError), Trace(tmp_path, 3) as trace:
    trace.turn(2, last=False)
    raise KeyError
  with pytest.raises(RuntimeError, match='No profile started'):
    jax.profiler.stop_trace()
