"""What the papers vary with the network beside its numbers in `nfnets.models.variants`."""

_NFNET_MAGNITUDES = (5, 10, 10, 15, 15, 15, 15, 15)

MAGNITUDES: dict[str, float] = {
  f'nfnet_f{number}{plus}': magnitude
  for number, magnitude in enumerate(_NFNET_MAGNITUDES)
  for plus in ('', '_plus')
}
"""Of RandAugment: arXiv 2102.06171, appendix A.3; that of F7 is the released code's.  The plus
variants, which were never trained with it, have that of the network of the same number."""

WEIGHT_DECAYS: dict[str, float] = {
  **dict.fromkeys(MAGNITUDES, 2e-5),
  **{f'nf_regnet_b{level}': round(5e-5 + 1e-5 * level, 6) for level in range(9)},
}
"""NFNets: arXiv 2102.06171, appendix A.1.  NF-RegNets: 5e-5 and 1e-5 more with each level, as in
the released code, here for B6 to B8 too; the appendix of arXiv 2101.08692 has others."""
