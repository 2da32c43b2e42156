"""Methods: one file or folder each; ``base`` is the contract, ``blocks`` the view of a backbone."""

from methods.base import METHODS, Method, Phase, PhaseResult

__all__ = ["METHODS", "Method", "Phase", "PhaseResult"]
