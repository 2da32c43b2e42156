"""Results that a repository keeps: copied out of a results folder, with one page about all.

- :mod:`.copying`: a results folder without logs and checkpoints, under ``published/``.
- :mod:`.facts`: what manifests say of where, when and with what runs were made.
- :mod:`.readme`: the page ``README.md`` about everything that is published.
"""
