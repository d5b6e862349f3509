"""Serve the page that finds lesions in a browser (docs/web.md), on this machine only."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stroke_nets.errors import UsageError

HOST = "127.0.0.1"
HEADERS = {
    # isolated, so that the network may use threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_folder() -> Path:
    """The built page: the wheel's, or the clone's, which ``make web`` builds.

    Raises:
        UsageError: it is not there.
    """
    package = Path(__file__).parent
    for folder in (package / "page", package.parent / "web" / "dist"):
        if (folder / "index.html").is_file():
            return folder
    raise UsageError("the page is not part of this installation; in a clone, run: make web")


def page_server(port: int, isolated: bool = True) -> ThreadingHTTPServer:
    """A server of the page on 127.0.0.1, not started.

    Args:
        port: to listen on; 0 for a free one.
        isolated: send the headers that give the page threads.

    Raises:
        UsageError: the page is missing, or the port is taken.
    """
    handler = partial(_Handler if isolated else _Plain, directory=str(page_folder()))
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}; give another") from error


class _Plain(SimpleHTTPRequestHandler):
    """The page's files, silently."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".gz": "application/octet-stream",
    }

    def list_directory(self, path: Any) -> None:
        """Show no folder's contents."""
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Handler(_Plain):
    """The page's files, isolated from other pages."""

    def end_headers(self) -> None:
        """Add what isolates the page."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()
