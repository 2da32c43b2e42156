"""The papers' claims: ``verify`` computes the exact ones, ``reproduce`` trains the others.

A paper is one file (``adn``, ``odn``, ``swn``, ``mind``, ``repl``); their base is in ``paper``.
torch is imported where something is computed, mmdet where a detector is counted.
"""
