"""A check that an ASGI application is called by its own pages only.

ASGI 3.0, https://asgi.readthedocs.io/en/latest/specs/www.html: header names arrive in lower case.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

REFUSAL = b"pages of other sites are refused"


class SameOrigin:
    """Refuse requests that a page of another site sends, even if it could not read the answer.

    Args:
        app: the application that answers all other requests.
    """

    def __init__(self, app: Callable) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer 403 to a foreign ``Origin``."""
        headers = dict(scope.get("headers", ()))
        origin = headers.get(b"origin")
        if origin is None or urlsplit(origin).netloc == headers.get(b"host"):
            await self.app(scope, receive, send)
            return
        kind = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": 403, "headers": kind})
        await send({"type": "http.response.body", "body": REFUSAL})
