"""Which architectures of a search are trained against each other, and how; torch and Ray are not needed."""

from __future__ import annotations

KIND = "finalists"
STOP_FILE = ".stop"
