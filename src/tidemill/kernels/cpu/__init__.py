"""Numba kernels for CPUs; each has its twin in `kernels.reference`."""
