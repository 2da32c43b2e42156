"""The claims of the papers beside what runs of this project measure.

``routing`` says for every claim how it is checked: by counting (``verify``), by a run, or not at
all, and why. A file a paper (``adn``, ``odn``, ``swn``, ``mind``, ``repl``) turns a claim into the
run behind it, under a profile. ``planning`` makes the plan, ``judging`` gives the verdicts,
``report`` writes them down. Only ``work``, which runs in processes of its own, imports torch.
"""
