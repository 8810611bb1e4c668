"""Numbers that follow from measurements."""

import json

import pytest

from nfnets.benchmarks.workload import Speed, Workload, flops_of, read_workload, rounded, summarize

WORKLOAD = Workload(model='nfnet_f0', batch_size=8, devices=2, precision='float32')


def speed(*seconds: float, first: float = 60.0, memory: int | None = 5) -> Speed:
  return Speed(
    device='abacus',
    size=192,
    seconds=seconds,
    first_seconds=first,
    flops=4e12,
    matmul_rate=1e13,
    peak_memory=memory,
  )


def test_a_workload_survives_the_way_to_its_process() -> None:
  assert read_workload(WORKLOAD.to_json()) == WORKLOAD


def test_training_is_three_passes_of_two_operations_for_each_multiply_add() -> None:
  assert flops_of(7, WORKLOAD, training=True) == 7 * 4 * 2 * 3
  assert flops_of(7, WORKLOAD, training=False) == 7 * 4 * 2


def test_the_summary_is_of_all_groups_of_all_processes() -> None:
  found = summarize(WORKLOAD, [speed(1.0, 0.5), speed(0.8, first=2.0, memory=6)])
  assert json.loads(json.dumps(found)) == found
  assert found['images_per_second'] == 8 / 0.8
  assert found['step_seconds'] == {
    'median': 0.8,
    'least': 0.5,
    'most': 1.0,
    'all': [1.0, 0.5, 0.8],
  }
  assert found['flops_per_second'] == pytest.approx(4e12 / 0.8)
  assert found['mfu'] == pytest.approx(0.5)
  assert found['first_step_seconds'] == 60.0  # later ones may find what was compiled
  assert found['peak_memory'] == 6
  assert (found['size'], found['device'], found['model']) == (192, 'abacus', 'nfnet_f0')


def test_memory_that_a_device_does_not_tell() -> None:
  assert summarize(WORKLOAD, [speed(1.0, memory=None)])['peak_memory'] is None


def test_large_numbers_have_no_exponent() -> None:
  numbers = (0.001234567, 12.34567, 999.94, 12345.6)
  assert [rounded(x) for x in numbers] == ['0.001235', '12.35', '999.9', '12346']
