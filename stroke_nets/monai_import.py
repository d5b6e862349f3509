"""Import MONAI in two thirds of the time, for interactive commands."""

import gc
import sys

UNUSED = ("ignite", "matplotlib", "pandas", "pydicom", "scipy.signal", "sklearn", "tensorboard")


def import_monai() -> None:
    """Import MONAI without the optional packages for training, plotting and statistics.

    MONAI imports all of its modules, and these import all optional packages. Those that prediction
    does not use are hidden during the import, as if they were not installed; they can be imported
    afterwards. The garbage collector is paused, as importing modules leaves no garbage.
    """
    hidden = [name for name in UNUSED if name not in sys.modules]
    # None instead of a module makes Python refuse its import; the type stubs do not allow it
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    gc.disable()
    try:
        import monai  # noqa: F401 - later imports find it
    finally:
        gc.enable()
        for name in hidden:
            del sys.modules[name]
