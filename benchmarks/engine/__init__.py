"""Training one run: mmengine's Runner, phase by phase, with meters and resumable checkpoints."""
