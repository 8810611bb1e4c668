"""The recipes in configs/ against what the papers print, number by number."""

import importlib

import pytest

from nfnets.augment.augment import Augmentation
from nfnets.models.execution import Execution
from nfnets.models.variants import VARIANTS
from nfnets.training.config import Config
from nfnets.training.derived import derive
from nfnets.training.optimizer import make_schedule

IMAGENET = 1_281_167
CIFAR = 50_000

# arXiv 2102.06171, table 1 and appendix A.3: drop rate, magnitude, train and test pixels.
NFNETS = {
  'f0': (0.2, 5, 192, 256),
  'f1': (0.3, 10, 224, 320),
  'f2': (0.4, 10, 256, 352),
  'f3': (0.4, 15, 320, 416),
  'f4': (0.5, 15, 384, 512),
  'f5': (0.5, 15, 416, 544),
  'f6': (0.5, 15, 448, 576),
  'f7': (0.5, 15, 480, 608),
}


def recipe(file: str, *variant: str) -> Config:
  return importlib.import_module(f'configs.{file}').get_config(*variant)


@pytest.mark.parametrize('plus', ['', '_plus'])
@pytest.mark.parametrize('variant', NFNETS)
def test_nfnets(variant: str, plus: str):
  """Appendices A.1 and A.3."""
  drop_rate, magnitude, train_size, test_size = NFNETS[variant]
  config = recipe('nfnet', variant + plus)
  derived = derive(config, IMAGENET)
  assert derived.model.name == f'nfnet_{variant}{plus}'
  assert derived.model.variant.drop_rate == drop_rate
  assert derived.model.variant.stochdepth_rate == 0.25
  assert derived.train_geometry.size == train_size
  assert (derived.eval_geometry.size, derived.eval_geometry.margin) == (test_size, 32)
  assert derived.augmentation == Augmentation(
    mixup=0.2, cutmix=1.0, distinct=True, layers=4, magnitude=magnitude
  )
  assert (config.batch_size, config.epochs, config.label_smoothing) == (4096, 360, 0.1)
  assert (derived.total_steps, derived.peak_learning_rate) == (112_603, 1.6)
  assert derived.weight_decay == 2e-5
  optimizer = config.optimizer
  assert (optimizer.warmup_epochs, optimizer.momentum, optimizer.nesterov) == (5, 0.9, True)
  assert (optimizer.clipping, optimizer.clip_eps, optimizer.clip_norm) == (0.01, 1e-3, 'unit')
  assert optimizer.ema_decay == 0.99999
  assert config.precision == 'bfloat16'
  sam = (0.05, 0.2, 32) if variant in ('f6', 'f7') else (None, 0.2, None)
  assert (optimizer.sam_rho, optimizer.sam_share, config.micro_batch_size) == sam
  shared = Execution(scan_from=2, equal_blocks='shared')
  assert derived.model.execution == (shared if variant in ('f5', 'f6', 'f7') else Execution())


def test_what_depends_on_the_network_and_the_batch_follows_overrides():
  config = recipe('nfnet', 'f0')
  config.model.name, config.batch_size = 'nfnet_f3', 1024
  derived = derive(config, IMAGENET)
  assert (derived.train_geometry.size, derived.eval_geometry.size) == (320, 416)
  assert derived.augmentation.magnitude == 15
  assert derived.model.variant.drop_rate == 0.4
  assert derived.peak_learning_rate == 0.4
  assert derived.total_steps == 450_411  # four times as many, rounded up
  assert derived.warmup_steps == pytest.approx(5 * IMAGENET / 1024)


@pytest.mark.parametrize('level', range(9))
def test_nf_regnets(level: int):
  """The released code's, beside what `variants` has."""
  config = recipe('nf_regnet', f'b{level}')
  derived = derive(config, IMAGENET)
  assert derived.model.name == f'nf_regnet_b{level}'
  assert derived.weight_decay == pytest.approx(5e-5 + 1e-5 * level)
  assert (config.batch_size, config.epochs, derived.peak_learning_rate) == (1024, 360, 0.4)
  schedule = make_schedule(config, derived)
  assert float(schedule(derived.total_steps)) == pytest.approx(0.001)
  augmentation = derived.augmentation
  assert (augmentation.mixup, augmentation.cutmix, augmentation.layers) == (0.2, 1.0, 0)
  assert config.optimizer.clipping is None


@pytest.mark.parametrize(
  'name', [name for name in VARIANTS if 'resnet' in name and 'wide' not in name]
)
def test_resnets(name: str):
  """Table 1 of arXiv 2101.08692, regularized."""
  config = recipe('resnet', name)
  derived = derive(config, IMAGENET)
  assert derived.model.name == name
  assert (derived.model.variant.drop_rate, derived.model.variant.stochdepth_rate) == (0.25, 0.1)
  assert (config.batch_size, config.epochs, derived.peak_learning_rate) == (1024, 90, 0.4)
  assert (derived.weight_decay, config.optimizer.clipping) == (5e-5, None)
  assert not derived.augmentation.mixes
  assert derived.augmentation.layers == 0


@pytest.mark.parametrize('name', [name for name in VARIANTS if 'wide' in name])
def test_wide_resnets(name: str):
  """arXiv 2002.10444: constant for 100 epochs, then halved every 10."""
  config = recipe('wide_resnet', name)
  derived = derive(config, CIFAR)
  assert (config.batch_size, config.epochs, derived.weight_decay) == (128, 200, 5e-4)
  schedule, epoch = make_schedule(config, derived), derived.steps_per_epoch
  rates = [float(schedule(round(epochs * epoch + 1))) for epochs in (0, 99, 100, 110, 190)]
  assert rates == pytest.approx([0.05, 0.05, 0.025, 0.0125, 0.05 / 2**10])
  assert (derived.train_geometry.padding, derived.eval_geometry.margin) == (4, 0)
