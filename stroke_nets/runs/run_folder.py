"""The folder of one run: ``runs/<bundle>/<overlay or default>/fold<k>/``.

It holds ``checkpoints/``, ``events/``, ``predictions/``, ``cases.csv``, ``summary.json`` and
``config.yaml``.
"""

import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stroke_nets.errors import UsageError
from stroke_nets.files import write_whole
from stroke_nets.inspection.plain_config import read_config
from stroke_nets.runs.configuration import checksum, fixed
from stroke_nets.training import checkpoint_file

_locks: dict[Path, int] = {}  # kept open, as closing any handle of a file would unlock it


class RunFolder:
    """The run folder of a training, locked until this process ends.

    Creating the object only checks the folder; `begin` writes, after everything else that can fail.

    Args:
        path: the folder; created if necessary.
        config: the resolved configuration, written to ``config.yaml``.
        overwrite: replace an existing training.
        resume: continue it, or begin if there is none.
        first_rank: whether this is the only process, or the one that writes for all.

    Raises:
        UsageError: another process uses the folder, it contains a training, or the training to
            resume had different options.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        *,
        overwrite: bool = False,
        resume: bool = False,
        first_rank: bool = True,
    ) -> None:
        """Lock the folder and check its content."""
        self.path, self.config = path, dict(config)
        self.overwrite, self.resume, self.first_rank = overwrite, resume, first_rank
        self.checkpoints, self.events = path / "checkpoints", path / "events"
        self.config_hash = checksum(config)
        if first_rank:
            path.mkdir(parents=True, exist_ok=True)
            _lock(path)
            self._require_free()

    def begin(self) -> None:
        """Delete checkpoints to be overwritten and write the configuration."""
        if not self.first_rank:
            return
        if self.overwrite and not self.resume:
            checkpoint_file.remove_all(self.checkpoints)
        text = yaml.safe_dump(self.config, sort_keys=False)
        write_whole(self.path / "config.yaml", text)

    def _require_free(self) -> None:
        started = bool(checkpoint_file.newest_first(self.checkpoints))
        if self.resume and started:
            self._require_same()
        elif self.resume:
            print(f"{self.path}: no checkpoint to resume from; starting from the beginning")
        elif started and not self.overwrite:
            raise UsageError(
                f"output_dir {self.path}: a training is there; continue it with --resume true, "
                "choose another --output_dir, or replace it with --overwrite true"
            )

    def _require_same(self) -> None:
        """Refuse to resume with options that differ from the training's, and name them."""
        file = self.path / "config.yaml"
        before = read_config(file) if file.is_file() else {}
        old, new = fixed(before), fixed(yaml.safe_load(yaml.safe_dump(self.config)))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            raise UsageError(
                f"output_dir {self.path}: its training had another {', '.join(changed)} "
                "(config.yaml there); resume with its options, or choose another --output_dir"
            )


def _lock(folder: Path) -> None:
    """Lock out other processes until this one ends, however it ends.

    It uses a POSIX lock, which is not inherited by loader workers, as they outlive a killed
    training by seconds.
    """
    file = (folder / ".lock").resolve()
    if file not in _locks:
        _locks[file] = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(_locks[file], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UsageError(
            f"output_dir {folder}: another training runs there ({file.read_text().strip()}); wait "
            "for it, or choose another --output_dir"
        ) from error
    os.ftruncate(_locks[file], 0)
    os.pwrite(_locks[file], f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
