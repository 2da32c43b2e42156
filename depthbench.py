"""The public API of depthbench, for scripts and notebooks.

>>> from depthbench import compare_results
>>> compare_results(["results/published/quickstart"], ["top1"]).comparisons
"""

from typing import Any

import benchmarks
from benchmarks import __all__ as __all__


def __getattr__(name: str) -> Any:
    return getattr(benchmarks, name)
