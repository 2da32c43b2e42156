"""Meters: parameters, operations, memory, time, energy, latency; each in a module of its own.

Every meter either returns plain numbers or a list of ``benchmarks.records.Measurement``, in which
a quantity that could not be had is a missing value with its reason, never 0.
"""
