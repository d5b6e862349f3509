"""Keep the blocks that bundles have in common equal; each bundle stays a folder that works alone.

A heading such as ``# 5 ---- engines: as in bundles/agmr_net`` says whose block it repeats: what
stands under ``# 5 ---- engines`` in the file of the same name there. Change it there, then run
this. LICENSE and logging.conf are copies as well.

python bundles/sync.py           # write
python bundles/sync.py --check   # exit 3 if a bundle differs from what it repeats
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent
COPIES = {
    "logging.conf": ROOT / "agmr_net/configs/logging.conf",
    "LICENSE": ROOT.parent / "LICENSE",
}
PART = re.compile(r"^(?=# \d ---- )", re.MULTILINE)
HEADING = re.compile(r"(# \d ---- [^:\n]+): as in bundles/(\w+).*\n")


def block(file: Path, title: str) -> str:
    """What stands under a heading of a file."""
    for part in PART.split(file.read_text()):
        first, _, body = part.partition("\n")
        if first == title:
            return body.rstrip()
    raise SystemExit(f"{file}: has no block {title!r}; correct the heading that names it")


def synced(file: Path) -> str:
    """A bundle's file with the blocks that it repeats as they stand in the other bundle."""
    if file.name in COPIES:
        return COPIES[file.name].read_text()
    parts = []
    for part in PART.split(file.read_text()):
        if heading := HEADING.match(part):
            inside = file.relative_to(ROOT).parts[1:]
            end = part[len(part.rstrip()) :]
            part = heading[0] + block(ROOT.joinpath(heading[2], *inside), heading[1]) + end
        parts.append(part)
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Write or check all bundles; 0 done, 3 something differs."""
    files = sorted(ROOT.glob("*/configs/**/*.yaml"))
    files += [file for name in COPIES for file in sorted(ROOT.glob(f"*/**/{name}"))]
    stale = [file for file in files if synced(file) != file.read_text()]
    for file in stale:
        if "--check" in arguments:
            print(f"{file}: differs from the bundle that it repeats; run python bundles/sync.py")
        else:
            file.write_text(synced(file))
            print(f"wrote {file}")
    return 3 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
