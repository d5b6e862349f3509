"""The site's pages that lie elsewhere in the repository, its navigation, and the links of all.

A hook of MkDocs. Nothing is copied in git: model cards, README and the rest are read when the site
is built. A link to a file that is no page becomes its text; one to nothing fails the build.
"""

import json
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
log = logging.getLogger("mkdocs.hooks.pages")  # a warning fails `mkdocs build --strict`

PAGES = {
    "index.md": "README.md",
    "methods/index.md": "bundles/README.md",
    "add_a_method.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "federated.md": "examples/federated/README.md",
    "security.md": "SECURITY.md",
}
NAVIGATION = {
    "First steps": "index.md",
    "Predict": ["predict.md", "web.md"],
    "Methods": "methods/*.md",
    "Train": "train.md",
    "Data": ["data_sets.md", "simulated_patients.md", "registration.md", "faults.md"],
    "Reproduce": ["reproduce.md", "benchmark.md", "tables.md", "method_costs.md"],
    "MONAI": ["monai_label.md", "monai.md", "federated.md"],
    "Performance": "performance.md",
    "Architecture": "architecture.md",
    "Add a method": "add_a_method.md",
    "More": "*.md",  # whatever is in no other place
}
PUBLISHED = "stroke_nets/papers/published"
RECIPES = "<!-- recipes -->"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def sources() -> dict[str, str]:
    """Pages that are files elsewhere in the repository: page, file."""
    cards = sorted(path.relative_to(ROOT) for path in ROOT.glob("bundles/*/docs/README.md"))
    return PAGES | {f"methods/{card.parts[1]}.md": card.as_posix() for card in cards}


def pictures() -> dict[str, str]:
    """Pictures of the model cards, as `sources`."""
    found = sorted(path.relative_to(ROOT) for path in ROOT.glob("bundles/*/docs/*.[sp][vn]g"))
    return {f"methods/{file.parts[1]}/{file.name}": file.as_posix() for file in found}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in docs/, then make the navigation of what there is."""
    for page, source in sources().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for picture, source in pictures().items():
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / source)))
    for file in [file for file in files if file.src_uri.startswith("rehearsal/")]:
        files.remove(file)  # tiny networks: they show that the pipeline runs, nothing else
    files.append(File.generated(config, "tables.md", content=tables()))
    config.nav = navigation([file.src_uri for file in files.documentation_pages()])
    return files


def navigation(pages: list[str]) -> list[dict[str, Any]]:
    """`NAVIGATION` with patterns filled in; what is not there is left out."""
    left, shown = sorted(pages), []
    for title, wanted in NAVIGATION.items():
        patterns = [wanted] if isinstance(wanted, str) else wanted
        found = [page for pattern in patterns for page in _matching(left, pattern)]
        left = [page for page in left if page not in found]
        if found:
            single = isinstance(wanted, str) and "*" not in wanted
            shown.append({title: found[0] if single else found})
    return shown


def _matching(pages: list[str], pattern: str) -> list[str]:
    """The pages of a pattern, a folder's own page first."""
    found = [page for page in pages if Path(page).match(pattern)]
    found = [page for page in found if page.count("/") == pattern.count("/")]
    return sorted(found, key=lambda page: Path(page).stem not in ("index", "README"))


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Fill in the data sets' recipes, and point links at the site's pages."""
    here = page.file.src_uri
    elsewhere = sources()
    source = elsewhere.get(here, f"docs/{here}")
    pages = {file: page for page, file in (elsewhere | pictures()).items()}
    known = {file.src_uri for file in files}

    def pointed(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        if not target or ":" in target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            log.warning("%s: links to %s, which is not there", source, target)
        found = pages.get(path, path.removeprefix("docs/"))
        if found not in known:
            return text
        way = posixpath.relpath(found, posixpath.dirname(here) or ".")
        return f"{picture}[{text}]({way}{anchor or ''})"

    filled = markdown.replace(RECIPES, recipes()) if RECIPES in markdown else markdown
    return LINK.sub(pointed, filled)


def on_post_page(output: str, **_: Any) -> str:
    """Name the theme's search, which screen readers announce as a dialog."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def tables() -> str:
    """The papers' result tables, and that none of their rows has been measured here."""
    parts = [
        "# The papers' tables",
        "Values as the papers print them, mean ± standard deviation. **None has been measured"
        " here**: that takes ATLAS or ISLES, which cannot be shipped, and a GPU."
        " [`stroke-nets reproduce`](reproduce.md) runs every row and writes our value beside it.",
    ]
    for path in sorted((ROOT / PUBLISHED).glob("*_table*.json")):
        parts.append(_table(json.loads(path.read_text(encoding="utf-8"))))
    return "\n\n".join(parts) + "\n"


def _table(content: dict[str, Any]) -> str:
    metrics = [
        metric
        for metric in content["metrics"]
        if any(metric in row.get("published", {}) for row in content["rows"])
    ]
    lines = [f"## {content['title']}\n"]
    lines.append(
        " | ".join(["| Row", "Bundle and overlay", *(m.replace("_", " ") for m in metrics)]) + " |"
    )
    lines.append("|" + " --- |" * 2 + " ---: |" * len(metrics))
    for row in content["rows"]:
        values = [_printed(row.get("published", {}).get(metric)) for metric in metrics]
        lines.append(" | ".join([f"| {row['label']}", f"`{row['run']}`", *values]) + " |")
    return "\n".join(lines)


def _printed(value: Any) -> str:
    if value is None:
        return "-"
    mean, deviation = value if isinstance(value, list) else (value, None)
    return f"{mean}" if deviation is None else f"{mean} ± {deviation}"


def recipes() -> str:
    """A section for each data set, of its recipe in data_manifests/."""
    parts = []
    for path in sorted(ROOT.glob("data_manifests/*.json")):
        recipe = json.loads(path.read_text(encoding="utf-8"))
        if "licence" in recipe and "layout" in recipe:
            parts.append(_recipe(recipe))
    return "\n\n".join(parts)


def _recipe(recipe: dict[str, Any]) -> str:
    def words(content: dict[str, Any]) -> str:
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in content.items())

    where = " ".join(f"<{url}>" for url in recipe["source"])
    return "\n".join(
        [
            f"## {recipe['title']}\n",
            f"`stroke-nets prepare {recipe['name']} SOURCE DATA`\n",
            f"- Licence: {recipe['licence']}",
            f"- Source: {where}",
            f"- Cite: {recipe['citation']}",
            f"- Expected: {words(recipe['expected'])}",
            f"- Split: {words(recipe['split'])}",
            "\nLayout:\n\n```",
            *recipe["layout"],
            "```",
        ]
    )
