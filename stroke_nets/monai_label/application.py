"""MONAI Label's application, closed to web pages of other sites; imported in its environment only.

MONAI Label 0.8.5 allows every origin, and ends at the start if ``MONAI_LABEL_CORS_ORIGINS`` names
some. Its own pages, OHIF among them, and 3D Slicer need none.
"""

import os

from monailabel.app import app
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stroke_nets.monai_label.same_origin import SameOrigin

__all__ = ["app"]

app.user_middleware = [one for one in app.user_middleware if one.cls is not CORSMiddleware]
app.add_middleware(SameOrigin)
# a page cannot get past the check above by a name of its own that leads to this machine
app.add_middleware(
    TrustedHostMiddleware, allowed_hosts=os.environ["STROKE_NETS_LABEL_HOSTS"].split(",")
)
