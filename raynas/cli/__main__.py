"""python -m raynas.cli is the command raynas."""

from raynas.cli import main

if __name__ == "__main__":  # a process that multiprocessing starts imports this module too
    main()
