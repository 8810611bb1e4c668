"""Kernels for CPUs in C++, compiled on the machine that runs them, for its instructions.

XLA's CPU backend has no fast kernel for grouped convolutions and none that saves multiplications.
These have the same results, and take a half to a fifth of the time (docs/results/convolutions.md).
"""

from nfnets.native.library import are_in_use, use_kernels

__all__ = ['are_in_use', 'use_kernels']
