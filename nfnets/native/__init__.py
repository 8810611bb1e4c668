"""Kernels for CPUs in C++, compiled on the machine that runs them, for its instructions.

XLA's CPU backend has no fast kernel for grouped convolutions and none that saves multiplications.
These have the same results, and take a half to a fifth of the time (docs/results/convolutions.md).
So do the update of all parameters at once and the standardization of kernels, of which XLA makes
thousands of operations (docs/results/kernels.md).
"""

from nfnets.native.library import are_in_use, use_kernels

__all__ = ['are_in_use', 'use_kernels']
