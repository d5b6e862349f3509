"""Kill a piece of work at every change of a folder that it makes."""

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link"}


def kill_points(work: Callable[[], object], out: Path) -> Iterator[int]:
    """Kill the work at its first, second, ... change below ``out``, each time as SIGKILL does.

    Each attempt begins with the folder as it was, in a forked process. The file that was opened
    last for writing is cut in half first, if it still has its name, as on a machine that loses its
    power. What the caller does with the folder between two points is undone.

    Args:
        work: what is killed; it ends undisturbed after the last point.
        out: the folder that it writes.
    """
    before = out.with_name(f"{out.name}.before")
    if out.exists():
        shutil.copytree(out, before, symlinks=True)
    point = 0
    while _is_killed(work, out, point := point + 1):
        yield point
        shutil.rmtree(out, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, out, symlinks=True)


def _is_killed(work: Callable[[], object], out: Path, point: int) -> bool:
    """Whether a process that does the work reached the point, where it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sys.addaudithook(_Killer(out, point))
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, -9), f"point {point}: exit {ended}"
    return ended == -9


class _Killer:
    """An audit hook that kills its process when a folder is about to change for the nth time."""

    def __init__(self, out: Path, point: int) -> None:
        self.out, self.left, self.opened = os.fspath(out), point, ""

    def __call__(self, event: str, arguments: tuple) -> None:
        """Count; a path relative to an open folder is one of `shutil.rmtree`'s."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if not (writes or event in CHANGES) or not isinstance(arguments[0], str | bytes | Path):
            return
        name = os.fsdecode(arguments[0])
        if os.path.isabs(name) and not f"{name}/".startswith(f"{self.out}/"):
            return
        self.left -= 1
        if self.left == 0:
            if self.opened and os.path.isfile(self.opened):
                os.truncate(self.opened, os.path.getsize(self.opened) // 2)
            os.kill(os.getpid(), 9)
        self.opened = name if writes else self.opened


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, links as such; how long something took is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path).encode()
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = b"a folder"
        if name.endswith("_mask.json"):
            content = json.loads(found[name])
            found[name] = json.dumps(content | {"Seconds": 0}).encode()
    return found
