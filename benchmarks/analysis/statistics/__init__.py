"""Statistics of results: pure functions on arrays, which know no row, claim or run.

- :mod:`.samples`: mean and sample standard deviation of a few values, intervals.
- :mod:`.paired`: two methods compared by seed.
- :mod:`.sign_flip`: the exact permutation test of paired differences.
- :mod:`.bootstrap`: bootstrap intervals of a mean.
- :mod:`.equivalence`: agreement within a tolerance, its verdict, and the seeds that it takes.
- :mod:`.noise`: whether a metric got worse beyond noise.
- :mod:`.multiple`: p values of many tests at once.
- :mod:`.profiles`, :mod:`.ranks`: many methods over many tasks.
- :mod:`.pareto`: what no other point beats in everything.

Each module is imported by itself, so that a mean does not load SciPy.
"""
