"""The benchmark of the kernels times both forms of both parts of a step."""

import pytest

from nfnets import create_model
from nfnets.benchmarks import kernels as benchmark
from nfnets.benchmarks.kernels import Times, markdown, measure
from nfnets.errors import InputError
from nfnets.models.inspection import count_parameters


@pytest.fixture
def quick(monkeypatch):
  for name, value in {'_SECONDS': 0.001, '_GROUPS': 1, '_TURNS': 1}.items():
    monkeypatch.setattr(benchmark, name, value)


def test_both_parts_of_a_network_are_timed(kernels, quick):
  said = []
  update, standardization = measure(['nfnet_tiny'], progress=said.append)
  assert said == ['nfnet_tiny: update', 'nfnet_tiny: standardization']
  params, _ = create_model('nfnet_tiny').shapes()
  assert (update.part, update.numbers) == ('update', count_parameters(params))
  assert (standardization.part, standardization.numbers) == (
    'standardization',
    sum(leaves['w'].size for leaves in params.values() if 'gain' in leaves),
  )
  assert min(x for t in (update, standardization) for x in (t.kernels, t.xla)) > 0


def test_a_network_without_standardization_has_one_part(kernels, quick):
  (update,) = measure(['wide_resnet_16_2'], progress=lambda line: None)
  assert update.part == 'update'


def test_without_kernels_there_is_nothing_to_time():
  with pytest.raises(InputError, match='none are in use'):
    measure(['nfnet_tiny'], progress=lambda line: None)


def test_the_table():
  assert markdown([Times('nfnet_f0', 'update', 71_500_000, 0.0655, 0.181)]).splitlines()[2:] == [
    '| nfnet_f0 | update | 71.5 M | 65.5 ms | 181.0 ms | 2.76 |'
  ]
