"""Who is measured, in which order, and the table."""

import dataclasses

from benchmarks.test_workload import speed

from nfnets.benchmarks import speeds
from nfnets.benchmarks.workload import Workload, read_workload

WORKLOADS = [
  Workload(model=name, batch_size=8, size=192, precision='float32')
  for name in ('nfnet_f0', 'nfnet_f1')
]


def measured(monkeypatch, **options):
  """Our networks take a second, timm's two."""
  commands = []

  def in_fresh_process(*command, **kept):
    *program, workload = command
    commands.append((' '.join(program), read_workload(workload).model, kept))
    return dataclasses.asdict(speed(2.0 if 'pytorch' in program[0] else 1.0))

  monkeypatch.setattr(speeds, 'in_fresh_process', in_fresh_process)
  return speeds.measure('train', progress=lambda line: None, **options), commands


def test_ours_and_timms_take_turns(monkeypatch) -> None:
  found, commands = measured(monkeypatch, workloads=WORKLOADS, repeats=2, against_timm=True)
  kept = {'compilation_cache': True}
  assert commands == 2 * [
    ('nfnets.benchmarks.train', 'nfnet_f0', kept),
    ('nfnets.benchmarks.pytorch train', 'nfnet_f0', kept),
    ('nfnets.benchmarks.train', 'nfnet_f1', kept),
    ('nfnets.benchmarks.pytorch train', 'nfnet_f1', kept),
  ]
  assert found['nfnet_f1, nfnets']['images_per_second'] == 8
  assert found['nfnet_f1, timm']['images_per_second'] == 4
  first, second = speeds.markdown(found).splitlines()[2:4]
  assert first == (
    '| nfnet_f0, nfnets | 8 | 192 | 8 | 1000 ms | 1000 ms | 1000 ms | 4 | 40.0% | 5e-09 GB | 60 s '
    '| 2 |'
  )
  assert second.startswith('| nfnet_f0, timm | ')
  assert second.endswith(' 60 s |  |')


def test_alone_there_is_no_ratio(monkeypatch) -> None:
  found, commands = measured(monkeypatch, workloads=WORKLOADS[:1], repeats=1)
  assert [command for command, *_ in commands] == ['nfnets.benchmarks.train']
  assert speeds.markdown(found).splitlines()[2].endswith(' |  |')
