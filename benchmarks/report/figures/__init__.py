"""Figures: what they show (pure data), then how they are drawn.

- :mod:`.panels`: the data of each kind of figure.
- :mod:`.curves`: learning curves from the runs' ``curve.csv``.
- :mod:`.choose`: which figures results have, and why others are left out.
- :mod:`.draw`, :mod:`.style`: matplotlib.
- :mod:`.output`: SVG for a page, PDF and PNG for papers, the same bytes each time.
"""
