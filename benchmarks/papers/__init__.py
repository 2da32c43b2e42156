"""The exact claims of the papers, computed without training.

``verdicts`` decides, ``cautions`` holds what is wrong with the claims themselves, and a file a
paper (``adn``, ``odn``, ``swn``, ``mind``) says how its figures are computed. Only those files,
``counts``, which they share, and ``adn_detectors`` import torch, and only the last imports mmdet.
"""
