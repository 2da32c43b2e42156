"""Whether a run and its repetition have the same numbers, for ``depthbench rerun``."""
