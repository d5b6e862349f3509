"""Write the shared parts into the bundles, each of which stays a folder that works on its own.

A part of a configuration file ("# 4 ---- ...") whose heading names a file of bundles/_shared holds
that file's text; logging.conf and LICENSE are copies.

python bundles/_shared/sync.py           # write
python bundles/_shared/sync.py --check   # exit 3 if a bundle differs from what is shared
"""

import re
import sys
from pathlib import Path

SHARED = Path(__file__).parent
COPIES = {"logging.conf": SHARED / "logging.conf", "LICENSE": SHARED.parents[1] / "LICENSE"}
PART = re.compile(r"^(?=# \d ---- )", re.MULTILINE)
HEADING = re.compile(r"# \d ---- .*bundles/_shared/(\w+\.yaml).*\n")


def synced(file: Path) -> str:
    """A bundle's file with its shared parts as they stand in ``bundles/_shared``."""
    if file.name in COPIES:
        return COPIES[file.name].read_text()
    parts = []
    for part in PART.split(file.read_text()):
        heading = HEADING.match(part)
        shared = heading and heading[0] + (SHARED / heading[1]).read_text()
        parts.append((shared or part).rstrip() + "\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write or check all bundles; 0 done, 3 something differs."""
    files = sorted(SHARED.parent.glob("*/configs/**/*.yaml"))
    files += [f for name in COPIES for f in sorted(SHARED.parent.glob(f"[!_]*/**/{name}"))]
    stale = [f for f in files if synced(f) != f.read_text()]
    for file in stale:
        if "--check" in arguments:
            print(f"{file}: differs from its shared parts; run python bundles/_shared/sync.py")
        else:
            file.write_text(synced(file))
            print(f"wrote {file}")
    return 3 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
