"""Classify what MONAI would evaluate: ``$`` expressions, ``_target_`` names, logging arguments.

Everything is parsed, nothing is executed. The verdicts are a reading aid, not a proof: a method of
an object created elsewhere in a configuration cannot be identified by its name.
"""

import ast
import re
from collections.abc import Iterator, Mapping

OK, OUTSIDE, DANGER = "ok", "outside", "DANGER"
Judgement = tuple[str, str]

TRUSTED = {"stroke_nets", "monai", "torch", "ignite", "numpy", "math"}
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI's own
HARMLESS = set(
    "abs all any bool dict enumerate filter float frozenset int isinstance len list map max min "
    "next print range reversed round set slice sorted str sum tuple zip".split()
)
# They access files, processes or the network, or run arbitrary code by name.
MODULES = set(
    "builtins code codeop concurrent ctypes cffi ftplib gc http importlib inspect io marshal "
    "multiprocessing os pathlib pdb pickle pip pkgutil platform posix pty runpy shelve shutil "
    "signal site smtplib socket sqlite3 ssl subprocess sys tempfile threading tarfile urllib "
    "webbrowser zipfile requests dill cloudpickle joblib".split()
)
BUILTINS = set(
    "__import__ breakpoint compile delattr eval exec exit getattr globals input locals open quit "
    "setattr vars".split()
)
CALLS = set(
    "Popen check_call check_output execfile execv import_module load_library optional_import "
    "popen run_eval spawn system urlopen urlretrieve".split()
)
PREFIXES = (  # in packages that are otherwise trusted: they load, fetch or start code
    "monai.apps",
    "monai.bundle",
    "monai.utils.module",
    "numpy.ctypeslib",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.load",
    "stroke_nets.cli",
    "stroke_nets.commands",
    "stroke_nets.papers.reproduce",
    "stroke_nets.papers.run_method",
    "stroke_nets.papers.snakemake",
    "stroke_nets.runs.bundle_run",
    "torch.classes",
    "torch.distributed.run",
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.ops",
    "torch.package",
    "torch.utils.cpp_extension",
)
REFERENCE = re.compile(r"@\w*(?:(?:#|::)\w*)*")
REF = "_another_item_of_the_configuration"


def imported(expression: str) -> dict[str, str]:
    """The name that an import expression binds and its target; empty for other expressions."""
    found = {}
    for node in _parsed(expression):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def judge_expression(expression: str, names: Mapping[str, str]) -> Judgement:
    """Classify a ``$`` expression.

    Args:
        expression: including its ``$``.
        names: the names bound by the configuration's imports.

    Returns:
        The worst verdict (`OK`, `OUTSIDE` or `DANGER`) and its reason.
    """
    nodes = list(_parsed(expression))
    if not nodes:
        return DANGER, "cannot be parsed"
    for node in nodes:
        if isinstance(node, ast.Import):
            return _worst([judge_name(alias.name) for alias in node.names])
        if isinstance(node, ast.ImportFrom):
            return _worst([judge_name(f"{node.module}.{alias.name}") for alias in node.names])
    local = {REF, *(n.arg for n in nodes if isinstance(n, ast.arg))}
    local |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    known = {**GLOBALS, **names}
    return _worst(list(_judgements(nodes, local, known)))


def judge_name(dotted: str) -> Judgement:
    """Classify a dotted name, such as a ``_target_``."""
    first, *rest = dotted.split(".")
    parts = [first, *rest]
    if first in MODULES or set(parts[1:]) & MODULES:
        return DANGER, f"{dotted} reaches files, processes, the network or other code"
    if set(parts) & CALLS or (first in BUILTINS and not rest):
        return DANGER, f"{parts[-1]} can run anything"
    if any(_is_dunder(part) for part in parts):
        return DANGER, f"{dotted} goes behind Python's own objects"
    if any(dotted == p or dotted.startswith((f"{p}.", f"{p}_")) for p in PREFIXES):
        return DANGER, f"{dotted} loads, fetches or starts code"
    if first not in TRUSTED:
        return OUTSIDE, f"{first} is neither this package's nor MONAI's nor PyTorch's"
    return OK, ""


def judge_target(target: str) -> Judgement:
    """Classify a ``_target_``; one without a dot is MONAI's own component."""
    if "." in target:
        return judge_name(target)
    return (DANGER, f"{target} can run anything") if target in BUILTINS else (OK, "")


def judge_logging(field: str, value: str) -> Judgement:
    """Classify a logging configuration's ``class``, ``args`` or ``kwargs``.

    ``logging.config.fileConfig`` evaluates all three.

    Args:
        field: name of the field.
        value: text of the field.
    """
    nodes = list(_parsed(value))
    plain = (ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Load)
    streams = {"sys.stdout", "sys.stderr", "sys"}
    for node in nodes:
        chain = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        own = re.fullmatch(
            r"(logging\.)?(handlers\.)?[A-Z]\w*|logging(\.handlers)?|handlers", chain
        )
        if isinstance(node, plain) or (chain in streams if field != "class" else own):
            continue
        return DANGER, f"logging evaluates {field}={value}"
    return (OK, "") if nodes else (DANGER, f"{field} cannot be parsed")


def _judgements(
    nodes: list[ast.AST], local: set[str], known: Mapping[str, str]
) -> Iterator[Judgement]:
    """A verdict for each name and attribute of an expression."""
    for node in nodes:
        if isinstance(node, ast.Attribute):
            root, rest = _chain(node)
            if root is not None and root in known and root not in local:
                yield judge_name(".".join([known[root], *rest]))
            elif node.attr in CALLS or _is_dunder(node.attr):
                yield DANGER, f"{node.attr} can run anything"
        elif isinstance(node, ast.Name) and node.id not in local:
            if node.id in BUILTINS or _is_dunder(node.id):
                yield DANGER, f"{node.id} can run anything"
            elif node.id in known:
                yield judge_name(known[node.id])
            elif node.id not in HARMLESS:
                yield OUTSIDE, f"{node.id} is not known"


def _chain(node: ast.Attribute) -> tuple[str | None, list[str]]:
    """``a.b.c`` as ``a`` and ``[b, c]``; None if it starts with a call or similar."""
    parts: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        parts.insert(0, inner.attr)
        inner = inner.value
    return (inner.id if isinstance(inner, ast.Name) else None), parts


def _parsed(expression: str) -> Iterator[ast.AST]:
    """Every node of an expression or import, with references as names; none if it is invalid."""
    text = REFERENCE.sub(REF, expression.removeprefix("$")).strip()
    try:
        tree: ast.AST = ast.parse(text, mode="exec" if "import " in text else "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from (n for n in ast.walk(tree) if not isinstance(n, ast.Expression))


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name != "__version__"


def _worst(judgements: list[Judgement]) -> Judgement:
    order = (OK, OUTSIDE, DANGER)
    return max(judgements, key=lambda judgement: order.index(judgement[0]), default=(OK, ""))
