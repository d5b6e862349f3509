"""Write the shared engine blocks into the bundles: everything below a bundle file's part 5.

python bundles/_shared/sync.py           # write
python bundles/_shared/sync.py --check   # exit 3 if a bundle differs from its block
"""

import re
import sys
from pathlib import Path

SHARED = Path(__file__).parent
MARK = re.compile(r"^# 5 ---- .*bundles/_shared/(\w+\.yaml).*\n", re.MULTILINE)


def synced(text: str) -> str:
    """A bundle file with its shared block as it stands in ``bundles/_shared``."""
    mark = MARK.search(text)
    return text[: mark.end()] + (SHARED / mark[1]).read_text() if mark else text


def main(arguments: list[str]) -> int:
    """Write or check all bundles; 0 done, 3 something differs."""
    files = sorted(SHARED.parent.glob("*/configs/*.yaml"))
    stale = [f for f in files if synced(f.read_text()) != f.read_text()]
    for file in stale:
        if "--check" in arguments:
            print(f"{file}: differs from its shared block; run python bundles/_shared/sync.py")
        else:
            file.write_text(synced(file.read_text()))
            print(f"wrote {file}")
    return 3 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
