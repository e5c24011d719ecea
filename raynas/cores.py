"""How many CPU cores this process may use, which need not be how many the machine has."""

from __future__ import annotations


def usable_cores() -> int:
    """CPU cores that this process may use: by its affinity, and by the quota of its container or control group.

    joblib finds them; its LOKY_MAX_CPU_COUNT lowers the number further.
    """
    import joblib  # takes a while to import

    return int(joblib.cpu_count())
