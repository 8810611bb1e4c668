"""Every claim, one row each, in the order of the report."""

from typing import Any

from nfnets import names
from nfnets.claims.claim import Claim
from nfnets.claims.depth import (
  fixup_rules,
  learning_rate_batch_size,
  nf_trains_deep,
  skipinit_trains,
  skipinit_without_l2,
  sqrt2_fails_deep,
  unit_gain_fails,
)
from nfnets.claims.learning import (
  agc_batch_size,
  agc_clipping_factor,
  agc_layers,
  agc_norms,
  augmentation_gap,
  ema,
  explicit_regularization,
  fast_sam,
  sam_gain,
  skip_gain_under_agc,
  small_batch,
  transfer,
)
from nfnets.claims.networks import batch_independence, network_sizes
from nfnets.claims.signal import (
  activation_gains,
  bn_signal,
  branch_downscaling,
  deep_linear_statistics,
  mean_shift,
  nf_recursion,
  path_lengths,
  plain_signal,
  relu_order,
  relu_statistics,
  scaled_ws,
  skipinit_variance,
  squeeze_excite_scale,
)
from nfnets.claims.statistics import (
  batch_statistics_inference,
  domain_statistics,
  ema_large_batch,
  frozen_bn,
  leakage,
  normalization_batch_size,
  precise_bn,
  precise_bn_batch_size,
  replica_equality,
  target_statistics,
)

CLAIMS: tuple[Claim[Any], ...] = (
  # The signal at initialization.
  path_lengths.CLAIM,
  plain_signal.CLAIM,
  bn_signal.CLAIM,
  mean_shift.CLAIM,
  relu_order.CLAIM,
  scaled_ws.CLAIM,
  activation_gains.CLAIM,
  nf_recursion.CLAIM,
  squeeze_excite_scale.CLAIM,
  # Depth: batch normalization and what takes its place.
  deep_linear_statistics.CLAIM,
  relu_statistics.CLAIM,
  branch_downscaling.CLAIM,
  skipinit_variance.CLAIM,
  skipinit_trains.CLAIM,
  unit_gain_fails.CLAIM,
  sqrt2_fails_deep.CLAIM,
  skipinit_without_l2.CLAIM,
  fixup_rules.CLAIM,
  nf_trains_deep.CLAIM,
  learning_rate_batch_size.CLAIM,
  # Adaptive gradient clipping.
  agc_batch_size.CLAIM,
  agc_clipping_factor.CLAIM,
  agc_layers.CLAIM,
  agc_norms.CLAIM,
  skip_gain_under_agc.CLAIM,
  # Regularization.
  small_batch.CLAIM,
  explicit_regularization.CLAIM,
  augmentation_gap.CLAIM,
  ema.CLAIM,
  sam_gain.CLAIM,
  fast_sam.CLAIM,
  # Transfer.
  transfer.CLAIM,
  # The networks.
  network_sizes.CLAIM,
  batch_independence.CLAIM,
  # Batch normalization, and what "batch" means.
  precise_bn.CLAIM,
  precise_bn_batch_size.CLAIM,
  ema_large_batch.CLAIM,
  normalization_batch_size.CLAIM,
  batch_statistics_inference.CLAIM,
  frozen_bn.CLAIM,
  domain_statistics.CLAIM,
  target_statistics.CLAIM,
  leakage.CLAIM,
  replica_equality.CLAIM,
)


def find_claim(name: str) -> Claim[Any]:
  """The claim called `name`.

  Raises:
    InputError: there is none; the message proposes the nearest names.
  """
  return names.look_up(name, {claim.name: claim for claim in CLAIMS}, argument='claim')
