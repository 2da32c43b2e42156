"""Results compared: methods with a baseline by seed, and a change with what was measured before.

- :mod:`.comparing`: the whole of ``depthbench compare`` but its printing.
- :mod:`.reading`: folders of results, each run once.
- :mod:`.conditions`: what runs must have in common to be compared, and the refusal otherwise.
- :mod:`.sizes`: effects that count, as ``top1=0.5`` or ``train_time=5%``.
- :mod:`.baseline`, :mod:`.pairs`: every network against the baseline, metric by metric.
- :mod:`.verdicts`: the rule for better and worse, and its words.
- :mod:`.tasks`: ranks and performance profiles over several tasks.
- :mod:`.reference`: a summary of results that later ones are held against, and its file.
- :mod:`.gate`: whether results got worse than the reference.

Nothing here prints or imports torch.
"""
