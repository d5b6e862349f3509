"""Judge what MONAI would evaluate: ``$`` expressions, ``_target_`` names, logging arguments.

Everything is parsed, nothing is executed, and whatever is not allowed by name and form is refused.
"""

import ast
import builtins
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stroke_nets.inspection.allowed import (
    ALLOWED,
    ATTRIBUTES,
    BARE,
    BUILTINS,
    GLOBALS,
    PURE,
    changed,
    normal,
    own_code,
    references,
    strings_of,
)

OK, OUTSIDE, DANGER = "ok", "outside", "DANGER"
Judgement = tuple[str, str]

TRUSTED = {"stroke_nets", "monai", "torch", "ignite", "numpy", "pytorchcv"}
REFERENCE = re.compile(r"@\w*(?:::\w*)*")  # as monai.bundle.reference_resolver
REFERENCES = "__local_refs"
LONGEST = 5000  # characters of an expression; this package's own have up to 100
COMPONENT = {"_target_", "_requires_", "_disabled_", "_desc_", "_mode_"}
FORMS = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Call),
    *(ast.keyword, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BoolOp, ast.And),
    *(ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.Compare, ast.cmpop, ast.IfExp),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension),
    *(ast.Lambda, ast.arguments, ast.arg),
)
STREAMS = {"class": r"(logging\.)?(StreamHandler|NullHandler|Formatter)", "": r"sys\.std(out|err)"}


def as_evaluated(expression: str) -> str:
    """The text that MONAI gives to Python: ``#`` is ``::``, references are look-ups."""
    text = expression.removeprefix("$").replace("#", "::")
    for item in sorted(set(REFERENCE.findall(text)), key=len, reverse=True):
        text = text.replace(item, f"{REFERENCES}['{item[1:]}']")
    return text


def imported(expression: str) -> dict[str, str]:
    """The name that an allowed import binds and what it stands for; empty for all others."""
    tree = _parsed(expression.removeprefix("$"), "exec")
    statements = getattr(tree, "body", [])
    statement = statements[0] if len(statements) == 1 else None
    if not isinstance(statement, ast.Import | ast.ImportFrom) or len(statement.names) != 1:
        return {}
    alias = statement.names[0]
    if isinstance(statement, ast.Import):
        known = GLOBALS.get(alias.asname or alias.name)
        return {alias.asname or alias.name: alias.name} if known == alias.name else {}
    target = f"{statement.module}.{alias.name}"
    plain = not statement.level and alias.asname in (None, alias.name)
    allowed = plain and judge_name(target)[0] == OK and alias.name not in dir(builtins)
    return {alias.name: target} if allowed else {}


def judge_expression(expression: str, names: Mapping[str, str]) -> Judgement:
    """Judge a ``$`` expression.

    Args:
        expression: including its ``$``.
        names: the names bound by the configuration's imports, from `imported`.

    Returns:
        `OK`, or the worst verdict and its reason.
    """
    if normal(expression) in own_code().expressions:
        return OK, ""
    if len(expression) > LONGEST:
        return DANGER, f"longer than {LONGEST} characters"
    try:
        return _judged(expression, names)
    except RecursionError:
        return DANGER, "nested too deeply"


def _judged(expression: str, names: Mapping[str, str]) -> Judgement:
    statements = getattr(_parsed(expression[1:], "exec"), "body", [])
    if statements and isinstance(statements[0], ast.Import | ast.ImportFrom):
        return (OK, "") if imported(expression) else _judge_import(statements[0])
    tree = _parsed(as_evaluated(expression), "eval")
    if tree is None:
        return DANGER, "cannot be parsed"
    for node in ast.walk(tree):
        if not isinstance(node, FORMS) or getattr(node, "is_async", False):
            return DANGER, f"{type(node).__name__} is no allowed form"
    bound = set(_bound(tree))
    shadowed = bound & ({*dir(builtins), *GLOBALS, *names} | {n for n in bound if n[0] == "_"})
    if shadowed:
        return DANGER, f"{min(shadowed)} is given another meaning"
    return next(_refusals(tree, bound, {**GLOBALS, **names}), (OK, ""))


def judge_name(dotted: str) -> Judgement:
    """Judge a dotted name."""
    first, last = dotted.split(".")[0], dotted.rpartition(".")[2]
    if dotted in ALLOWED:
        return OK, ""
    if first in sys.stdlib_module_names or first in dir(builtins):
        return DANGER, f"{dotted} can run anything"
    if first not in TRUSTED:
        return OUTSIDE, f"{first} is neither this project's nor MONAI's nor PyTorch's"
    if last[:1].isupper() and not any(part.startswith("_") for part in dotted.split(".")):
        return OUTSIDE, f"{dotted} is not on the list of what a foreign file may use"
    return DANGER, f"{dotted} is not on the list of what a foreign file may use"


def judge_target(target: str) -> Judgement:
    """Judge a ``_target_``; one without a dot is MONAI's own component."""
    if target in BARE or target in own_code().targets:
        return OK, ""
    if "." not in target:
        verdict = OUTSIDE if target.isidentifier() and target[0].isupper() else DANGER
        return verdict, f"{target} is not on the list of what a foreign file may use"
    return judge_name(target)


