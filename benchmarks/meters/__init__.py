"""Meters: parameters, operations, memory, time, energy, latency; each in a module of its own.

Every meter either returns plain numbers or a list of ``records.row.Measurement``, in which a
quantity that is not available is a missing value with its reason, never 0.
"""
