"""Compose a bundle's training, inference or evaluation, and run it here or as a command.

``python -m monai.bundle run`` and the short commands (``stroke-nets train``, ``infer``,
``evaluate``) are two forms of the same run; both are composed only here.
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from stroke_nets.errors import UsageError

Step = Literal["train", "infer", "evaluate"]
IDS = {"train": "training", "infer": "inference", "evaluate": "evaluating"}  # MONAI's run ids
TEXT = (
    *("bundle", "overlay", "dataset_dir", "output_dir", "predictions_dir", "runs_dir", "cache_dir"),
    *("compiled_dir", "manifest", "checkpoint"),
)
"""Options that are text, whatever they look like: a folder may be named 2024 or a,b."""
FILES = {"train": "train.yaml", "infer": "inference.yaml", "evaluate": "evaluate.yaml"}


def config_files(bundle: Path, step: Step, overlays: Sequence[str] = ()) -> list[str]:
    """The configuration files of a step, each overriding the previous one.

    Args:
        bundle: its folder.
        step: which workflow.
        overlays: names of configuration files of the bundle; ``default`` means none.

    Raises:
        UsageError: the bundle has no such step or overlay.
    """
    from stroke_nets.bundle_folders import find_overlay  # imported here because it imports NumPy

    file = bundle / "configs" / FILES[step]
    if not file.is_file():
        others = [name for name in get_args(Step) if (file.parent / FILES[name]).is_file()]
        raise UsageError(
            f"{bundle.name}: this method has no {step} step, only {', '.join(others)}; an "
            "ensemble uses the runs of its members"
        )
    found = [find_overlay(bundle, name) for name in overlays]
    return [str(path) for path in (file, *found) if path is not None]


def bundle_command(
    bundle: Path,
    step: Step,
    overlays: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """The command ``python -m monai.bundle run ...`` of a step.

    Args:
        bundle: its folder.
        step: which workflow.
        overlays: names of configuration files that lie over the bundle's own.
        options: values by the key of the configuration, such as ``sampler#num_samples``.

    Raises:
        UsageError: the bundle has no such step or overlay.
    """
    files = config_files(bundle, step, overlays)
    command = [sys.executable, "-m", "monai.bundle", "run", IDS[step]]
    command += ["--bundle_root", as_text(bundle)]
    command += ["--config_file", json.dumps(files) if files[1:] else as_text(files[0])]
    for key, value in (options or {}).items():
        command += [f"--{key}", as_text(value)]
    return command


def run_bundle(
    bundle: Path,
    step: Step,
    overlays: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Run in this process what `bundle_command` runs as a command.

    Args:
        bundle: its folder, whose configuration is trusted.
        step: which workflow.
        overlays: names of configuration files that lie over the bundle's own.
        options: values by the key of the configuration.

    Returns:
        The run folder.

    Raises:
        UsageError: the bundle has no such step, overlay or option.
        Interrupted: the process was asked to stop.
    """
    from monai.bundle.scripts import create_workflow

    from stroke_nets.runs.options import read_options

    files = config_files(bundle, step, overlays)
    read = read_options(files, options or {})
    # MONAI ignores None
    given = {key: "$None" if value is None else value for key, value in read.items()}
    with warnings.catch_warnings():  # the user named this bundle
        warnings.filterwarnings("ignore", message="parsing config_file")
        workflow = create_workflow(
            config_file=files, run_id=IDS[step], bundle_root=str(bundle), **given
        )
    workflow.run()
    workflow.finalize()
    return Path(workflow.parser.get_parsed_content("output_dir"))


def read_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` options, with values parsed like those of `monai.bundle`.

    Raises:
        UsageError: a text does not have this form.
    """
    from fire.parser import DefaultParseValue

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--set {text}: write KEY=VALUE, such as max_epochs=10")
        key = key.removeprefix("--")
        found[key] = read_text(value) if key in TEXT else DefaultParseValue(value)
    return found


def read_text(word: str) -> str:
    """An option that is text: as it stands, or without the quotes of Python."""
    from fire.parser import DefaultParseValue

    read = DefaultParseValue(word)
    return read if isinstance(read, str) else word


def as_text(value: Any) -> str:
    """A value as text that `monai.bundle` parses back from its command line.

    MONAI parses options as Python literals (with Fire), so that the folder ``2024`` would become a
    number, and it ignores ``None``; the bundles accept the word ``null`` instead.
    """
    from fire.parser import DefaultParseValue

    if value is None:
        return "null"
    text = str(value)
    if isinstance(value, str | Path) and DefaultParseValue(text) != text:
        return repr(text)
    return text
