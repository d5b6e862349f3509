"""Write the shared blocks into the bundles: every part whose heading names one.

A part begins with a heading such as ``# 5 ---- engines: bundles/_shared/NAME.yaml, ...`` and ends
before the next heading or with the file.

python bundles/_shared/sync.py           # write
python bundles/_shared/sync.py --check   # exit 3 if a bundle differs from its block
"""

import re
import sys
from pathlib import Path

SHARED = Path(__file__).parent
HEADING = r"^# \d ---- [^\n]*"
PART = re.compile(
    rf"({HEADING}bundles/_shared/(\w+\.yaml)[^\n]*\n).*?(?=\n{HEADING}|\Z)",
    re.MULTILINE | re.DOTALL,
)


def synced(text: str) -> str:
    """A bundle file with its shared blocks as they stand in ``bundles/_shared``."""
    return PART.sub(lambda part: part[1] + (SHARED / part[2]).read_text(), text)


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
