"""MONAI Label's application, closed to web pages of other sites; imported in its environment only.

MONAI Label 0.8.5 allows every origin, and ends at the start if ``MONAI_LABEL_CORS_ORIGINS`` names
some. Its own pages, OHIF among them, and 3D Slicer need none.
"""

import os
from typing import Any
from urllib.parse import urlsplit

from monailabel.app import app
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

__all__ = ["app"]


class SameOrigin(BaseHTTPMiddleware):
    """Refuse what a page of another site sends, even where it could not read the answer."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        """Answer 403 to a foreign ``Origin``."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return PlainTextResponse("pages of other sites are refused", status_code=403)
        return await call_next(request)


app.user_middleware = [one for one in app.user_middleware if one.cls is not CORSMiddleware]
app.add_middleware(SameOrigin)
# a page cannot get past the check above by a name of its own that leads to this machine
app.add_middleware(
    TrustedHostMiddleware, allowed_hosts=os.environ["STROKE_NETS_LABEL_HOSTS"].split(",")
)
