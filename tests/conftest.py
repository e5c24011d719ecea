"""Its place here makes `toy_spaces` importable from tests in all folders."""
