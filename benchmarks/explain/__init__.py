"""What a run folder says: where its costs went, whether its sums hold, how to repeat it.

- :mod:`.subject`: a folder, read once; :mod:`.checkpoint`: how far an unfinished run is.
- :mod:`.balance`: sums that must hold; :mod:`.time_balance`, :mod:`.energy_balance` and
  :mod:`.memory_balance` take them from rows.
- :mod:`.document`: all of it as one mapping; :mod:`.text`: the same for a terminal.
- :mod:`.origin` and :mod:`.agreement`: what changed since a run, and whether a repetition agrees.

Nothing here imports torch or writes a file.
"""
