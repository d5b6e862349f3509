"""Start MONAI Label for a user: on this machine only, without asking the network for anything."""

import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import stroke_nets
from stroke_nets.bundle_folders import find_bundle, published_weights, with_weights
from stroke_nets.errors import UsageError
from stroke_nets.files import hidden_folder
from stroke_nets.inspection.bundle import CODE

# what `make label-env` makes in the clone: a folder that the user is in may be anybody's
ENVIRONMENT = Path(__file__).parents[2] / ".label-venv"
WORK = "work"  # the server's working folder, which stays empty: names cannot mean its files
SAMPLE_APP = Path("monailabel", "sample-apps", "monaibundle")
CODE_OF_THE_APP = ("__init__.py", "__pycache__", "lib", "main.py", "stroke_nets", "torchvision")
TOKEN = "STROKE_NETS_LABEL_TOKEN"  # environment variable
UNENCRYPTED = (
    "warning: requests to {host}:{port} are not encrypted: whoever listens on the way gets the "
    "token, and with it the studies and masks; an SSH tunnel is safer"
)


@dataclass(frozen=True)
class Server:
    """What is served, and where.

    Attributes:
        studies: a folder with NIfTI files directly in it, or the URL of a DICOMweb server.
        app: the app folder, which is made; bundles that it holds already stay as they are.
        bundles: names; all that have weights if empty.
        weights: checkpoints by the bundle's name; the published ones for all others.
        overlay: of the checkpoints.
        random_weights: for tests: networks that have learnt nothing.
        host: address to listen on.
        port: port to listen on.
        public: the address may be reachable from other machines.
        python: of MONAI Label's environment; looked for if None.
    """

    studies: str
    app: Path
    bundles: Sequence[str] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)
    overlay: str | None = None
    random_weights: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    public: bool = False
    python: Path | None = None


def find_python(python: Path | None = None) -> Path:
    """The interpreter of MONAI Label's environment: as given, or what ``make label-env`` made.

    Raises:
        UsageError: it is not there, or has no MONAI Label.
    """
    found = (python or ENVIRONMENT / "bin" / "python").absolute()
    if not found.is_file():
        raise UsageError(
            f"MONAI Label: no {found}; run 'make label-env' in a clone, or give --python PATH"
        )
    if not (found.parents[1] / SAMPLE_APP).is_dir():
        raise UsageError(f"--python {found}: its environment has no MONAI Label")
    return found


