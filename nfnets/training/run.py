"""The state of a run, and everything that moves or looks at it."""

import dataclasses
from typing import Any

import jax
import optax

from nfnets.data.pipeline import Batches, train_batches
from nfnets.data.records import Records
from nfnets.errors import RunError
from nfnets.training.agreement import check_same, checksum
from nfnets.training.bad_records import BAD_RECORDS, BadRecords, counting_train_step
from nfnets.training.checkpointing import Checkpoints, tell_newest
from nfnets.training.clock import Clock
from nfnets.training.config import Config
from nfnets.training.derived import Derived
from nfnets.training.evaluation import Evaluator
from nfnets.training.input_limit import InputLimit
from nfnets.training.memory import memory_in_use
from nfnets.training.metrics import Meter
from nfnets.training.parallel import make_mapping
from nfnets.training.profiling import Trace
from nfnets.training.report import Report
from nfnets.training.scores import Scores
from nfnets.training.start import Start
from nfnets.training.state import TrainState, abstract_state, create_state
from nfnets.training.step import Batch, Metrics, make_eval_step, make_run_step
from nfnets.training.stopping import StopFlag


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended."""

  step: int
  total_steps: int
  scores: Scores | None
  """Of the averaged parameters after the last step; None where the run was stopped before it."""


class Run:
  """A run between two starts of the program: `go` takes its steps."""

  def __init__(
    self,
    config: Config,
    derived: Derived,
    checkpoints: Checkpoints,
    held_out: Records,
    start: Start | None,
    clock: Clock,
  ):
    """`start` is what a run without checkpoints begins with; fresh parameters by default."""
    self._config, self._derived, self._checkpoints = config, derived, checkpoints
    self._mapping = make_mapping(config.mapping)
    step, optimizer = make_run_step(config, derived)
    self._train_step = self._mapping.train_step(counting_train_step(step))
    self._evaluate = Evaluator(
      make_eval_step(derived.model, derived.dataset, config.precision),
      self._mapping,
      held_out,
      derived.eval_geometry,
      batch_size=config.eval_batch_size,
      threads=config.data.threads,
    )
    self._state = self._first_state(optimizer, start)
    self.step = int(self._state.step)
    self._clock, self._meter = clock, Meter(config.batch_size, clock)
    self._input_limit = InputLimit(threads=config.data.threads, workers=config.data.workers)
    self._bad_records = BadRecords(self.step, derived.steps_per_epoch)

  def _first_state(
    self, optimizer: optax.GradientTransformation, start: Start | None
  ) -> TrainState:
    like = abstract_state(self._derived.model, optimizer, self._mapping.global_sharding)
    restored = self._checkpoints.restore_newest(like)
    if restored is not None:
      return self._mapping.from_global(restored)
    rng = jax.random.key(self._config.seed)
    state = create_state(self._derived.model, optimizer, rng, start=start)
    if jax.process_count() > 1:
      check_same({'parameters to start with': checksum(state.params)})
    return self._mapping.replicate(state)

  def go(self, records: Records, report: Report, stop: StopFlag, trace: Trace) -> Outcome:
    """Takes all steps that are left, or as many as `stop` lets it."""
    total = self._derived.total_steps
    report.say(self._greeting(len(records)))
    scores = None
    if self.step < total:
      self._clock.lap('start')
      if self.step == 0:
        self._look(report)
      with self._batches(records) as batches:
        scores = self._steps(batches, report, stop, trace)
      self._tell_time(report)
    else:
      _, scores = self._evaluate(*self._models())
    return Outcome(self.step, total, scores)

  def _greeting(self, examples: int) -> str:
    derived, devices, finetune = self._derived, jax.devices(), self._config.finetune
    start = f'goes on at step {self.step}' if self.step else 'starts'
    weights = finetune.weights or finetune.source
    special = [f'weights of {weights}'] if weights and not self.step else []
    special += [f'frozen up to {finetune.freeze_to}'] if finetune.freeze_to else []
    return (
      f'{derived.model.name} on {derived.dataset.name} ({examples} images of '
      f'{derived.train_geometry.size} pixels) {start} of {derived.total_steps} steps: '
      f'batch {self._config.batch_size}, {len(devices)} {devices[0].device_kind} device(s), '
      f'{", ".join([self._config.precision, *special])}'
    )

  def _batches(self, records: Records) -> Batches:
    return train_batches(
      records,
      self._derived.train_geometry,
      seed=self._config.seed,
      batch_size=self._config.batch_size,
      start_step=self.step,
      shard=(jax.process_index(), jax.process_count()),
      threads=self._config.data.threads,
      workers=self._config.data.workers,
      images_per_example=self._derived.augmentation.images_per_example,
      together=self._derived.augmentation.examples_together,
    )

  def _steps(self, batches: Batches, report: Report, stop: StopFlag, trace: Trace) -> Scores | None:
    derived, scores, first = self._derived, None, self.step + 1
    batch = self._next(batches)
    self._clock.lap('start')
    unchecked: list[Metrics] = []
    stopping = False
    while not stopping:
      with jax.profiler.StepTraceAnnotation('train', step_num=self.step + 1):
        self._state, metrics = self._train_step(self._state, batch)
      self.step += 1
      self._meter.add(metrics)
      last = self.step == derived.total_steps
      if self.step == first:
        self._end_first_step(metrics, report)
      if not last:
        self._clock.lap('steps')
        batch = self._next(batches)  # while the devices work
        # Only if they ran dry has the run waited for its input.
        self._clock.lap('input' if metrics['loss'].is_ready() else 'steps')
      self._check(unchecked)  # waits for the step before this one: never more than two under way
      unchecked.append(metrics)
      stopping = last or stop.at(self.step)
      if trace.is_due(self.step + 1 - first, last=last):
        self._trace(metrics, report, trace)
      saves = is_due(self.step, derived.checkpoint_every, stopping)
      # A line means the steps since the last one: a run that is taken up begins a new one.
      if saves or is_due(self.step, self._config.log_every, stopping):
        self._check(unchecked)
        self._log(report)
      if is_due(self.step, derived.eval_every, last):
        self._check(unchecked)
        scores = self._eval(report)
      if saves:
        self._check(unchecked)
        self._save()
    if int(self._state.bad_steps):
      report.say(f'the last {self._state.bad_steps} steps changed nothing: not finite')
    return scores if self.step == derived.total_steps else None

  def _end_first_step(self, metrics: Metrics, report: Report) -> None:
    """Waits for it: a speed that counts compilation tells nothing."""
    jax.block_until_ready(metrics)
    report.tell_first_step(self._clock.lap('first_step'))
    self._meter.restart()

  def _trace(self, metrics: Metrics, report: Report, trace: Trace) -> None:
    jax.block_until_ready(metrics)
    self._clock.lap('steps')
    report.say(trace.turn(self.step, last=self.step == self._derived.total_steps))
    self._clock.lap('other')

  def _next(self, batches: Batches) -> Batch:
    """The next batch, on its way to the devices."""
    return self._mapping.spread(next(batches))

  def _check(self, unchecked: list[Metrics]) -> None:
    """Waits for steps; stops a run that diverged, or that reads too little of its data."""
    while unchecked:
      metrics, bad = unchecked.pop(0), self._bad_records
      bad.add(int(metrics[BAD_RECORDS]))
      if bad.count > self._config.data.max_bad_records:
        raise RunError(
          f'{bad.count} records could not be read in epoch {bad.epoch}, up to step {bad.step}, '
          f'more than data.max_bad_records={self._config.data.max_bad_records}; '
          f'{self._last_saved()}: the log names their files'
        )
      if int(metrics['bad_steps']) >= self._config.max_bad_steps:
        raise RunError(
          f'loss, gradients or parameters were not finite in {self._config.max_bad_steps} steps in '
          f'a row, up to step {bad.step}; {self._last_saved()}: '
          'try a lower optimizer.learning_rate or optimizer.clipping'
        )

  def _last_saved(self) -> str:
    self._checkpoints.wait()  # what is still being written may fail
    return tell_newest(max(self._checkpoints.steps(), default=None))

  def _log(self, report: Report) -> None:
    self._clock.lap('steps')
    line = self._meter.read() | memory_in_use()
    line['epoch'] = self.step / self._derived.steps_per_epoch
    line[BAD_RECORDS] = self._bad_records.count
    report.write(self.step, 'train', line)
    report.tell_train(self.step, line)
    if word := self._input_limit.word(line.get('input_wait', 0.0)):
      report.say(word)

  def _models(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The parameters and their average, each with the network's state."""
    state = self._state
    return (state.params, state.state), (state.ema_params, state.ema_state)

  def _look(self, report: Report) -> None:
    """Tells what one batch scores, so that a broken evaluation shows now and not after an epoch."""
    report.tell_look(*self._evaluate.look(*self._models()))
    self._clock.lap('evaluation')

  def _eval(self, report: Report) -> Scores:
    self._clock.lap('steps')
    raw, ema = self._evaluate(*self._models())
    report.tell_eval(self.step, raw, ema)
    self._clock.lap('evaluation')
    return ema

  def _save(self) -> None:
    self._clock.lap('steps')
    self._checkpoints.save(self.step, self._mapping.to_global(self._state))
    self._clock.lap('checkpoints')

  def _tell_time(self, report: Report) -> None:
    """Finishes what may take long, then tells where the time went."""
    self._clock.lap('other')
    self._checkpoints.wait()
    self._clock.lap('checkpoints')
    report.draw()
    self._clock.lap('other')
    report.tell_time(self.step, self._clock.seconds())


def is_due(step: int, every: int, last: bool) -> bool:
  """Whether something done every so many steps, and at the last, is due after `step`."""
  return last or step % every == 0
