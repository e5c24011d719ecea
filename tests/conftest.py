"""Its place here makes `toy_spaces` importable from tests in all folders."""

import os

# As `raynas.cluster.joining.connect` has it, which comes too late in a test process that has imported Ray by then.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
