"""Numbers, durations, sizes, names and settings in words, as pages, consoles and messages show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")


def size_in_words(size: int) -> str:
    """A count of architectures, such as 4,556,250 (4.56 million), or about 3.2 × 10^24 where no name is common."""
    group = (len(str(size)) - 1) // 3
    if group == 0:
        return str(size)
    if group >= len(_SCALES):
        digits = str(size)
        return f"about {digits[0]}.{digits[1]} × 10^{len(digits) - 1}"  # noqa: RUF001
    named = f"{size / 1000**group:.3g} {_SCALES[group]}"
    return f"{size:,} ({named})" if group > 1 else f"{size:,}"


def duration(seconds: float) -> str:
    """A duration in the two largest of seconds, minutes, hours and days, such as 2 min 05 s; 0.0 s below a ms."""
    if seconds < 0.001:
        return "0.0 s"
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 10 else 3}g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def compact(value: float) -> str:
    """A count with three digits in k, M, G, T or P, such as 12.3 M; below 10,000 as a whole number."""
    for factor, suffix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(0.9995 * factor, 1e4):
            scaled = value / factor
            return f"{scaled:.{max(0, 2 - len(str(int(abs(round(scaled, 2))))) + 1)}f} {suffix}"
    return f"{value:,.0f}"


def rounded(value: float) -> str:
    """A quantity with up to four digits in k, M or G, such as 2.42 M or 80 M."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.4g} {suffix}"
    return f"{value:.4g}"


def memory_size(size_bytes: float) -> str:
    """An amount of memory, such as 1.50 GiB, or 102 MiB where it is less than one GiB."""
    if size_bytes >= 2**30:
        return f"{size_bytes / 2**30:.2f} GiB"
    mebibytes = size_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes >= 100 else f"{mebibytes:.3g} MiB"


def percent(share: float, digits: int = 2) -> str:
    """A fraction in percent, such as 87.50 % for 0.875, with this many digits behind the point."""
    return f"{100 * share:.{digits}f} %"


def plural(count: int, one: str, several: str) -> str:
    """A count with its noun, which has one form for one thing and one for any other number of them."""
    return f"{count:,} {one if count == 1 else several}"


def span(least: int, most: int) -> str:
    """The whole numbers between two, which may be one."""
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def first_of(names: Sequence[Any], most: int = 5, between: str = ", ") -> str:
    """The first of some names, and how many more there are, such as ant, bee, and 12 more."""
    rest = len(names) - most
    shown = [told_apart(name, between.strip()) for name in names[:most]]
    return between.join([*shown, *([f"and {rest:,} more"] if rest > 0 else [])])


def told_apart(name: Any, mark: str = ",") -> str:
    """A name as it stands in a list: in double quotes where one could not see where it begins or ends.

    Args:
        name: The name.
        mark: What stands between the names of the list.
    """
    text = str(name)
    if text and mark not in text and text == text.strip() and not text.startswith('"'):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of some names that is most like a name with a slip in it, whatever its case; None where none is."""
    by_lower = {one.lower(): one for one in names}
    close = get_close_matches(name.lower(), list(by_lower), n=1)
    return by_lower[close[0]] if close else None


def meant(name: str, names: Iterable[str]) -> str:
    """A question whether the nearest of some names was meant, with a blank before it; empty where none is near."""
    near = nearest(name, names)
    return "" if near is None else f" Did you mean {near!r}?"


def share_decoded(tried: int, looked_at: int, decoded: int) -> str:
    """How many images were decoded, in words.

    Args:
        tried: How many it was tried with.
        looked_at: How many were looked at, at their beginning at least.
        decoded: How many of those that were tried were decoded without an error.
    """
    if tried < looked_at:
        return f"{decoded:,} decoded, evenly spread"
    return f"all but {tried - decoded:,} decoded" if decoded < tried else "all decoded"


def shown(value: Any) -> str:
    """The value of a setting or of an architecture's field as people write it: yes, 0.05, 3 × 3, none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " × ".join(map(shown, value))  # noqa: RUF001
    return "none" if value is None else str(value)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line, each as its name and its value."""
    return ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items())


def setting_text(value: Any) -> str:
    """The value of a setting: that of a list with spaces between its items, its own lists in brackets."""
    if isinstance(value, Mapping):
        return settings_text(value) or "none"
    if isinstance(value, list | tuple):
        parts = (f"[{setting_text(item)}]" if isinstance(item, list | tuple) else shown(item) for item in value)
        return " ".join(parts) or "none"
    return shown(value) or "none"
