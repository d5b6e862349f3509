"""Tables of text for the terminal; rich aligns them."""

from collections.abc import Iterable, Sequence

UNCUT = 1_000_000  # columns: outside a terminal no line is folded


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows in aligned columns below their heading.

    In a terminal, long cells continue on the next line; in a file or a pipe each row is one line.
    Nothing is ever cut off.

    Args:
        head: the names of the columns.
        rows: the cells, as many as there are names.
    """
    from rich.console import Console  # here, because the command starts without it
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
