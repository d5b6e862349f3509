"""Run a network by PyTorch as it is, by PyTorch's compiler, or by OpenVINO.

Every backend is a callable from a batch to a batch, so an inferer need not know it. bfloat16 is
used where the processor multiplies it; one that only emulates it would be slower than float32.
OpenVINO (https://docs.openvino.ai, 2026.4) is the extra ``stroke-nets[fast]``; ``auto`` takes it
on a CPU after it has agreed with PyTorch on a batch. docs/performance.md has the measurements.
"""

import hashlib
import importlib.util
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from stroke_nets import __version__
from stroke_nets.errors import UsageError, did_you_mean
from stroke_nets.files import whole
from stroke_nets.inference.ensemble import EnsembleInferer

Run = Callable[[Tensor], Tensor]
Backend = Literal["auto", "torch", "compile", "openvino"]
Precision = Literal["auto", "float32", "bfloat16"]
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
PLAIN = (bool, int, float, str, tuple, list)
# Largest error of logits, root mean square, as a part of theirs: 1e-6 to 1e-3 in float32 and 0.01
# to 0.03 in bfloat16 were seen; a layer that was converted wrongly gives more than 0.5.
FLOAT32_ERROR, BFLOAT16_ERROR = 0.01, 0.1
AS_IT_IS = "torch, float32"
DIGEST = hashlib.sha256().digest_size  # bytes at the head of a compiled network
KEPT = 16  # compiled networks in the user's cache; older ones are deleted

# OpenVINO's telemetry reports each import and conversion to its makers; None keeps it from being
# imported. It is said here, for PyTorch's compiler imports OpenVINO as well where it is installed.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

logger = logging.getLogger(__name__)


def compiled(
    network: nn.Module,
    example_shape: Sequence[int],
    backend: str = "auto",
    cache_dir: Path | str | None = None,
    *,
    precision: str = "auto",
    example: Tensor | None = None,
) -> Run:
    """A network in evaluation mode, ready to be run on samples of one shape.

    Args:
        network: maps a batch to one tensor; on the device where it shall run.
        example_shape: of a full batch, B x C x ...; a call may bring fewer or more samples.
        backend: ``torch``, ``compile``, ``openvino`` (CPU only), or ``auto``: OpenVINO on a CPU
            where it is installed and agrees with PyTorch, else torch.
        cache_dir: folder that keeps OpenVINO's networks for the next process, if nobody else can
            write there; None: nowhere.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 if the hardware has it.
        example: a batch of that shape, on which ``auto`` compares; None: noise.

    Returns:
        Maps N x C x ..., whatever N, to float32 logits on the same device.

    Raises:
        UsageError: an unknown choice, OpenVINO is not installed, or is asked to run on a GPU.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    chosen, bfloat16 = choose_backend(backend, device), choose_bfloat16(precision, device)
    network.eval()
    if chosen == "torch":
        return _eager(network, bfloat16)
    shape, file = tuple(example_shape), None
    if cache_dir is not None:
        Path(cache_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(Path(cache_dir)):
            file = Path(cache_dir) / f"{fingerprint(network, shape, bfloat16)}.{chosen}"
    if chosen == "compile":
        run: Run = torch.compile(_eager(network, bfloat16), dynamic=False)
    else:
        batch = torch.randn(shape) if example is None else example
        found = _openvino(network, shape, bfloat16, file, batch if backend == "auto" else None)
        if found is None:
            return _eager(network, bfloat16)
        run = found
    return partial(_in_full_batches, run, shape[0])


def choose_backend(backend: str, device: torch.device) -> str:
    """What ``auto`` stands for on a device; any other backend is checked and returned.

    Raises:
        UsageError: an unknown backend, OpenVINO is not installed, or is asked to run on a GPU.
    """
    known = get_args(Backend)
    if backend not in known:
        hint = did_you_mean(backend, known)
        raise UsageError(f"backend {backend!r}: choose one of {', '.join(known)}{hint}")
    if backend == "auto":
        return fastest(device)
    if backend == "openvino" and device.type != "cpu":
        raise UsageError(f"backend openvino: runs on the CPU, not on {device}; choose torch")
    if backend == "openvino" and importlib.util.find_spec("openvino") is None:
        raise UsageError("backend openvino: not installed; pip install openvino")
    return backend


def fastest(device: torch.device) -> str:
    """The backend that ``auto`` takes on a device: OpenVINO on a CPU where it is installed."""
    there = importlib.util.find_spec("openvino") is not None
    return "openvino" if there and device.type == "cpu" else "torch"


def choose_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether to run in bfloat16; ``auto`` asks the hardware.

    Raises:
        UsageError: an unknown precision.
    """
    known = get_args(Precision)
    if precision not in known:
        raise UsageError(f"precision {precision!r}: choose one of {', '.join(known)}")
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def fingerprint(network: nn.Module, example_shape: Sequence[int], bfloat16: bool) -> str:
    """Names what was compiled: weights, code and options of the network, shape, versions, CPU."""
    libraries = [version(n) for n in ("torch", "openvino") if importlib.util.find_spec(n)]
    cpu = sorted(torch.cpu.get_capabilities().items())
    facts = (__version__, libraries, cpu, torch.get_num_threads(), tuple(example_shape), bfloat16)
    digest = hashlib.sha256(repr(facts).encode())
    for kind in sorted({type(m) for m in network.modules()}, key=str):
        digest.update(inspect.getsource(kind).encode())
    for name, module in network.named_modules():
        options = {k: v for k, v in vars(module).items() if isinstance(v, PLAIN)}
        digest.update(f"{name} {type(module)} {options}".encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def channels_last(network: nn.Module) -> nn.Module:
    """The same network, its convolutions' weights so in memory; maps that they make follow."""
    for parameter in network.parameters():
        if layout := LAYOUTS.get(parameter.dim()):
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return network


def _eager(network: nn.Module, bfloat16: bool) -> Run:
    """PyTorch as it is.

    bfloat16 wants the channels last, which leaves the values as they are; but volumes on a CPU
    want them first: oneDNN takes 1.27 times longer for 3D convolutions with the channels last.
    """
    sides = [p.dim() - 2 for p in network.parameters()]
    on_cpu = all(p.device.type == "cpu" for p in network.parameters())
    last = bfloat16 and not (on_cpu and 3 in sides)
    if last:
        channels_last(network)

    @torch.no_grad()
    def run(batch: Tensor) -> Tensor:
        if last:
            batch = batch.contiguous(memory_format=LAYOUTS[batch.dim()])
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=bfloat16):
            logits: Tensor = network(batch)
        return logits.float()

    return run


