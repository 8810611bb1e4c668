from nfnets.models.execution import Execution
from nfnets.models.memory import TrainingMemory
from nfnets.pods import advice
from nfnets.pods.advice import Advice, Kept, Need, advise, kept_by, without_loops
from nfnets.training.config import Config, DataConfig, ModelConfig
from nfnets.training.derived import derive

GIB = 2**30
KEPT = Kept(fixed=2 * GIB, per_image=400, per_image_again=100)


def need(gib, *, available=16, examples=32, at_once=32):
  return Need(gib * GIB, available * GIB, examples, at_once)


def test_the_largest_pieces_that_fit_and_recomputation():
  # 32 examples need 24 GiB beside what is fixed: 16 need 12, and half a GiB for the sum.
  assert advise(need(26), KEPT, None) == [
    Advice('--config.micro_batch_size=16', round(14.5 * GIB)),
    Advice('--config.model.remat=block', 8 * GIB),
  ]


def test_recomputation_in_pieces():
  # Computed again, 32 examples need 40 GiB: 8 of them 10.
  assert advise(need(162), KEPT, None) == [
    Advice('--config.micro_batch_size=2', round(12.5 * GIB)),
    Advice('--config.model.remat=block --config.micro_batch_size=8', round(12.5 * GIB)),
  ]


def test_smaller_pieces_where_there_are_pieces():
  assert advise(need(20, at_once=8), KEPT, 'block') == [
    Advice('--config.micro_batch_size=4', 11 * GIB)
  ]


def test_what_is_recomputed_is_not_recomputed_again():
  assert advise(need(26), KEPT, 'stage') == advise(need(26), KEPT, None)[:1]


def test_where_the_parameters_alone_are_too_much_there_is_no_advice():
  assert advise(need(40), KEPT._replace(fixed=17 * GIB), None) == []


def test_loops_are_left_out_before_anything_else():
  depths = 7, 14, 42, 21
  advice = Advice('--config.model.equal_blocks=shared', None)
  assert without_loops(depths, Execution(scan_from=32)) == advice
  assert without_loops(depths, Execution(scan_from=41)) == advice  # the first of 42 differs
  for execution in (
    Execution(scan_from=42),
    Execution(scan_from=None),
    Execution(scan_from=32, equal_blocks='shared'),
  ):
    assert without_loops(depths, execution) is None


def test_pieces_divide_the_examples():
  (pieces, _) = advise(need(20, examples=30, at_once=30), KEPT, None)
  assert pieces.flags == '--config.micro_batch_size=15'


def test_what_the_network_of_a_run_keeps(monkeypatch):
  asked = []

  def training_memory(model, size, dtype):
    asked.append((model.name, size, dtype))
    return TrainingMemory(7, 100 if model.execution.remat else 400)

  monkeypatch.setattr(advice, 'training_memory', training_memory)
  config = Config(model=ModelConfig('nfnet_f0'), data=DataConfig(train_size=128))
  assert kept_by(config, derive(config, 1000)) == Kept(7, 400, 100)
  assert asked == [('nfnet_f0', 128, 'bfloat16')] * 2
