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
from stroke_nets.runs.configuration import checksum, fixed
from stroke_nets.training import checkpoint_file

_locks: dict[Path, int] = {}  # closing any handle of a file would unlock it


class RunFolder:
    """The run folder of a training, which no other process may use until this one ends.

    Opening it only checks; `begin` writes, once everything else that can fail has succeeded.

    Args:
        path: the folder; made if need be.
        config: the resolved configuration, written to ``config.yaml``.
        overwrite: replace a training that is there.
        resume: continue it, or begin if there is none.
        first_rank: this process is the only one, or the one that writes for all.

    Raises:
        UsageError: another process trains into the folder, it holds a training, or the one to
            resume had other options.
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
        """Lock the folder and check what it holds."""
        self.path, self.config = path, dict(config)
        self.overwrite, self.resume, self.first_rank = overwrite, resume, first_rank
        self.checkpoints, self.events = path / "checkpoints", path / "events"
        self.config_hash = checksum(config)
        if first_rank:
            path.mkdir(parents=True, exist_ok=True)
            _lock(path)
            self._require_free()

    def begin(self) -> None:
        """Delete the checkpoints to be overwritten and write the configuration."""
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
        """Refuse to resume with other options than the training began with, naming them."""
        file = self.path / "config.yaml"
        before = yaml.safe_load(file.read_text()) if file.is_file() else {}
        old, new = fixed(before), fixed(yaml.safe_load(yaml.safe_dump(self.config)))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if changed:
            raise UsageError(
                f"output_dir {self.path}: its training had another {', '.join(changed)} "
                "(config.yaml there); resume with its options, or choose another --output_dir"
            )


def _lock(folder: Path) -> None:
    """Keep other processes out until this one ends, however it ends.

    A POSIX lock, which the loader's workers do not inherit: they outlive a killed training by
    seconds.
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
