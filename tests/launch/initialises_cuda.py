"""A module that the server imports and that initialises the driver, as torch does without NVML."""

import ctypes

ctypes.CDLL("libcuda.so.1").cuInit(0)