def _openvino(
    network: nn.Module,
    shape: tuple[int, ...],
    bfloat16: bool,
    file: Path | None,
    example: Tensor | None,
) -> Run | None:
    """OpenVINO; None if it does not agree with PyTorch on an example, where one is given."""
    core = _core()
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, on all threads
    }
    model = _kept_openvino(core, options, file)
    fresh = model is None
    if fresh:
        model = core.compile_model(_converted(network, shape), "CPU", options)

    def run(batch: Tensor) -> Tensor:
        return torch.from_numpy(model(batch.contiguous().numpy())[0])

    if fresh and example is not None and not _agrees(run, network, example, bfloat16):
        return None
    if fresh and file is not None:
        _keep(file, model.export_model().getvalue())
    return run


def _converted(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """OpenVINO's model of a network, for one shape.

    From the module, not from `torch.export`'s program, of which it would take each instance
    normalization apart into sums and products: 6 to 8 % slower.
    """
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes become constants, as they shall
        model = openvino.convert_model(network, example_input=torch.zeros(shape))
    model.reshape(list(shape))  # fixed sizes let the kernels be chosen once
    return model


@torch.no_grad()
def _agrees(run: Run, network: nn.Module, batch: Tensor, bfloat16: bool) -> bool:
    """Whether a compiled network gives PyTorch's logits, up to its precision."""
    expected = network(batch)
    error = float((run(batch) - expected).norm() / expected.norm().clamp(min=1e-12))
    limit = BFLOAT16_ERROR if bfloat16 else FLOAT32_ERROR
    if error <= limit:
        return True
    logger.warning("OpenVINO's logits are %.2g off those of PyTorch, which runs instead", error)
    return False


@cache
def _core() -> Any:
    """The one core of this process, never given up.

    The CPU plugin of each core exchanges the thread's alternate signal stack and unmaps its own at
    its end. Two cores that end in the order of their beginnings leave the thread with an unmapped
    one, and its next signal (a DataLoader's SIGCHLD) ends the process without a word.
    """
    import openvino

    return openvino.Core()


def _kept_openvino(core: Any, options: dict[str, Any], file: Path | None) -> Any:
    """The compiled model of an earlier process, or None."""
    if file is None or not file.is_file():
        return None
    content = file.read_bytes()
    digest, model = content[:DIGEST], content[DIGEST:]
    try:
        if hashlib.sha256(model).digest() != digest:
            raise RuntimeError("not the SHA-256 that it begins with")
        return core.import_model(model, "CPU", options)
    except RuntimeError as error:
        logger.warning("%s: cannot be used (%s); compiling again", file, str(error)[:100])
        return None


def _keep(file: Path, model: bytes) -> None:
    with whole(file) as partial:
        partial.write_bytes(hashlib.sha256(model).digest() + model)


def _is_private(folder: Path) -> bool:
    """Whether only this user can write into a folder of compiled code."""
    facts = folder.stat()
    private = facts.st_uid == os.getuid() and not facts.st_mode & 0o022
    if not private:
        logger.warning("%s: others can write there; compiled networks are not kept", folder)
    return private


def _in_full_batches(run: Run, size: int, batch: Tensor) -> Tensor:
    """Run batches of the compiled size; zeros fill the last one up."""
    results = []
    for part in batch.split(size):
        lacking = part.new_zeros(size - len(part), *part.shape[1:])
        results.append(run(torch.cat([part, lacking]) if len(lacking) else part)[: len(part)])
    return torch.cat(results)


class BackendInferer(Inferer):
    """Give an inferer its network by a backend, compiled at the first batch of each shape.

    A GPU runs the network as it is unless something else is asked for: its precision is the
    engine's ``amp``, and a `MemoryLadder` can move a module to the CPU.

    Args:
        inferer: such as `PatchInferer` or `SliceStackInferer`.
        backend: as `compiled` takes it.
        precision: as `compiled` takes it.
        cache_dir: as `compiled` takes it.
    """

    def __init__(
        self,
        inferer: Inferer,
        backend: str = "auto",
        precision: str = "auto",
        cache_dir: Path | str | None = None,
    ) -> None:
        """Store the options; nothing is compiled yet."""
        super().__init__()
        self.inferer, self.backend, self.precision = inferer, backend, precision
        self.cache_dir = cache_dir
        self.network: nn.Module | None = None  # the last one, which the runs belong to
        self.runs: dict[tuple[int, ...], Run] = {}

    def __call__(  # type: ignore[override]  # MONAI's takes further arguments that nobody gives
        self, inputs: Tensor, network: nn.Module
    ) -> Tensor:
        """What the inferer makes of the volumes B x C x ... with the compiled network."""
        if network is not self.network:
            self.network, self.runs = network, {}
        plain = described(self.backend, self.precision, inputs.device) == AS_IT_IS
        swept: Tensor = self.inferer(inputs, network if plain else self._run)
        return swept

    def _run(self, batch: Tensor) -> Tensor:
        shape = tuple(batch.shape[1:])
        if shape not in self.runs:
            assert self.network is not None
            self.runs[shape] = compiled(
                self.network,
                tuple(batch.shape),
                self.backend,
                self.cache_dir,
                precision=self.precision,
                example=batch,
            )
        return self.runs[shape](batch)


def described(backend: str, precision: str, device: torch.device) -> str:
    """What prediction runs a network by on a device, such as ``openvino, bfloat16``.

    Raises:
        UsageError: an unknown choice, OpenVINO is not installed, or is asked to run on a GPU.
    """
    if device.type != "cpu" and precision == "auto":
        precision = "float32"  # as it is: the engine's `amp` says more
    chosen, bfloat16 = choose_backend(backend, device), choose_bfloat16(precision, device)
    return f"{chosen}, {'bfloat16' if bfloat16 else 'float32'}"


def with_backend(
    inferer: Inferer,
    backend: str = "auto",
    precision: str = "auto",
    cache_dir: Path | str | None = None,
) -> Inferer:
    """An inferer that runs its network, or each one of an ensemble, by a backend.

    Args:
        inferer: as `BackendInferer` takes it, or an `EnsembleInferer` of one.
        backend: as `compiled` takes it.
        precision: as `compiled` takes it.
        cache_dir: folder of compiled networks; None: the user's.

    Raises:
        UsageError: an unknown choice, or OpenVINO is not installed.
    """
    described(backend, precision, torch.device("cpu"))  # the network's device is not known yet
    folder = user_cache() if cache_dir is None else cache_dir
    if isinstance(inferer, EnsembleInferer):
        return EnsembleInferer(BackendInferer(inferer.inferer, backend, precision, folder))
    return BackendInferer(inferer, backend, precision, folder)


def user_cache() -> Path | None:
    """The user's folder of compiled networks, where the newest are kept; None: not writable."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "stroke-nets" / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.info("%s: compiled networks are not kept (%s)", folder, error)
        return None
    return folder
