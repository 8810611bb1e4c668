"""The learning curves of a run as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_Line = dict[str, Any]

# (title, [(kind of line, metric, label)])
_PANELS = (
  ('loss', [('train', 'loss', 'training'), ('eval', 'loss', 'evaluation'),
            ('eval', 'ema_loss', 'evaluation, averaged parameters')]),
  ('accuracy', [('train', 'accuracy', 'training'), ('eval', 'accuracy', 'evaluation'),
                ('eval', 'ema_accuracy', 'evaluation, averaged parameters')]),
  ('learning rate', [('train', 'learning_rate', None)]),
  ('share of clipped units', [('train', 'clipped', None)]),
)  # fmt: skip


def draw_curves(lines: Sequence[_Line], path: Path) -> Path | None:
  """Draws what the lines of `metrics.jsonl` hold over the steps, into a PNG file.

  Returns:
    `path`, or None where there are no lines.
  """
  if not lines:
    return None
  figure = Figure(figsize=(11, 7), layout='constrained')
  for axes, (title, curves) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
    for kind, metric, label in curves:
      points = [(line['step'], line[metric]) for line in lines if _has(line, kind, metric)]
      marker = '.' if kind == 'eval' else None
      axes.plot(*zip(*points, strict=True), label=label, marker=marker) if points else None
    axes.set_title(title, loc='left')
    axes.set_xlabel('step')
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
      axes.legend(frameon=False)
  figure.savefig(path, dpi=100)
  return path


def _has(line: _Line, kind: str, metric: str) -> bool:
  return line['kind'] == kind and line.get(metric) is not None
