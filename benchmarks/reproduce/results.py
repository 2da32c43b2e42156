"""Where a reproduction keeps its runs."""

from __future__ import annotations

from benchmarks.store import Plan, Store
from tasks.errors import UserError


class ReproductionStore(Store):
    """A results directory whose runs have budgets of their own, and so no one plan.

    Tables of it are made of the rows alone.
    """

    def check(self) -> None:
        """Refuse the directory of a suite, whose rows would be overwritten.

        Raises:
            UserError: it is one.
        """
        plan = self.plan()
        if plan is not None:
            raise UserError(
                f"{self.path} holds the results of the suite '{plan.suite}': choose another folder "
                "with --results"
            )

    def write_plan(self, plan: Plan) -> None:
        """Write nothing."""
        self.check()
