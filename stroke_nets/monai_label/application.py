"""MONAI Label's application behind our checks; imported in its environment only.

MONAI Label 0.8.5 allows every origin, and ends at the start if ``MONAI_LABEL_CORS_ORIGINS`` names
some. Its own pages, OHIF among them, and 3D Slicer need none.
"""

import os
from collections.abc import Collection

from monailabel.app import app
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance
from monailabel.tasks.train.bundle import BundleTrainTask
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stroke_nets.monai_label.guard import Guard
from stroke_nets.monai_label.same_origin import SameOrigin
from stroke_nets.monai_label.trained_weights import newest_first, read_progress

__all__ = ["app"]


def images() -> Collection[str]:
    """The names of the scans that are served."""
    return set(app_instance().datastore().list_images())


def path_of(image: str) -> str:
    """A scan's file."""
    return str(app_instance().datastore().get_image_uri(image))


_info = MONAILabelApp.info


def info(self: MONAILabelApp) -> dict:
    """The app's own, with the newest training first: Slicer shows only that one's progress."""
    found: dict = _info(self)
    return found | {"train_stats": newest_first(found["train_stats"])}


MONAILabelApp.info = info
BundleTrainTask.stats = lambda task: read_progress(task.bundle_path)

app.user_middleware = [one for one in app.user_middleware if one.cls is not CORSMiddleware]
app.add_middleware(
    Guard,
    token=os.environ["STROKE_NETS_LABEL_TOKEN"],
    images=images,
    path_of=path_of,
    viewer=settings.MONAI_LABEL_STUDIES.startswith(("http://", "https://")),
)
app.add_middleware(SameOrigin)
# a page cannot get past the check above by a name of its own that leads to this machine
app.add_middleware(
    TrustedHostMiddleware, allowed_hosts=os.environ["STROKE_NETS_LABEL_HOSTS"].split(",")
)