def judge_component(component: Mapping[Any, Any], parts: tuple[str, ...] = ()) -> Judgement:
    """Judge a component by its ``_target_``, its special keys and its arguments.

    Those of this project's targets that touch files, or take code by its name, may be given only
    the strings that this project's bundles give them.

    Args:
        component: with a ``_target_``.
        parts: the top-level keys under which this project's bundles must have such a target; empty
            for any.
    """
    target = component["_target_"]
    if not isinstance(target, str):
        return DANGER, "the target is made by another component"
    verdict = judge_target(target)
    if verdict[0] != OK:
        return verdict
    for key in component:
        if not isinstance(key, str) or (key.startswith("_") and key not in COMPONENT):
            return DANGER, f"{key} is no argument"
    mode = component.get("_mode_", "default")
    if mode not in ("default", "callable"):
        return DANGER, f"_mode_ is {mode!r}, not default or callable"
    if target in ALLOWED or target in BARE:
        return OK, ""
    own = own_code()
    if target.startswith(PURE):
        return OK, ""
    if parts and not own.targets[target] & set(parts):
        return DANGER, f"{target} is no part of {' or '.join(parts)} in this project's bundles"
    for key, value in component.items():
        new = set(strings_of(value)) - own.strings.get((target, key), set()) - {"default"}
        new -= own.changes.get(key, set())
        if new and key not in COMPONENT - {"_mode_"}:  # what it makes could be called with others
            return DANGER, f"{target} is given {key} {min(new)!r}, as no bundle of this project"
    return OK, ""


def judge_references(text: str, parts: Sequence[str]) -> Judgement:
    """Judge what a string under certain top-level keys refers to.

    Args:
        text: any string.
        parts: the keys; what this project's bundles refer to under them is allowed.
    """
    own = own_code().references
    new = references(text) - {*parts, *(name for part in parts for name in own[part])}
    return (DANGER, f"refers to {min(new)!r}") if parts and new else (OK, "")


def judge_change(key: str, value: Any) -> Judgement:
    """Judge a key that changes a part of an entry elsewhere, perhaps in another file.

    Args:
        key: such as ``validate#evaluator#network`` or ``+handlers``.
        value: what it puts there.
    """
    if str(key)[:1] == "+" and isinstance(value, dict) and "_target_" in value:
        return DANGER, "makes a component of another entry, whose values become its arguments"
    new = set(strings_of(value)) - own_code().changes.get(changed(key), set())
    return (DANGER, f"puts {min(new)!r} into another entry") if new else (OK, "")


def judge_logging(field: str, value: str) -> Judgement:
    """Judge a logging configuration's ``class``, ``args`` or ``kwargs``, which Python evaluates.

    Allowed are handlers that write to the screen, and formatters.

    Args:
        field: name of the field.
        value: text of the field.
    """
    tree = _parsed(value, "eval")
    if tree is None:
        return DANGER, f"{field} cannot be parsed"
    plain = (ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Load)
    if field == "class":
        fine = re.fullmatch(STREAMS["class"], value.strip()) is not None
    else:
        chains = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        roots = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name)]
        fine = all(re.fullmatch(STREAMS[""], chain) for chain in chains)
        fine &= len(roots) == 2 * sum(isinstance(n, ast.Attribute) for n in roots)
        fine &= all(isinstance(n, (*plain, ast.Attribute, ast.Name)) for n in ast.walk(tree))
    return (OK, "") if fine else (DANGER, f"logging evaluates {field}={value}")


def _judge_import(statement: ast.Import | ast.ImportFrom) -> Judgement:
    alias = statement.names[0]
    inside = isinstance(statement, ast.ImportFrom)
    name = (
        f"{statement.module}.{alias.name}" if isinstance(statement, ast.ImportFrom) else alias.name
    )
    verdict = judge_name(name)
    if verdict[0] != OK and (inside or name.split(".")[0] not in TRUSTED):
        return verdict
    return DANGER, "an import under another name, of a whole package, or of several things"


def _bound(tree: ast.AST) -> Iterator[str]:
    """The names that an expression gives a meaning to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield "_"  # only names are bound


def _refusals(node: ast.AST, bound: set[str], known: Mapping[str, str]) -> Iterator[Judgement]:
    """A verdict for everything that is not allowed."""
    chain = _chain(node)
    if chain and chain[0] in known and chain[0] not in bound:
        verdict = judge_name(".".join([known[chain[0]], *chain[1:]]))
        if verdict[0] != OK:
            yield verdict
        return
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in bound | BUILTINS:
            yield DANGER, f"{node.id} is not on the list of what a foreign file may use"
        return
    if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
        yield DANGER, f"{node.attr} is not on the list of what a foreign file may use"
    if isinstance(node, ast.Subscript) and _is_reference(node):
        return
    for child in ast.iter_child_nodes(node):
        yield from _refusals(child, bound, known)


def _is_reference(node: ast.Subscript) -> bool:
    """Whether it is what MONAI makes of ``@name``."""
    name, key = node.value, node.slice
    return (
        isinstance(name, ast.Name)
        and name.id == REFERENCES
        and isinstance(key, ast.Constant)
        and isinstance(key.value, str)
    )


def _chain(node: ast.AST) -> list[str]:
    """``a.b.c`` as its names; empty if it starts with anything but a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []


def _parsed(text: str, mode: str) -> ast.AST | None:
    try:
        return ast.parse(text.strip(), mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
