"""``python -m benchmarks`` is ``depthbench``."""

from benchmarks.cli import main

main()
