"""What a configuration from elsewhere may use without ``--trust``.

Two lists: the names below, which build objects and touch no file, process or network, whatever
they are given; and what the bundles of this project hold themselves.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from stroke_nets.bundle_folders import bundles_root
from stroke_nets.inspection.plain_config import CONFIGS, OWN, parse_config

TRANSFORMS = """
    Activations Affine AsDiscrete BorderPad CastToType CenterSpatialCrop CropForeground
    DivisiblePad EnsureChannelFirst EnsureType FillHoles Flip Identity Invert
    KeepLargestConnectedComponent LabelToMask Lambda MeanEnsemble NormalizeIntensity Orientation
    RandAdjustContrast RandAffine RandAxisFlip RandBiasField RandCoarseDropout
    RandCropByLabelClasses RandCropByPosNegLabel RandFlip RandGaussianNoise RandGaussianSmooth
    RandGibbsNoise RandHistogramShift RandRicianNoise RandRotate RandRotate90 RandScaleIntensity
    RandScaleIntensityFixedMean RandShiftIntensity RandSimulateLowResolution RandSpatialCrop
    RandStdShiftIntensity RandZoom RemoveSmallObjects Resize ResizeWithPadOrCrop Rotate Rotate90
    ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles ShiftIntensity Spacing
    SpatialCrop SpatialPad SqueezeDim ThresholdIntensity ToTensor Transpose VoteEnsemble Zoom
""".split()  # each of them also for dictionaries, with a d
NAMES = {
    "monai.transforms": "Compose ConcatItemsd CopyItemsd DeleteItemsd OneOf RandomOrder "
    "SelectItemsd SomeOf " + " ".join([*TRANSFORMS, *(f"{name}d" for name in TRANSFORMS)]),
    "monai.networks.nets": "AttentionUnet BasicUNet BasicUNetPlusPlus DynUNet SegResNet "
    "SegResNetDS SwinUNETR UNet UNETR VNet",
    "monai.losses": "DiceCELoss DiceFocalLoss DiceLoss FocalLoss GeneralizedDiceFocalLoss "
    "GeneralizedDiceLoss MaskedDiceLoss TverskyLoss",
    "monai.inferers": "SimpleInferer SliceInferer SlidingWindowInferer",
    "monai.metrics": "DiceMetric HausdorffDistanceMetric MeanIoU SurfaceDistanceMetric",
    "monai.handlers": "from_engine",
    "torch": "abs argmax bfloat16 bool cat device float16 float32 int64 long ones "
    "sigmoid softmax stack sum tensor uint8 zeros",
    "torch.cuda": "is_available",
    "torch.distributed": "get_rank get_world_size",
    "torch.nn": "AdaptiveAvgPool2d AdaptiveAvgPool3d AvgPool2d AvgPool3d BCEWithLogitsLoss "
    "BatchNorm2d BatchNorm3d Conv2d Conv3d ConvTranspose2d ConvTranspose3d "
    "CrossEntropyLoss Dropout Dropout2d Dropout3d GELU GroupNorm Identity "
    "InstanceNorm2d InstanceNorm3d L1Loss LayerNorm LeakyReLU Linear MSELoss "
    "MaxPool2d MaxPool3d ModuleList PReLU ReLU Sequential SiLU Sigmoid Softmax "
    "Tanh Upsample",
    "torch.optim": "Adam AdamW NAdam RAdam RMSprop SGD",
    "torch.optim.lr_scheduler": "ConstantLR CosineAnnealingLR ExponentialLR LambdaLR LinearLR "
    "MultiStepLR PolynomialLR ReduceLROnPlateau StepLR",
    "numpy": "abs argmax float16 float32 float64 int16 int32 int64 max mean min sum uint8",
}
ALLOWED = frozenset(f"{place}.{name}" for place, names in NAMES.items() for name in names.split())
BARE = frozenset(  # MONAI finds its own classes by their last name
    name.rpartition(".")[2] for name in ALLOWED if name.startswith("monai.") and "_" not in name
)
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI's own
BUILTINS = frozenset(
    "abs all any bool dict enumerate filter float frozenset int isinstance len list map max min "
    "next print range reversed round set slice sorted str sum tuple zip".split()
)
REFERENCE = re.compile(r"[@%]\w*(?:::\w*)*")  # as monai.bundle.reference_resolver
ATTRIBUTES = frozenset(  # of objects that other items make
    "any all cpu endswith features float items keys lower max mean members min module "
    "named_parameters ndim parameters shape split startswith strip sum to upper values".split()
)
PURE = ("stroke_nets.networks.", "stroke_nets.losses.", "stroke_nets.transforms.")


@dataclass
class OwnCode:
    """What the bundles of this project hold.

    Attributes:
        expressions: every ``$`` expression, word for word.
        targets: for each ``_target_``, the top-level keys under which it stands.
        strings: for each ``_target_`` and argument, the strings that it is given.
        references: for each top-level key, what the strings under it refer to.
        changes: for each last name of a key that changes a part of another entry
            (``validate#evaluator#network``), the strings that it puts there.
    """

    expressions: set[str] = field(default_factory=set)
    targets: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    strings: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    references: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    changes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def own_code() -> OwnCode:
    """What the bundles of this project hold, read once.

    Raises:
        UsageError: there is no folder of bundles.
    """
    return _read(bundles_root())


@cache
def _read(root: Path) -> OwnCode:
    found = OwnCode()
    for file in sorted(root.glob("*/configs/**/*")):
        if file.suffix in CONFIGS:
            for where, node in walk(parse_config(file.name, file.read_bytes(), OWN)):
                _learn(found, re.split("#|::", where)[0].lstrip("+"), node)
    return found


def _learn(found: OwnCode, part: str, node: Any) -> None:
    """Add what a value under a top-level key holds."""
    if isinstance(node, str):
        found.references[part] |= references(node)
        if node.startswith("$"):
            found.expressions.add(normal(node))
    for key, value in node.items() if isinstance(node, dict) else ():
        target = node.get("_target_")
        if isinstance(target, str):
            found.targets[target].add(part)
            found.strings[target, str(key)] |= set(strings_of(value))
        if changed(key):
            found.changes[changed(key)] |= set(strings_of(value))
        if changed(key) == "_target_":  # another class for an entry
            found.targets[value].add(part)


def normal(text: str) -> str:
    """A string with MONAI's newer separator, which the ``config.yaml`` of a run has."""
    return text.replace("#", "::")


def references(text: str) -> set[str]:
    """The top-level entries that an expression, a reference or a macro refers to.

    The empty name stands for a relative one.
    """
    text = normal(text)
    if not text.startswith(("$", "@", "%")):
        return set()
    return {item[1:].split("::")[0] for item in REFERENCE.findall(text)}


def changed(key: Any) -> str:
    """The last name of a key that changes a part of another entry; empty for all others."""
    text = str(key).replace("#", "::")
    return text.rpartition("::")[2].lstrip("+") if "::" in text or text[:1] == "+" else ""


def walk(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a configuration, with its MONAI id."""
    yield where, node
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, f"{where}#{key}".lstrip("#"))


def strings_of(value: Any) -> Iterator[str]:
    """The strings of an argument, but for those of components in it."""
    if isinstance(value, str):
        yield normal(value)
    elif isinstance(value, dict | list) and not (isinstance(value, dict) and "_target_" in value):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings_of(one)
        if isinstance(value, dict):
            yield from (key for key in value if isinstance(key, str))
