"""Training budgets in any of four costs: seconds, steps, images or floating-point operations."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from zoo.cost import Cost, Unit
from zoo.errors import BudgetError

# What a person may type behind the number, and how much of which cost it is.
_UNITS: dict[str, tuple[float, Unit]] = {
    "s": (1, "seconds"),
    "min": (60, "seconds"),
    "h": (3600, "seconds"),
    "step": (1, "steps"),
    "steps": (1, "steps"),
    "image": (1, "images"),
    "images": (1, "images"),
    "GFLOP": (1e9, "flops"),
    "TFLOP": (1e12, "flops"),
    "PFLOP": (1e15, "flops"),
}
_PREFIXES = {"": 1, "k": 1_000, "M": 1_000_000}
_PATTERN = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)\s*([kM]?)(" + "|".join(_UNITS) + r")\s*")
_EXAMPLES = "type one like 20s, 10min, 2h, 500steps, 50kimages or 2PFLOP"
_LONGEST_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True)
class Budget:
    """An amount of one cost that training may spend.

    Attributes:
        amount: in the base unit (seconds, steps, images, single operations).
        unit: which of the fields of `Cost` it limits.
        text: as the user wrote it.
    """

    amount: float
    unit: Unit
    text: str

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """Reads `<number>[k|M]<unit>`, units s, min, h, steps, images, GFLOP, TFLOP, PFLOP.

        Raises:
            BudgetError: it cannot be read, is not positive, or is less than one step or image.
        """
        if isinstance(text, Budget):
            return text
        match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise BudgetError(f"cannot read the budget {text!r}; {_EXAMPLES}")
        number, prefix, unit_text = match.groups()
        factor, unit = _UNITS[unit_text]
        amount = float(number) * _PREFIXES[prefix] * factor
        if not amount > 0 or not math.isfinite(amount):
            raise BudgetError(f"the budget {text!r} is not positive; {_EXAMPLES}")
        if unit in ("steps", "images") and amount < 1:
            raise BudgetError(f"the budget {text!r} is less than one of {unit}; {_EXAMPLES}")
        if unit == "seconds" and amount > _LONGEST_SECONDS:
            raise BudgetError(f"the budget {text!r} is longer than a year; {_EXAMPLES}")
        return cls(amount, unit, text.strip())

    def spent(self, cost: Cost) -> float:
        """The part of `cost` that counts against the budget, in its unit."""
        return float(getattr(cost, self.unit))

    def __str__(self) -> str:
        return self.text
