"""Let MONAI Label see only requests with the token that the rules allow.

ASGI 3.0, https://asgi.readthedocs.io/en/latest/specs/www.html. Imported in MONAI Label's
environment only.
"""

import hmac
import logging
import shutil
import tempfile
from collections.abc import Callable, Collection
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from stroke_nets.errors import DataError, StrokeNetsError
from stroke_nets.monai_label.rules import RefusedError, Request, largest, require_allowed
from stroke_nets.runs.exit_codes import find_error
from stroke_nets.scans.check import require_same_grid
from stroke_nets.scans.reader import open_scan

logger = logging.getLogger(__name__)

COOKIE = "stroke_nets_label"
IN_MEMORY, CHUNK = 1 << 20, 1 << 20  # bytes
PLAIN_LOG = b"html=false&lines=300"  # the other form loads scripts from other machines
Scope = dict[str, Any]


class Guard:
    """Refuse requests without the token, and those that the rules do not allow.

    Args:
        app: the application that answers all other requests.
        token: as the first part of the path, as a bearer token or, for OHIF, as a cookie.
        images: gives the names of the scans that are served.
        path_of: gives a scan's file.
        viewer: whether OHIF is offered.
    """

    def __init__(
        self,
        app: Callable,
        token: str,
        images: Callable[[], Collection[str]],
        path_of: Callable[[str], str],
        viewer: bool = False,
    ) -> None:
        """Wrap the application."""
        self.app, self.token, self.images, self.path_of = app, token, images, path_of
        self.viewer = viewer

    async def __call__(self, scope: Scope, receive: Callable, send: Callable) -> None:
        """Answer 401, 404 or what the rules say; pass on all else."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Callable, send: Callable) -> None:
        begun = []

        async def note(message: dict[str, Any]) -> None:
            begun.append(message["type"])
            await send(message)

        try:
            if self._enter(scope):
                await _redirect(scope, self.token, note)
            else:
                await self._judge(scope, receive, note)
        except RefusedError as refused:
            await _say(note, refused.status, refused.text)
        except ClientDisconnect:
            logger.info("a client went away")
        except Exception as error:
            logger.exception("%s %s", scope["method"], scope["path"])
            if begun:
                raise
            await _say(note, *_told(error))

    def _enter(self, scope: Scope) -> bool:
        """Whether a browser came with the token, which it shall keep as a cookie."""
        first = f"/{self.token}"
        path = scope["path"]
        in_path = hmac.compare_digest(path[: len(first) + 1].encode(), f"{first}/".encode())
        if in_path:
            scope["path"] = path[len(first) :]  # in place: it shall not come into a log
            scope["raw_path"] = scope["path"].encode()
        elif not any(hmac.compare_digest(t.encode(), self.token.encode()) for t in _tokens(scope)):
            _hide(scope, self.token)
            raise RefusedError(
                401, "no access: use the whole address that 'stroke-nets label' printed"
            )
        return in_path and self.viewer and scope["path"] == "/ohif/"

    async def _judge(self, scope: Scope, receive: Callable, send: Callable) -> None:
        method, path = scope["method"], scope["path"]
        limit = largest(method, path, self.viewer)
        with tempfile.TemporaryDirectory() as folder:
            body = await _read(receive, limit)
            request = await _parsed(scope, body, Path(folder))
            request.images = await run_in_threadpool(self.images)
            require_allowed(request, self.viewer)
            if method == "PUT" and path == "/datastore/label":
                image = await run_in_threadpool(self.path_of, request.one("image"))
                await run_in_threadpool(_require_mask, Path(image), request.files["label"][0])
            if path == "/logs/":
                scope["query_string"] = PLAIN_LOG
            await self.app(scope, _replay(body, receive), send)


def _hide(scope: Scope, token: str) -> None:
    """Keep the token of an address that is not quite right out of the log."""
    scope["path"] = scope["path"].replace(token, "TOKEN")
    scope["query_string"] = scope["query_string"].replace(token.encode(), b"TOKEN")


def _tokens(scope: Scope) -> list[str]:
    """The tokens in a request's headers."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    kind, _, bearer = headers.get(b"authorization", "").partition(" ")
    found = [bearer.strip()] if kind.lower() == "bearer" else []
    try:
        cookie = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    return found + ([cookie.value] if cookie else [])


async def _read(receive: Callable, limit: int) -> Any:
    """The body, on disk if it is large.

    Raises:
        RefusedError: it is larger than the limit.
    """
    body = tempfile.SpooledTemporaryFile(IN_MEMORY)
    more, size = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size > limit:
            raise RefusedError(413, f"the request is larger than {limit} bytes")
        body.write(message.get("body", b""))
        more = message.get("more_body", False)
    return body


def _replay(body: Any, receive: Callable) -> Callable:
    """What an application receives once the body has been read."""
    body.seek(0)
    done = False

    async def again() -> dict[str, Any]:
        nonlocal done
        if done:
            return await receive()  # the client going away
        piece = body.read(CHUNK)
        done = len(piece) < CHUNK
        return {"type": "http.request", "body": piece, "more_body": not done}

    return again


async def _parsed(scope: Scope, body: Any, folder: Path) -> Request:
    """A request as the rules see it; its files lie in a folder."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    request = Request(scope["method"], scope["path"], query)
    http = HttpRequest(scope, _replay(body, _nothing))
    kind = http.headers.get("content-type", "").split(";")[0].strip().lower()
    fields: dict[str, list[str]] = {}
    files: dict[str, list[tuple[str, Path]]] = {}
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            async with http.form(max_files=2, max_fields=4) as form:
                for name, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        ending = ".nii.gz" if str(value.filename).endswith(".gz") else ".nii"
                        path = folder / f"{len(files)}{ending}"
                        with path.open("wb") as target:
                            shutil.copyfileobj(value.file, target)
                        files.setdefault(name, []).append((value.filename or "", path))
                    else:
                        fields.setdefault(name, []).append(value)
        except (HTTPException, MultiPartException, ValueError, OSError) as error:
            raise RefusedError(400, f"the form cannot be read ({type(error).__name__})") from error
    elif kind in ("application/json", ""):
        fields[""] = [(await http.body()).decode("utf-8", errors="replace")]
    else:
        raise RefusedError(415, f"{kind[:100]}: send a form or JSON")
    request.fields, request.files = fields, files
    return request


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _require_mask(image: Path, given: tuple[str, Path]) -> None:
    """Refuse a mask that cannot be read or lies on another grid than its scan.

    Raises:
        DataError: it cannot be taken.
    """
    name, path = given
    try:
        require_same_grid(open_scan(image), open_scan(path), name.replace("\\", "/").split("/")[-1])
    except DataError as error:
        raise DataError(str(error).replace(str(path), "label")) from error


def _told(error: Exception) -> tuple[int, str]:
    """Status and text of an exception."""
    known = find_error(error)
    if isinstance(known, StrokeNetsError):
        return 422, str(known)
    text = getattr(error, "msg", "")  # MONAI Label's own
    if text:
        return 400, str(text)[:1000]
    return 500, f"{type(error).__name__}: failed; the server's log says more"


async def _redirect(scope: Scope, token: str, send: Callable) -> None:
    """Let a browser come again with a cookie, so that the pages' own addresses work."""
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    headers = [(b"location", scope["path"].encode()), (b"set-cookie", cookie.encode())]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _say(send: Callable, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
