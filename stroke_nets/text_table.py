"""Text tables: for the terminal, aligned with rich, and in Markdown."""

from collections.abc import Iterable, Sequence

UNCUT = 1_000_000  # columns: outside a terminal, lines are not wrapped


MARKS = {"l": "---", "r": "---:"}


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]], align: str) -> str:
    """Format rows as a table of Markdown.

    Args:
        head: column names.
        rows: the cells, as many per row as columns.
        align: ``l`` (left) or ``r`` (right) for each column.

    Returns:
        The lines, without a line break at the end.
    """

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    return "\n".join([line(head), line(MARKS[one] for one in align), *map(line, rows)])


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows in aligned columns below a heading.

    In a terminal, long cells wrap to the next line; in a file or a pipe, each row is one line.
    Nothing is ever truncated.

    Args:
        head: column names.
        rows: the cells, as many per row as columns.
    """
    from rich.console import Console  # imported here so that the command starts faster
    from rich.table import Column, Table
    from rich.text import Text

    columns = (Column(name, overflow="fold") for name in head)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNCUT, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
