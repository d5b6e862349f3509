#!/usr/bin/env bash
# A MONAI bundle that configures logging closes a stream of the caller if TensorBoard was imported.
#
# Guess: ConfigWorkflow reads its logging file and adds or replaces handlers; what a caller has put
#   in the place of sys.stderr (a notebook, a test's capture, a server's log) is left open.
# Behaviour: logging.config.fileConfig, which ConfigWorkflow calls, closes all handlers that there
#   are. absl, which TensorBoard imports, has registered one that holds the sys.stderr of the moment
#   of its import and closes it, unless it is still sys.stderr or sys.stdout. So a stream that
#   was in its place when TensorBoard was imported, and is not while the bundle starts, is closed,
#   without a word; the next write to it ends with "I/O operation on closed file".
# Versions: monai 1.6.1, absl-py 2.5.1, torch 2.13.0 (CPU); Linux x86-64.
# Why it matters: bundles are run from notebooks, test suites and label servers, which replace
#   sys.stderr. Whether it happens depends on which code imported TensorBoard first.
#   logging_file=False, or importing absl before sys.stderr is replaced, avoids it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  monai==1.6.1 torch==2.13.0 pytorch-ignite==0.5.5 numpy==2.4.6 pyyaml==6.0.3 fire==0.7.1 \
  absl-py==2.5.1 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
printf '{"initialize": [], "run": []}' > bundle.json
cat > logging.conf <<'CONF'
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=console
[handler_console]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)
[formatter_plain]
format=%(message)s
CONF
python3 - <<'PYTHON'
import contextlib
import io
import sys

from monai.bundle import ConfigWorkflow

assert "absl" not in sys.modules
first, second = io.StringIO(), io.StringIO()
with contextlib.redirect_stderr(first):
    import absl.logging  # as TensorBoard does
with contextlib.redirect_stderr(second):
    ConfigWorkflow("bundle.json", workflow_type="train", logging_file="logging.conf", meta_file=None)
print("monai", __import__("monai").__version__, "absl-py", __import__("importlib.metadata").metadata.version("absl-py"))
print("the stream at absl's import is", "closed" if first.closed else "open")
print("the stream at the bundle's start is", "closed" if second.closed else "open")
assert first.closed and not second.closed
print("as described")
PYTHON
