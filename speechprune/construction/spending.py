"""What calls of a paid endpoint cost, and the budget that they stay within."""

from __future__ import annotations

import threading
from dataclasses import dataclass

# US dollars for a million tokens, in and out, as https://openai.com/api/pricing printed them in 2025.
PRICES = {"gpt-4o": (2.5, 10.0), "gpt-4o-mini": (0.15, 0.6), "gpt-4.1": (2.0, 8.0), "gpt-4.1-mini": (0.4, 1.6)}
_TOKENS_PER_WORD = 1.4  # of English prose and of JSON around it, rather too many
_MILLION = 1e6


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    given: float
    written: float

    @classmethod
    def of(cls, model: str, price: str | None) -> Price | None:
        """What ``--price IN,OUT`` says, else what is known of the model, else None.

        Raises:
            ValueError: ``price`` is not two numbers.
        """
        if price is None:
            return cls(*PRICES[model]) if model in PRICES else None
        try:
            given, written = map(float, price.split(","))
            if not (0 <= given < _MILLION and 0 <= written < _MILLION):
                raise ValueError
        except ValueError:
            raise ValueError(f"--price {price}: expected dollars for a million tokens, IN,OUT, as in 2.5,10") from None
        return cls(given, written)

    def cost(self, given: int, written: int) -> float:
        """Dollars for so many tokens."""
        return (given * self.given + written * self.written) / _MILLION


def estimate_tokens(text: str) -> int:
    """Tokens of a text, roughly and rather too many."""
    return round(_TOKENS_PER_WORD * len(text.split())) + 1


class BudgetSpent(ValueError):  # noqa: N818  (a state, not a mistake)
    """The next call could cost more than is left."""


class Budget:
    """What was spent and what calls under way may still cost, in dollars; for several threads.

    Args:
        most: the cap; None for none.
        spent: by earlier runs, whose replies are kept.
    """

    def __init__(self, most: float | None, spent: float = 0.0) -> None:
        self.most, self.spent = most, spent
        self._reserved = 0.0
        self._lock = threading.Lock()

    def reserve(self, dollars: float) -> None:
        """Before a call, with what it can cost. BudgetSpent where that is more than is left."""
        with self._lock:
            if self.most is not None and self.spent + self._reserved + dollars > self.most:
                raise BudgetSpent(
                    f"--max-cost {self.most:g}: ${self.spent:.4f} are spent, ${self._reserved:.4f} are under way, and "
                    f"the next call may cost ${dollars:.4f}; give more to go on"
                )
            self._reserved += dollars

    def settle(self, reserved: float, dollars: float) -> None:
        """After the call, with what it did cost."""
        with self._lock:
            self._reserved -= reserved
            self.spent += dollars
