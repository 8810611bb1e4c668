"""The papers whose claims are tried."""

from typing import NamedTuple


class Paper(NamedTuple):
  """One of them."""

  short: str
  title: str
  authors: str
  arxiv: str

  @property
  def url(self) -> str:
    """Its page on arXiv."""
    return f'https://arxiv.org/abs/{self.arxiv}'


SKIPINIT = Paper(
  'SkipInit',
  'Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep Networks',
  'De and Smith 2020',
  '2002.10444',
)
SIGNAL = Paper(
  'NF-ResNets',
  'Characterizing signal propagation to close the performance gap in unnormalized ResNets',
  'Brock, De and Smith 2021',
  '2101.08692',
)
NFNETS = Paper(
  'NFNets',
  'High-Performance Large-Scale Image Recognition Without Normalization',
  'Brock, De, Smith and Simonyan 2021',
  '2102.06171',
)
BATCHNORM = Paper(
  'Rethinking "Batch"', 'Rethinking "Batch" in BatchNorm', 'Wu and Johnson 2021', '2105.07576'
)
SAM = Paper(
  'SAM',
  'Sharpness-Aware Minimization for Efficiently Improving Generalization',
  'Foret, Kleiner, Mobahi and Neyshabur 2020',
  '2010.01412',
)

PAPERS = (SKIPINIT, SIGNAL, NFNETS, BATCHNORM, SAM)
