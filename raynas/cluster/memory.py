"""How workers' processes deal with memory."""

from __future__ import annotations

KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": f"{1 << 30}",
    "MALLOC_TRIM_THRESHOLD_": f"{1 << 32}",
    "MALLOC_TOP_PAD_": f"{1 << 26}",
    "MALLOC_ARENA_MAX": "1",
    # Else glibc sets the small rests of a large tensor's aligned memory aside: without them, what is freed is too small
    # for the next tensor of the same size, and the heap grows in its place.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
}
"""Environment in which glibc keeps the memory that one pass frees for the next: else the system clears the same pages
over and over, for up to two fifths of a score's time, and a tenth of a training step's on a CPU, where workers side by
side wait for each other. Read when a process starts; other C libraries do not know the names."""
