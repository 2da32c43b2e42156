"""The harness: plans, runs, measures, records, judges and publishes."""

__version__ = "0.1.0"
