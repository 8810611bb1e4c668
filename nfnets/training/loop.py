"""A run from its config to its last checkpoint, taken up wherever an earlier one stopped."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import optax

from nfnets.arguments import check_number
from nfnets.data.pipeline import Batches, train_batches
from nfnets.data.records import Records, open_records
from nfnets.disk import disk_trouble
from nfnets.errors import InputError, RunError
from nfnets.training import workdir as folders
from nfnets.training.agreement import check_devices, check_same, checksum, together
from nfnets.training.bad_records import BAD_RECORDS, BadRecords, counting_train_step
from nfnets.training.checkpointing import Checkpoints
from nfnets.training.clock import Clock
from nfnets.training.config import MAY_DIFFER, Config, flatten
from nfnets.training.derived import Derived, derive
from nfnets.training.distributed import is_first
from nfnets.training.evaluation import Evaluator
from nfnets.training.input_limit import InputLimit
from nfnets.training.memory import memory_in_use
from nfnets.training.metrics import Meter
from nfnets.training.optimizer import make_optimizer
from nfnets.training.parallel import make_mapping
from nfnets.training.profiling import PROFILE, Trace
from nfnets.training.report import Report, Silence
from nfnets.training.scores import Scores
from nfnets.training.start import Start, load_start
from nfnets.training.state import TrainState, abstract_state, create_state
from nfnets.training.step import Batch, Metrics, make_eval_step, make_train_step
from nfnets.training.stopping import StopFlag


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended."""

  step: int
  total_steps: int
  scores: Scores | None
  """Of the averaged parameters after the last step; None where the run was stopped before it."""


def train(config: Config, workdir: Path, *, force: bool = False, profile_steps: int = 0) -> Outcome:
  """Trains the network of `config`, keeping everything about the run in `workdir`.

  Called again with the same arguments it goes on from the newest checkpoint, and ends with the same
  parameters bit for bit.  SIGTERM and Ctrl-C save a checkpoint and end it.

  Args:
    config: what to run.
    workdir: holds `config.json`, `metrics.jsonl`, `curves.png`, `checkpoints/`, `tensorboard/`.
    force: go on in a folder that belongs to another run.
    profile_steps: how many steps of the first process to trace into `workdir`/profile; 0 for none.

  Raises:
    InputError: the config, the data or the folder cannot be used.
    RunError: the run diverged, too many records cannot be read, or the disk is full.
  """
  try:
    return _train(config, workdir, force, profile_steps)
  except Exception as error:
    trouble = disk_trouble(error, workdir)
    if trouble is None:
      raise
    raise RunError(
      f'{trouble}; {_newest(folders.newest_state(workdir))}: mend this and run the same command '
      'again'
    ) from error


def _train(config: Config, workdir: Path, force: bool, profile_steps: int) -> Outcome:
  clock = Clock()
  check_number('profile_steps', profile_steps, at_least=0)
  if not isinstance(config, Config):
    raise InputError(
      f'config is a {type(config).__name__}: expected a nfnets.training.config.Config'
    )
  check_devices()
  # One process may find what is wrong with its own machine: all end then, and say why.
  records, held_out, derived, data, start = together(lambda: _prepare(config, workdir, force))
  check_same(_facts(config, data))
  with (
    folders.held(workdir),
    StopFlag() as stop,
    Checkpoints(folders.checkpoint_folder(workdir), keep=config.keep_checkpoints) as checkpoints,
  ):
    run = _Run(config, derived, checkpoints, held_out, start, clock)
    del start  # the run has copies of its own
    # Now that its states are known to fit.
    together(lambda: folders.claim(workdir, config, data) if is_first() else None)
    report_class = Report if is_first() else Silence
    with (
      report_class(workdir, start_step=run.step, total_steps=derived.total_steps) as report,
      Trace(workdir / PROFILE, profile_steps if is_first() else 0) as trace,
    ):
      return run.go(records, report, stop, trace)


def _prepare(
  config: Config, workdir: Path, force: bool
) -> tuple[Records, Records, Derived, dict[str, Any], Start | None]:
  """Everything that a run needs before it touches its folder."""
  derived = derive(config, config.batch_size)  # so that a wrong field is told before missing data
  _check_batch(config, derived, jax.device_count())
  data_dir, dataset = config.data.data_dir, derived.dataset
  records = open_records(data_dir, dataset, derived.train_split)
  held_out = open_records(data_dir, dataset, derived.eval_split)
  derived = derive(config, len(records))
  data = {'training': records.fingerprint, 'evaluation': held_out.fingerprint}
  folders.check(workdir, config, data, force=force)
  # A run that goes on needs no weights; others are told what is wrong with them before all else.
  start = None if folders.has_states(workdir) else load_start(config, derived.model)
  return records, held_out, derived, data, start


def _facts(config: Config, data: dict[str, Any]) -> dict[str, Any]:
  """What must be the same on every process."""
  fields = {name: value for name, value in flatten(config).items() if name not in MAY_DIFFER}
  named = {f'the {name} data': identity for name, identity in data.items()}
  return fields | named | {'jax': jax.__version__}


def _check_batch(config: Config, derived: Derived, devices: int) -> None:
  """Whether every device, and every micro-batch, gets equally many examples."""
  size = config.batch_size
  if size % devices:
    raise InputError(f'batch_size={size} is not a multiple of the {devices} devices')
  at_once = min(config.micro_batch_size or size, size // devices)
  if size // devices % at_once:
    raise InputError(
      f'micro_batch_size={at_once}: the {size // devices} examples of a device (batch_size={size}, '
      f'{devices} devices) are not a multiple of it'
    )
  if at_once % derived.augmentation.examples_together:
    raise InputError(
      f'augment.distinct=False mixes examples in pairs: {at_once} examples at once is an odd '
      'number; choose another batch_size or micro_batch_size'
    )


class _Run:
  """The state of a run, and everything that moves or looks at it."""

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
    optimizer, schedule = make_optimizer(config, derived)
    model, dataset = derived.model, derived.dataset
    step = make_train_step(
      model,
      optimizer,
      schedule,
      dataset,
      config,
      augmentation=derived.augmentation,
      frozen=derived.frozen,
    )
    self._train_step = self._mapping.train_step(counting_train_step(step))
    self._evaluate = Evaluator(
      make_eval_step(model, dataset, config.precision),
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
    return _newest(max(self._checkpoints.steps(), default=None))

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


def _newest(step: int | None) -> str:
  return 'nothing was saved yet' if step is None else f'the last checkpoint is that of step {step}'


def is_due(step: int, every: int, last: bool) -> bool:
  """Whether something done every so many steps, and at the last, is due after `step`."""
  return last or step % every == 0
