"""Commands that pass bundles on, look into them and serve them."""

from pathlib import Path
from typing import Annotated

import typer

from stroke_nets.commands.app import Json, OldOut, Out, Panel, Quiet, app, chosen_out, tell
from stroke_nets.errors import UsageError

PANEL: Panel = "Share and serve"


@app.command(rich_help_panel=PANEL)
def pack(
    bundle: Annotated[str, typer.Argument(help="Name of the method.")],
    out: Out = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="Checkpoint to pack instead of the published weights; for an ensemble, one for "
            "each member."
        ),
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(help="Overlay that the weights were trained with.")
    ] = None,
    web: Annotated[
        bool,
        typer.Option("--web", help="Write the network as ONNX for browsers, and its settings."),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="With --web: store the weights in 8 bits.")
    ] = False,
    old_out: OldOut = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle with its weights as one zip for MONAI and MONAI Label, and as a folder.

    The same input gives the same bytes. The zip lists the SHA-256 of every file in it.

    Example: stroke-nets pack agmr_net dist --weights runs/.../checkpoints/last.pt
    """
    if int8 and not web:
        raise UsageError("--int8: is of the network for browsers alone; give --web, too")
    if web:
        from stroke_nets.packing.web import pack_for_web

        found = pack_for_web(bundle, chosen_out(out, old_out), weights or (), overlay, int8)
        text = f"wrote {found.folder}\nsha256 {found.sha256}"
        tell(text, found._asdict(), as_json, quiet)
        return
    from stroke_nets.packing.pack import pack as write

    packed = write(bundle, chosen_out(out, old_out), weights or (), overlay)
    content = {"folder": packed.folder, "archive": packed.archive, "sha256": packed.sha256}
    text = f"wrote {packed.folder}\nwrote {packed.archive}\nsha256 {packed.sha256}"
    tell(text, content, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def unpack(
    archive: Annotated[Path, typer.Argument(help="A zip that 'pack' wrote.")],
    out: Annotated[Path, typer.Argument(help="Folder in which the bundle's folder is written.")],
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 that the zip must have, as published.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the folder of a packed bundle, after checking every file against its SHA-256.

    Example: stroke-nets unpack dist/agmr_net_v0.1.0.zip bundles
    """
    from stroke_nets.packing.archive import unpack as write

    folder = write(archive, out, sha256)
    tell(f"wrote {folder}", {"folder": folder}, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def inspect(
    bundle: Annotated[str, typer.Argument(help="Name of a method, a bundle's folder or a zip.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List every expression and class that a bundle would run, without running any.

    ok: on the list of what a bundle may do without --trust. outside: a class or file that is not.
    DANGER: could run anything. DAMAGED: differs from what SHA256SUMS or models/weights.json lists.
    With any finding, the exit code is 3.

    Example: stroke-nets inspect DOWNLOADED_BUNDLE
    """
    from stroke_nets.inspection import bundle as inspection

    items = inspection.inspect_bundle(bundle)
    found = inspection.findings(items)
    text = f"{inspection.as_table(items)}\n{len(found)} findings"
    tell(text, inspection.as_json(items), as_json, quiet and not found)
    raise typer.Exit(3 if found else 0)


@app.command(rich_help_panel=PANEL)
def label(
    studies: Annotated[str, typer.Option(help="Folder of NIfTI files, or a DICOMweb URL.")],
    bundles: Annotated[
        str, typer.Option(help="Methods to serve, as A,B. Default: all with published weights.")
    ] = "",
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD=FILE", help="Checkpoint to use instead of the published weights."
        ),
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(help="Overlay that the checkpoints were trained with.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Serve untrained networks, for tests.")
    ] = False,
    folder: Annotated[
        Path, typer.Option("--app", help="App folder to create, or to continue with.")
    ] = Path("runs/label"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    public: Annotated[
        bool, typer.Option("--public", help="Allow an address that other machines can reach.")
    ] = False,
    python: Annotated[
        Path | None, typer.Option(help="Python of MONAI Label's environment, if elsewhere.")
    ] = None,
) -> None:
    """Serve methods to 3D Slicer and OHIF through MONAI Label, on this machine only.

    Needs 'make label-env' once, in a clone. Trainings that are started there write into the app
    folder.

    Example: stroke-nets label --studies DATA --bundles agmr_net
    """
    from stroke_nets.monai_label.server import Server, serve

    files = dict(text.partition("=")[::2] for text in weights or ())
    if not all(files.values()):
        raise UsageError(f"--weights {' '.join(weights or ())}: give METHOD=FILE")
    serve(
        Server(
            studies=studies,
            app=folder,
            bundles=[name for name in bundles.split(",") if name],
            weights={name: Path(file) for name, file in files.items()},
            overlay=overlay,
            random_weights=random_weights,
            host=host,
            port=port,
            public=public,
            python=python,
        )
    )


@app.command(rich_help_panel=PANEL)
def web(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve a page that finds lesions in the browser, on this machine only; Ctrl+C ends it.

    Scans are read and computed by the browser; none is sent anywhere.

    Example: stroke-nets web --port 8080
    """
    from stroke_nets.web_server import page_server

    server = page_server(port)
    url = f"http://127.0.0.1:{server.server_port}/"
    tell(f"open {url} in a browser; Ctrl+C ends", {"url": url}, as_json, quiet)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
