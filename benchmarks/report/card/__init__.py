"""What a run folder says: where its costs went, whether its sums hold, how to repeat it.

:mod:`.folder` reads it, :mod:`.sums` checks its costs, :mod:`.document` puts all of it into one
mapping, :mod:`.text` and :mod:`.layout` show that in a terminal. Nothing here imports torch or
writes a file.
"""
