"""Numbers as cells of a table, "-" where there is none."""

from __future__ import annotations

from collections.abc import Sequence


def dash(value: object) -> str:
    """``value`` as text, "-" for None."""
    return "-" if value is None else f"{value}"


def percent(fraction: float | None) -> str:
    """0.8923 -> "89.23"; None -> "-"."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def percent_range(bounds: Sequence[float] | None) -> str:
    """(0.811, 0.902) -> "81.10 to 90.20"; None -> "-"."""
    return "-" if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def rate_text(rate: float | None) -> str:
    """0.4 -> "0.4"; None -> "-"."""
    return "-" if rate is None else f"{rate:g}"


def p_value(p: float | None) -> str:
    """0.01234 -> "0.0123", 0.00001 -> "< 0.0001"; None -> "-"."""
    if p is None:
        return "-"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
