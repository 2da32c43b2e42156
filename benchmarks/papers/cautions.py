"""Claims that cannot be taken at their word, and why.

Facts about the papers, not about the project: figures that exclude each other, networks that are
not described, rows that are not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.papers.claims import Claim

INCONSISTENT = "inconsistent"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"


Where = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Caution:
    """A verdict on some claims before anything is computed.

    Attributes:
        verdict: what the claims get.
        where: the claims meant, by column; several values are alternatives.
        reason: empty where the claim's own note says it.
    """

    verdict: str
    where: Where
    reason: str = ""

    def concerns(self, claim: Claim) -> bool:
        """Whether a claim is meant."""
        return all(
            getattr(claim, column) == wanted
            if isinstance(wanted, str)
            else getattr(claim, column) in wanted
            for column, wanted in self.where.items()
        )


def caution(claim: Claim) -> Caution | None:
    """The first caution about a claim, with its reason filled in."""
    for found in CAUTIONS:
        if found.concerns(claim):
            return Caution(found.verdict, found.where, found.reason or claim.note)
    return None


_ADN: Where = {"paper": "adn", "table": "1"}
_ADN_BASE: Where = {**_ADN, "method": "end_to_end", "variant": "base"}
_ODN: Where = {"paper": "odn", "table": "I"}
_MIND: Where = {"paper": "mind", "arch": ("mind-cnn", "MIND")}
_MIND_TOP1: Where = {**_MIND, "dataset": "CIFAR-100", "metric": "top1"}
_DIFFERENT_TOP1 = (
    "the paper prints 85.53 (tables 2, 8), 85.7 (table 6), 88.0 (table 11) and 91.3 (table 14) "
    "for the same network on CIFAR-100"
)

CAUTIONS = (
    Caution(
        INCONSISTENT,
        {**_ADN, "arch": "mobilenet_v2", "method": "adaptive_depth", "metric": "params"},
    ),
    Caution(INCONSISTENT, {**_ADN_BASE, "arch": "mobilenet_v2", "metric": "params"}),
    Caution(
        INCONSISTENT,
        {**_ADN_BASE, "arch": "mobilenet_v2", "metric": "gmacs"},
        "no split gives 2.99 M and 0.25 G together",
    ),
    Caution(INCONSISTENT, {**_ADN_BASE, "arch": ("vit_b_16", "swin_t"), "metric": "params"}),
    Caution(
        INCONSISTENT,
        {"paper": "adn", "table": "Figure 5", "metric": "gmacs_reduction"},
        "table 2 prints 37 % for the same two networks",
    ),
    Caution(
        INCONSISTENT,
        {
            **_ODN,
            "dataset": "EMNIST-letters",
            "variant": "depth=8/8",
            "metric": ("params", "mflops"),
        },
    ),
    Caution(
        INCONSISTENT,
        {
            **_ODN,
            "dataset": "EMNIST-letters",
            "variant": "depth=8/8",
            "metric": "disk_size",
        },
        "the size of the 10-class network is printed; 26 classes take 0.033 MB more",
    ),
    Caution(
        INCONSISTENT,
        {**_ODN, "dataset": "EMNIST-letters", "variant": "depth=3/8", "metric": "mflops"},
    ),
    Caution(
        INCONSISTENT, {**_ODN, "dataset": "SVHN", "variant": "depth=16/16", "metric": "mflops"}
    ),
    Caution(
        INCONSISTENT,
        {**_MIND, "metric": "params"},
        "100 and 1,000 classes cannot both take 5.31 M, for the classifiers differ by 0.23 M; nor "
        "does the stated network hold it (computed with one block a stage, for the paper does not "
        "say how many; 2 give 3.50 M and 3 give 5.05 M at 100 classes)",
    ),
    Caution(
        INCONSISTENT,
        {
            **{"paper": "mind", "table": "2", "dataset": "CIFAR-100", "metric": "params"},
            "arch": ("resnet50", "efficientnet_b7"),
        },
        "the count of the 1,000-class network is printed for 100 classes, too",
    ),
    Caution(INCONSISTENT, {**_MIND_TOP1, "table": ("2", "6", "8")}, _DIFFERENT_TOP1),
    Caution(
        INCONSISTENT, {**_MIND_TOP1, "table": ("11", "14"), "variant": "full"}, _DIFFERENT_TOP1
    ),
    Caution(INCONSISTENT, {**_MIND_TOP1, "table": "14"}),
    Caution(
        INCONSISTENT,
        {**_MIND, "table": ("11", "14"), "variant": "full", "metric": "gflops"},
        "the paper prints 1.05 (table 11) and 1.2 GFLOPs (table 14) for the same network",
    ),
    Caution(
        NOT_RUN,
        {**_MIND, "metric": "gflops"},
        "needs training: how much is executed depends on what the trained network selects",
    ),
    Caution(
        NOT_RUN,
        {"paper": "mind", "arch": ("cnn-4", "cnn-9", "cnn-16"), "metric": "gflops"},
        "the paper does not say how the layers of this network are laid out",
    ),
    Caution(
        NOT_COMPARABLE,
        {"paper": "mind", "arch": ("cnn-4", "cnn-9", "cnn-16"), "metric": "layers"},
        "it describes the network and is no measurement",
    ),
    Caution(
        NOT_COMPARABLE,
        {"paper": "repl", "variant": "row not named by the source", "metric": "top1"},
        "the source names neither the row nor its recipe: quoted by a public reviewer of the 2024 "
        "version",
    ),
    Caution(
        NOT_COMPARABLE,
        {"paper": "repl", "task": "language-modelling"},
        "language modelling is none of the project's tasks, and the model and its tokenisation "
        "are unknown",
    ),
)
"""The first that concerns a claim holds."""
