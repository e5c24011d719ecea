"""python -m raynas.cli is the command raynas."""

from raynas.cli import main

main()
