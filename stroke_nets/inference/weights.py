"""Which weights a method runs with: published ones, or a checkpoint of a training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stroke_nets.bundle_folders import (
    find_bundle,
    find_overlay,
    overlays,
    published_weights,
    with_weights,
)
from stroke_nets.datasets.manifest import MANIFEST
from stroke_nets.errors import UsageError
from stroke_nets.inspection.bundle import shown
from stroke_nets.inspection.consent import require_known_code
from stroke_nets.inspection.plain_config import read_config
from stroke_nets.scans.contrast import T1W
from stroke_nets.scans.reader import sha256

TOLD = (
    *("overlay", "sha256", "trained_on", "date", "dice_simulated", "dice_real"),
    *("volume_ratio", "limits"),
)
CARRIED = ("network_def", "intensity", "spacing")  # and numbers: a run's, over the bundle's own


@dataclass(frozen=True)
class Weights:
    """A file of weights and the network that it belongs to.

    Attributes:
        bundle: the method's folder.
        file: the weights.
        overlay: configuration files over the bundle's ``inference.yaml``.
        settings: what the training's own configuration says, over those.
        facts: for the sidecar: bundle, overlay, sha256, trained_on; of published weights also date,
            dice_simulated, dice_real, limits (sentences) and volume_ratio (for each class of found
            volume: ``from_ml``, ``patients``, and ``ratio``, the bounds in which true over found
            volume lies in 90 % of held-out patients, healthy ones included).
    """

    bundle: Path
    file: Path
    overlay: tuple[Path, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Of everything but the weights that decides the masks: the configuration's files."""
        files = (self.bundle / "configs" / "inference.yaml", *self.overlay)
        told = [*(sha256(file) for file in files), json.dumps(self.settings, sort_keys=True)]
        return hashlib.sha256("".join(told).encode()).hexdigest()

    @property
    def title(self) -> str:
        """One line for the user."""
        overlay = "" if self.facts["overlay"] == "default" else f" ({self.facts['overlay']})"
        trained = self.facts["trained_on"]
        return f"{self.bundle.name}{overlay}: {self.file.name}, trained on {trained}"


def choose(
    methods: Sequence[str],
    checkpoints: Sequence[Path] = (),
    overlay: str | None = None,
    trust: bool = False,
    contrast: str = T1W,
) -> list[Weights]:
    """The weights of each method.

    Args:
        methods: names of bundles; none: the first of `with_weights`.
        checkpoints: one for each method; none: the published weights.
        overlay: of the weights' training; by default, of checkpoints, what their run folders say.
        trust: use a run folder whose network is code from elsewhere.
        contrast: of the scans, by which published weights are chosen if no overlay is named.

    Raises:
        UsageError: there are no weights, or no such method, overlay or file; or a run folder's
            network is code from elsewhere.
        DataError: published weights are not those that were published.
    """
    names = list(dict.fromkeys(methods)) or with_weights(contrast)[:1]
    if checkpoints and len(checkpoints) != len(names):
        raise UsageError(
            f"--checkpoint: {len(checkpoints)} for {len(names)} methods; name each file's bundle "
            "by --method, in the same order"
        )
    if not names:
        raise UsageError(
            f"no published weights of {contrast} here; give --method BUNDLE --checkpoint FILE of a "
            "training, or train one with 'make demo'"
        )
    if checkpoints:
        pairs = zip(names, checkpoints, strict=True)
        return [_of_checkpoint(find_bundle(name), file, overlay, trust) for name, file in pairs]
    return [_of_list(find_bundle(name), overlay, contrast) for name in names]


def registers(checkpoint: str, dataset_dir: str, manifest: str | None = None) -> bool:
    """Whether a bundle's inference brings scans to the template's grid.

    Always for published weights. With the checkpoint of a run, the cases of a manifest are seen as
    the run's training saw such cases, unregistered; a folder of scans without one is registered.

    Args:
        checkpoint: file of weights, which need not be there yet.
        dataset_dir: the data root.
        manifest: path of the manifest; by default ``manifest.json`` in ``dataset_dir``.
    """
    of_a_run = Path(checkpoint).resolve().parent.name == "checkpoints"
    return not (of_a_run and (manifest or (Path(dataset_dir) / MANIFEST).is_file()))


def _of_list(bundle: Path, overlay: str | None, contrast: str) -> Weights:
    file, entry = published_weights(bundle, overlay, "--checkpoint FILE", contrast)
    return Weights(bundle, file, _files(bundle, entry["overlay"]), {}, _facts(bundle, entry))


def _of_checkpoint(bundle: Path, file: Path, overlay: str | None, trust: bool) -> Weights:
    """A checkpoint's weights, with the settings of the run folder that it lies in."""
    if not file.is_file():
        raise UsageError(f"--checkpoint {file}: no such file; train first")
    place = file.resolve()  # a link, or a name without its folder, is of the same training
    run = place.parents[1] / "config.yaml" if place.parent.name == "checkpoints" else None
    config = read_config(run) if run and run.is_file() else {}
    if config.get("bundle", bundle.name) != bundle.name:
        other = shown(str(config["bundle"]))
        raise UsageError(f"--checkpoint {file}: of a training of {other}; say --method {other}")
    name = overlay or str(config.get("overlay", "default"))
    if run and config and not overlay:
        config = require_known_code(run, trust, CARRIED)
    files = _files(bundle, name) if overlay or name in overlays(bundle) else ()
    settings = {k: v for k, v in config.items() if is_number(v) or k in CARRIED}
    facts = {
        "overlay": name,
        "sha256": sha256(file),
        "trained_on": "the user's own data",
    }
    return Weights(bundle, file, files, {} if overlay else settings, _facts(bundle, facts))


def is_number(value: Any) -> bool:
    """Whether a setting is a number or a list of them, such as widths, size and patch_size."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, int | float) for one in values)


def _facts(bundle: Path, entry: dict[str, Any]) -> dict[str, Any]:
    return {"bundle": bundle.name, **{key: entry[key] for key in TOLD if key in entry}}


def _files(bundle: Path, overlay: str) -> tuple[Path, ...]:
    """The configuration files of an overlay: none for ``default``."""
    file = find_overlay(bundle, overlay)
    return (file,) if file else ()
