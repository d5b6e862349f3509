"""Write a self-contained page from a Jinja2 template, without network access.

Values are escaped, undefined names in a template are errors, and the browser only runs the page's
own script, whose hash is in the content security policy.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stroke_nets.files import write_whole

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(path: Path, template: str, title: str, script: str = "", **content: Any) -> Path:
    """Write a page.

    Args:
        path: path of the page; an existing one is replaced.
        template: file in ``templates/``, which extends ``base.html``.
        title: plain text, the heading.
        script: file in ``templates/`` that the page runs; none by default.
        content: variables of the template; plain text is escaped.

    Returns:
        The path.
    """
    code, policy = "", POLICY
    if script:
        code = (Path(__file__).parent / "templates" / script).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    frame = {"title": title, "policy": Markup(policy), "script": Markup(code)}
    write_whole(path, templates().get_template(template).render(**frame, **content))
    return path


@cache
def templates() -> Environment:
    """The environment of all templates: escaping is on, undefined names are errors."""
    environment = Environment(
        loader=PackageLoader("stroke_nets.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = embedded
    environment.filters["target"] = quote
    environment.filters["ml"] = ml
    return environment


def embedded(picture: bytes) -> str:
    """A PNG or JPEG as a data URL."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def ml(volume: float) -> str:
    """A volume with its unit, to three or four digits."""
    if volume >= 10:
        return f"{volume:.1f} ml"
    return f"{volume:.2f} ml" if volume >= 0.01 or not volume else "< 0.01 ml"


def without_folder(value: Any) -> str:
    """A value as text; absolute paths are reduced to their last part, to show no folder."""
    text = str(value)
    return Path(text).name if text.startswith("/") else text
