"""Every claim, one row each, in the order of the report."""

from typing import Any

from nfnets import names
from nfnets.claims import (
  activation_gains,
  bn_signal,
  mean_shift,
  network_sizes,
  nf_recursion,
  path_lengths,
  plain_signal,
  relu_order,
  scaled_ws,
  squeeze_excite_scale,
)
from nfnets.claims.claim import Claim

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
  # The networks.
  network_sizes.CLAIM,
)


def find_claim(name: str) -> Claim[Any]:
  """The claim called `name`.

  Raises:
    InputError: there is none; the message proposes the nearest names.
  """
  return names.look_up(name, {claim.name: claim for claim in CLAIMS}, argument='claim')
