"""Import MONAI in two thirds of the time, for the command that people wait for."""

import gc
import sys

UNUSED = ("matplotlib", "pandas", "scipy.signal", "sklearn", "tensorboard")


def import_monai() -> None:
    """Import MONAI without what its training, plotting and statistics could use.

    MONAI imports all of its modules, and each of them whatever packages its features know. Those
    that prediction does not use are hidden meanwhile, as if they were not installed; everybody else
    can import them afterwards. The garbage collector rests: among modules there is nothing to find.
    """
    hidden = [name for name in UNUSED if name not in sys.modules]
    # None in place of a module makes Python refuse its import, which the stubs do not know
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    gc.disable()
    try:
        import monai  # noqa: F401 - whoever imports it next finds it there
    finally:
        gc.enable()
        for name in hidden:
            del sys.modules[name]
