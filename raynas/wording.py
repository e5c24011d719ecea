"""Numbers, durations, sizes and settings in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")


def size_in_words(size: int) -> str:
    """4,556,250 (4.6 million), or 3.2 × 10^21 beyond what has a common name."""
    group = (len(str(size)) - 1) // 3
    if group == 0:
        return str(size)
    if group >= len(_SCALES):
        digits = str(size)
        return f"about {digits[0]}.{digits[1]} × 10^{len(digits) - 1}"  # noqa: RUF001
    rounded = f"{size / 1000**group:.3g} {_SCALES[group]}"
    return f"{size:,} ({rounded})" if group > 1 else f"{size:,}"


def duration(seconds: float) -> str:
    """In the two largest units that matter."""
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 10 else 3}g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def compact(value: float) -> str:
    """Large counts in k, M, G, with three digits."""
    for factor, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(0.9995 * factor, 1e4):
            scaled = value / factor
            return f"{scaled:.{max(0, 2 - len(str(int(abs(round(scaled, 2))))) + 1)}f} {suffix}"
    return f"{value:,.0f}"


def percent(share: float, digits: int = 2) -> str:
    """A fraction, such as an accuracy."""
    return f"{100 * share:.{digits}f} %"


def plural(count: int, one: str, several: str) -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else several}"


def shown(value: Any) -> str:
    """A setting or a field as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " × ".join(map(shown, value))  # noqa: RUF001
    return "none" if value is None else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """`name value` pairs in one line."""
    return ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items())


def setting_text(value: Any) -> str:
    """A setting, with spaces between the values of a list and its own lists in brackets."""
    if isinstance(value, Mapping):
        return settings_text(value) or "none"
    if isinstance(value, list | tuple):
        parts = (f"[{setting_text(item)}]" if isinstance(item, list | tuple) else shown(item) for item in value)
        return " ".join(parts) or "none"
    return shown(value) or "none"
