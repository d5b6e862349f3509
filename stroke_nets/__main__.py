"""``python -m stroke_nets``: run the command with a given interpreter."""

from stroke_nets.cli import main

if __name__ == "__main__":
    main()
