"""What the HTML pages share: the frame, tables, embedded pictures. A page needs no other file."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from stroke_nets.files import write_whole

# The browser itself refuses whatever a page might ask of a network.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  padding: 1rem; max-width: 80rem; }
h1 { margin: 0; } .notice { border-left: .3rem solid #b00020; padding-left: .6rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ccc; text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
caption { text-align: left; color: #444; white-space: nowrap; }
dl { columns: 26rem; } dl div { display: flex; gap: 1rem; break-inside: avoid; }
dt { color: #444; } dt::after { content: ":"; } dd { margin: 0; font-weight: 600; }
dd { overflow-wrap: anywhere; }
th:first-child, td:first-child { text-align: left; } thead th { background: #f0f0f0; }
figure { margin: 2rem 0; } img { max-width: 100%; height: auto; }
figcaption small { color: #444; overflow-wrap: anywhere; }
:focus-visible { outline: .2rem solid #0b57d0; outline-offset: .1rem; }
"""
NOTICE = '<p class="notice"><strong>For research use only.</strong> Not for diagnosis.</p>'


def write_page(
    path: Path, title: str, parts: Sequence[str], style: str = "", policy: str = POLICY
) -> Path:
    """Write a page: the title as its heading, the notice, then the parts.

    Args:
        path: of the page; an older one is replaced.
        title: plain text.
        parts: HTML, in order.
        style: rules beyond `STYLE`.
        policy: what the browser may load.

    Returns:
        The path.
    """
    body = "\n".join([f"<h1>{escape(title)}</h1>", NOTICE, *parts])
    write_whole(
        path,
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n",
    )
    return path


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the cells are HTML already, the first of each row heads it."""
    cells = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}">'
        f"<table>\n<caption>{caption}</caption>\n"
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def facts(pairs: Sequence[tuple[str, Any]]) -> str:
    """A list of names and values, plain text; of an absolute path the last part only."""
    lines = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(without_folder(value))}</dd></div>\n"
        for name, value in pairs
    )
    return f"<dl>\n{''.join(lines)}</dl>"


def without_folder(value: Any) -> str:
    """Text of a value; of an absolute path the last part only, so that a page names no folder."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text


def picture(png: bytes, alt: str, caption: str, name: str = "") -> str:
    """A figure with its caption, which is HTML; `name` is the target of links."""
    identity = f' id="{name}"' if name else ""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return (
        f'<figure{identity}>\n<img alt="{escape(alt)}" src="{source}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>\n"
    )
