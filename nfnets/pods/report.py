"""A plan in words, and several as a table."""

from collections.abc import Sequence

from nfnets.pods.compiler import Compiled
from nfnets.pods.plan import Plan

_GIGA, _TERA, _GIB = 1e9, 1e12, 2**30
_HOUR, _DAY = 3600, 86400


def text(plan: Plan) -> str:
  """The plan in lines."""
  topology = plan.topology
  lines = [
    f'{plan.model} at {plan.size} pixels on {topology}: {topology.devices} devices, '
    f'{plan.examples} examples each{_pieces(plan)}, batch {plan.examples * topology.devices}',
    *_memory(plan),
    *_time(plan),
  ]
  return '\n'.join(lines)


def _pieces(plan: Plan) -> str:
  if plan.examples_at_once == plan.examples:
    return ''
  return f' in pieces of {plan.examples_at_once}'


def _memory(plan: Plan) -> list[str]:
  compiled, available = plan.compiled, gib(plan.available)
  if isinstance(compiled, Compiled):
    verdict = 'fits' if plan.fits else 'does not fit'
    parts = {
      'arguments': compiled.arguments,
      'outputs beside them': compiled.outputs - compiled.aliased,
      'temporaries': compiled.temporaries,
      'program': compiled.program,
    }
    listed = ', '.join(f'{name} {gib(value)}' for name, value in parts.items())
    lines = [f'memory     {gib(compiled.memory)} of {available} on a device: {verdict} ({listed})']
  elif compiled.needed is None:
    lines = [f'memory     more than the {available} of a device, the compiler says: does not fit']
  else:
    lines = [f'memory     {gib(compiled.needed)} of {available} on a device: does not fit']
  if plan.fits:
    return lines
  lines += [f'           try {one.flags} ({_about(one.bytes)})' for one in plan.advice]
  return lines + ['           or more devices'] * (not plan.advice)


def _about(needed: int | None) -> str:
  return 'how much that needs is not known' if needed is None else f'about {gib(needed)}'


def _time(plan: Plan) -> list[str]:
  lines = [
    f'operations {plan.flops / _TERA:.3g} TFLOP a device and step, '
    f'{plan.model_flops / plan.flops:.0%} of them forward and backward once: '
    f'{milliseconds(plan.flops_seconds)} at the peak rate'
  ]
  if not isinstance(plan.compiled, Compiled):
    return lines
  limit = 'operations' if plan.flops_seconds >= plan.bytes_seconds else 'memory'
  compiled = plan.compiled
  return [
    *lines,
    f'bytes      {compiled.bytes_moved / _GIGA:.3g} GB a device and step: '
    f'{milliseconds(plan.bytes_seconds)} at the peak bandwidth '
    f'({compiled.bytes_accessed / _GIGA:.3g} GB by the sum of the compiler)',
    f'at best    {_pace(plan, plan.best_seconds)} (limited by {limit})',
    f'expected   {_pace(plan, plan.expected_seconds)}',
    f'compiled   in {compiled.seconds:.0f} s, {compiled.core_seconds:.0f} s of a core',
  ]


def _pace(plan: Plan, step: float) -> str:
  return (
    f'{milliseconds(step)} a step, {plan.images_per_second(step):,.0f} images/s, an epoch in '
    f'{duration(step * plan.steps_per_epoch)}, {plan.total_steps:,} steps in '
    f'{duration(step * plan.total_steps)}'
  )


def markdown(plans: Sequence[Plan]) -> str:
  """The plans as a Markdown table."""
  titles = (
    'network', 'pod', 'devices', 'examples each', 'memory', 'of', 'TFLOP', 'GB', 'at best',
    'expected', 'images/s', 'run', 'compiled in',
  )  # fmt: skip
  lines = [titles, ('---', '---', *['---:'] * (len(titles) - 2)), *map(_cells, plans)]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def _cells(plan: Plan) -> tuple[str, ...]:
  compiled = plan.compiled
  done = isinstance(compiled, Compiled)
  known = plan.memory is not None
  return (
    plan.model,
    str(plan.topology),
    str(plan.topology.devices),
    f'{plan.examples}{_pieces(plan)}',
    f'{gib(plan.memory or 0) if known else "more"}{"" if plan.fits else ", does not fit"}',
    gib(plan.available),
    f'{plan.flops / _TERA:.3g}',
    f'{compiled.bytes_moved / _GIGA:.3g}' if done else '',
    milliseconds(plan.best_seconds) if done else '',
    milliseconds(plan.expected_seconds) if done else '',
    f'{plan.images_per_second(plan.expected_seconds):,.0f}' if done else '',
    duration(plan.expected_seconds * plan.total_steps) if done else '',
    f'{compiled.core_seconds:.0f} s' if done else '',
  )


def gib(value: float) -> str:
  """Bytes for people."""
  return f'{value / _GIB:.3g} GiB'


def milliseconds(seconds: float) -> str:
  """A short time for people."""
  return f'{1000 * seconds:.3g} ms'


def duration(seconds: float) -> str:
  """A long time for people."""
  for unit, length in (('days', _DAY), ('h', _HOUR), ('min', 60)):
    if seconds >= 2 * length:
      return f'{seconds / length:.3g} {unit}'
  return f'{seconds:.3g} s'