def require_address(host: str, port: int, public: bool) -> None:
    """Refuse an address that is taken, or that others can reach unless that is meant.

    Raises:
        UsageError: it cannot be used.
    """
    try:
        own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = False
    if not own and not public:
        raise UsageError(
            f"--host {host}: reachable from other machines, and requests are not encrypted; "
            "keep 127.0.0.1 and use an SSH tunnel, or add --public"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(f"--port {port} on {host}: {error.strerror}; give another") from error


def require_images(studies: str) -> None:
    """Refuse a folder in which MONAI Label would find nothing.

    Raises:
        UsageError: it is missing, or has no NIfTI file directly in it.
    """
    folder = Path(studies)
    if studies.startswith(("http://", "https://")):
        return
    if not folder.is_dir():
        raise UsageError(f"--studies {studies}: no such folder; give the one that holds the scans")
    if not any(folder.glob("*.nii*")):
        deeper = next(folder.rglob("*.nii*"), None)
        hint = f" (it does not look into {deeper.parent})" if deeper else ""
        raise UsageError(
            f"--studies {studies}: MONAI Label finds no scan there{hint}; put or link the *.nii.gz "
            "files directly into it"
        )


def require_apart(studies: str, app: Path) -> None:
    """Refuse an app folder that a client could write into, or a scan in it.

    Raises:
        UsageError: one of the two folders lies in the other.
    """
    if studies.startswith(("http://", "https://")):
        return
    ours, theirs = app.resolve(), Path(studies).resolve()
    if ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
        raise UsageError(
            f"--app {app}: lies in --studies {studies}, or the other way round; the server runs "
            "the code of the app folder and clients write into the studies: give another --app"
        )


def make_app(server: Server, python: Path) -> list[str]:
    """Make the app folder: MONAI Label's sample app, this package and the bundles.

    Args:
        server: what is served.
        python: of MONAI Label's environment.

    Returns:
        The names of the bundles.

    Raises:
        UsageError: a bundle is not there, has no weights, or other ones than asked for.
    """
    names = list(server.bundles) or list(server.weights) or with_weights()
    if not names:
        raise UsageError("--bundles: none comes with weights; name one and give --weights")
    for name in (*names, *server.weights):
        find_bundle(name)
    _close(server.app)
    models = server.app / "model"
    there = [name for name in names if (models / name).is_dir()]
    if there and (server.weights or server.overlay or server.random_weights):
        raise UsageError(
            f"--app {server.app}: holds {there[0]} with its weights; leave out --weights, "
            "--overlay and --random-weights, or give another --app"
        )
    _require_own(server.app, there)
    _copy_bundles(server, [name for name in names if name not in there], models)
    _copy_code(server.app, python.parents[1])
    _close(server.app)  # its mode was the sample app's
    return names


def _close(app: Path) -> None:
    """Keep others out of the app folder: it holds decoded scans, and code that the server runs."""
    try:
        (app / WORK).mkdir(parents=True, exist_ok=True)
        app.chmod(0o700)
    except OSError as error:
        raise UsageError(f"--app {app}: {error.strerror}; give another") from error


def _require_own(app: Path, bundles: Sequence[str]) -> None:
    """Refuse an app folder from elsewhere: the server executes what it holds.

    Its code is written anew; only the bundles in it stay.

    Raises:
        UsageError: it holds code or configurations that this package did not write.
    """
    from stroke_nets.monai_label.bundle_copy import require_own_copy

    for path in (app / name for name in CODE_OF_THE_APP):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in sorted(app.iterdir()):
        code = path.name.lower().endswith(CODE) or any(path.glob("__init__.*"))
        if code or path.is_symlink():
            raise UsageError(
                f"--app {app}: {path.name} is not from this package, and the server would run it; "
                "give another --app"
            )
    for name in bundles:
        require_own_copy(find_bundle(name), app / "model" / name)


def _copy_bundles(server: Server, names: Sequence[str], models: Path) -> None:
    """All of them or none."""
    from stroke_nets.monai_label.bundle_copy import ServedWeights, copy_bundle

    unused = set(server.weights)

    def choose(bundle: Path) -> ServedWeights:
        unused.discard(bundle.name)
        if bundle.name in server.weights:
            return ServedWeights(server.overlay or "default", server.weights[bundle.name])
        if server.random_weights:
            return ServedWeights(server.overlay or "default")
        file, entry = published_weights(bundle, server.overlay, f"--weights {bundle.name}=FILE")
        return ServedWeights(entry["overlay"], file)

    with hidden_folder(models) as temporary:
        for name in names:
            copy_bundle(find_bundle(name), choose, temporary / name)
        if unused:
            raise UsageError(f"--weights {min(unused)}: no bundle of {', '.join(names)} takes them")
        for name in names:
            os.replace(temporary / name, models / name)


def _copy_code(app: Path, environment: Path) -> None:
    """The sample app and this package, so that the server runs the code of this command."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(environment / SAMPLE_APP, app, ignore=without, dirs_exist_ok=True)
    package = Path(stroke_nets.__file__).parent
    shutil.copytree(package, app / package.name, ignore=without, dirs_exist_ok=True)
    if not any(environment.glob("lib/python*/site-packages/torchvision")):
        stand_in = app / "torchvision"
        stand_in.mkdir(exist_ok=True)
        (stand_in / "__init__.py").write_text('__version__ = "0"\n')
        shutil.copy(Path(__file__).with_name("image_grid.py"), stand_in / "utils.py")


def in_url(host: str) -> str:
    """A host as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def environment(server: Server, token: str) -> dict[str, str]:
    """MONAI Label's settings, as environment variables."""
    hosts = (in_url(server.host), "localhost", "127.0.0.1")
    return {
        "PYTHONPATH": str(server.app.absolute()),
        "STROKE_NETS_LABEL_HOSTS": "*" if server.public else ",".join(hosts),
        "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii"]),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": json.dumps({"Modality": "MR"}),  # theirs is CT
        "MONAI_LABEL_SESSIONS": "false",  # scans of clients, of any name
        "PYTHONSAFEPATH": "1",
        TOKEN: token,
        "MONAI_LABEL_TRACKING_ENABLED": "false",
    }


def arguments(server: Server, names: Sequence[str]) -> list[str]:
    """MONAI Label's arguments."""
    found = ["-m", "monailabel.main", "start_server", "--app", str(server.app.absolute())]
    remote = server.studies.startswith(("http://", "https://"))
    studies = server.studies if remote else str(Path(server.studies).absolute())
    found += ["--studies", studies, "--host", server.host, "--port", str(server.port)]
    found += ["--uvicorn_app", "stroke_nets.monai_label.application:app"]
    for key, value in {"models": ",".join(names), "zoo_source": "local", "sam2": "false"}.items():
        found += ["--conf", key, value]
    return found


def serve(server: Server) -> None:
    """Become the server; does not return.

    Raises:
        UsageError: something that is asked for cannot be.
    """
    python = find_python(server.python)
    require_address(server.host, server.port, server.public)
    require_images(server.studies)
    require_apart(server.studies, server.app)
    names = make_app(server, python)
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(16)
    if not re.fullmatch(r"[\w-]{16,}", token, re.ASCII):
        raise UsageError(f"{TOKEN}: give at least 16 letters, digits, - and _")
    url = f"http://{in_url(server.host)}:{server.port}/{token}"
    print(f"bundles in {server.app}: {', '.join(names)}")
    print(f"3D Slicer, MONAI Label module: {url}")
    if server.studies.startswith(("http://", "https://")):
        print(f"OHIF: {url}/ohif/")
    print("the address is secret; it is ready when it says so; Ctrl-C ends it", flush=True)
    if server.public:
        print(UNENCRYPTED.format(host=server.host, port=server.port), file=sys.stderr)
    words, variables = arguments(server, names), dict(os.environ) | environment(server, token)
    os.chdir(server.app / WORK)
    os.execve(python, [str(python), *words], variables)
