"""``python -m stroke_nets``: the command, by an interpreter of one's choice."""

from stroke_nets.cli import main

if __name__ == "__main__":
    main()
