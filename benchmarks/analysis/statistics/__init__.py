"""Statistics of results: pure functions on arrays, which know no row, claim or run.

- :mod:`.samples`: mean and sample standard deviation of a few values, intervals.
- :mod:`.paired`: two methods compared by seed.
- :mod:`.resampling`: their sign-flip test and the bootstrap interval of their mean.
- :mod:`.equivalence`: agreement within a tolerance, and its verdict.
- :mod:`.power`: the seeds that a verdict takes.
- :mod:`.independent`: a change against a reference, whose runs have no seeds in common.
- :mod:`.ranks`: many methods over many tasks.
- :mod:`.pareto`: what no other point beats in everything.

What SciPy has calls SciPy, imported in the function: loading ``scipy.stats`` takes a second, which
only a command that tests something should pay.
"""
