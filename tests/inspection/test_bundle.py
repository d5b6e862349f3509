import json
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stroke_nets import bundle_folders
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inspection.bundle import as_table, findings, inspect_bundle
from stroke_nets.inspection.consent import require_consent, require_known_code
from stroke_nets.inspection.expressions import judge_expression, judge_target
from stroke_nets.packing.render import as_json, rendered

ROOT = Path(__file__).parents[2]


class Runs:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def foreign(tmp_path):
    """A bundle from elsewhere that does nothing wrong."""
    folder = tmp_path / "foreign"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {
        "imports": ["$import torch", "$from monai.transforms import Resize"],
        "network_def": {"_target_": "UNet", "spatial_dims": "@dims"},
        "network": "$@network_def.to(torch.device('cpu'))",
        "first": "$[int(x) for x in @dims][0] + max(1, *map(lambda y: y + 1, @widths#0))",
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    logging = (ROOT / "bundles" / "unet" / "configs" / "logging.conf").read_text()
    (folder / "configs" / "logging.conf").write_text(logging)
    torch.save({"network": OrderedDict(a=torch.ones(2))}, folder / "models" / "model.pt")
    return folder


def verdicts(folder):
    return {(item.verdict, item.text) for item in findings(inspect_bundle(folder))}


@pytest.mark.parametrize("name", bundle_folders.bundle_names())
def test_X3_our_own_bundles_are_safe_with_all_their_overlays(name):
    items = inspect_bundle(name)
    assert findings(items) == []
    assert {item.whose for item in items if item.kind == "target"} == {"this project"}


@pytest.mark.parametrize("name", [n for n in bundle_folders.bundle_names() if "ensemble" not in n])
def test_X3_a_packed_bundle_of_ours_is_safe(name, tmp_path):
    bundle = bundle_folders.find_bundle(name)
    overlay = bundle_folders.find_overlay(bundle, "demo")
    (tmp_path / "configs").mkdir()
    for task, config in rendered(bundle, overlay).items():
        (tmp_path / "configs" / f"{task}.json").write_text(as_json(config))
    items = inspect_bundle(tmp_path)
    assert findings(items) == []
    assert len(items) > 50


def test_a_harmless_bundle_has_no_findings(foreign):
    items = inspect_bundle(foreign)
    assert findings(items) == []
    kinds = [item.kind for item in items]
    assert (kinds.count("expression"), kinds.count("target"), kinds.count("logging")) == (4, 1, 2)
    assert {item.whose for item in items if item.kind == "target"} == {"MONAI"}


@pytest.mark.parametrize(
    "expression",
    [
        "$__import__('os').system('true')",
        "$import subprocess",
        "$from os import path",
        "$os.system('true')",
        "$open('/etc/passwd').read()",
        "$eval('1')",
        "$(lambda f: f('1'))(eval)",
        "$[c for c in ().__class__.__base__.__subclasses__()]",
        "$@network.__class__",
        "$getattr(torch, 'hub')",
        "$torch.hub.load('a', 'b')",
        "$torch.load('a')",
        "$monai.utils.optional_import('os')[0]",
        "$monai.bundle.run()",
        "$torch.os.system('true')",
        "$t.os.system('true')",
        "$(lambda m: m.system('true'))(torch)",
        "$np.load('a.npy', allow_pickle=True)",
        "$1 +",
        "$" + "(" * 500,
    ],
)
def test_X3_what_could_run_anything_is_dangerous(expression):
    assert judge_expression(expression, {"t": "torch", "os": "os"})[0] == "DANGER"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("os.system", "DANGER"),
        ("builtins.eval", "DANGER"),
        ("eval", "DANGER"),
        ("subprocess.Popen", "DANGER"),
        ("torch.hub.load", "DANGER"),
        ("scripts.network.Net", "outside"),
        ("pandas.DataFrame", "outside"),
        ("torch.nn.Conv3d", "ok"),
        ("monai.networks.nets.UNet", "ok"),
        ("stroke_nets.losses.agmr.AGMRLoss", "ok"),
        ("Compose", "ok"),
    ],
)
def test_X3_targets(text, verdict):
    assert judge_target(text)[0] == verdict


def test_X3_everything_is_listed_and_nothing_is_run(foreign, tmp_path, capsys):
    trace = tmp_path / "was_run"
    touch = f"open({str(trace)!r}, 'w')"
    (foreign / "configs" / "train.yaml").write_text(
        f"imports: ['$import os']\nnested: [{{a: {{_target_: os.system, command: 'x'}}}}]\n"
        f'first: "${touch}"\nother: "%../../secret.yaml::a"\n'
    )
    (foreign / "configs" / "unsafe.yaml").write_text(
        f"a: !!python/object/apply:builtins.open ['{trace}', 'w']\n"
    )
    (foreign / "scripts").mkdir()
    (foreign / "scripts" / "net.py").write_text(touch)
    assert not trace.exists()
    assert verdicts(foreign) == {
        ("DANGER", "$import os"),
        ("DANGER", "os.system"),
        ("DANGER", f"${touch}"),
        ("DANGER", "configs/unsafe.yaml"),
        ("DANGER", "%../../secret.yaml::a"),
        ("outside", "scripts/net.py"),
    }
    assert not trace.exists()
    rows = as_table(inspect_bundle(foreign)).splitlines()
    assert rows[1].startswith("DANGER")
    assert "[configs/train.yaml nested#0#a#_target_]" in as_table(inspect_bundle(foreign))
    assert "ok" in rows[-1]


def test_X1_pickles_are_looked_through_and_not_loaded(foreign, tmp_path):
    trace = tmp_path / "was_run"
    hostile = {"network": Runs(trace)}
    models = foreign / "models"
    torch.save(hostile, models / "new.pt")
    torch.save(hostile, models / "old.pth", _use_new_zipfile_serialization=False)
    (models / "bare.pkl").write_bytes(pickle.dumps(hostile))
    np.save(models / "array.npy", np.array([hostile], dtype=object), allow_pickle=True)
    np.savez(models / "fine.npz", a=np.arange(3))
    torch.save(
        OrderedDict(a=torch.ones(2)), models / "fine.pth", _use_new_zipfile_serialization=False
    )
    (models / "cut.pkl").write_bytes(b"\x80\x04\x95")
    found = findings(inspect_bundle(foreign))
    assert not trace.exists()
    assert all(item.verdict == "DANGER" for item in found)
    names = {Path(item.file).name for item in found}
    assert names == {"new.pt", "old.pth", "bare.pkl", "array.npy", "cut.pkl"}
    assert {i.text for i in found if "bare" in i.file} >= {"pathlib.Path.touch"} or any(
        "getattr" in i.text for i in found if "bare" in i.file
    )


@pytest.mark.parametrize(
    "line",
    [
        "args=(__import__('os').system('true'),)",
        "class=eval",
        "class=__import__('os').system",
        "kwargs={'a': open('/tmp/x', 'w')}",
        "args=[x for x in (1,)]",
    ],
)
def test_X2_a_logging_conf_that_runs_code_is_dangerous(foreign, line):
    conf = foreign / "configs" / "logging.conf"
    key = line.split("=")[0] + "="
    lines = [x for x in conf.read_text().splitlines() if not x.startswith(key)]
    lines.insert(lines.index("[handler_console]") + 1, line)
    conf.write_text("\n".join(lines))
    assert verdicts(foreign) == {("DANGER", line)}


def test_X2_monai_refuses_it_too(foreign):
    from monai.bundle import ConfigWorkflow

    conf = foreign / "configs" / "logging.conf"
    conf.write_text(conf.read_text().replace("(sys.stderr,)", "(__import__('os').getpid(),)"))
    with pytest.raises(ValueError, match="refusing to apply logging config"):
        ConfigWorkflow(str(foreign / "configs" / "inference.json"), logging_file=str(conf))


def write_sums(folder):
    import hashlib

    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n"
        for p in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_checksums_are_compared(foreign):
    write_sums(foreign)
    assert findings(inspect_bundle(foreign)) == []
    (foreign / "configs" / "inference.json").write_text("{}")
    (foreign / "configs" / "logging.conf").unlink()
    (foreign / "more.txt").write_text("")
    assert {(item.file, item.verdict) for item in findings(inspect_bundle(foreign))} == {
        ("configs/inference.json", "DAMAGED"),
        ("configs/logging.conf", "DAMAGED"),
        ("more.txt", "DAMAGED"),
    }


def test_listed_weights_are_compared(foreign):
    entry = {"file": "model.pt", "sha256": "0" * 64}
    (foreign / "models" / "weights.json").write_text(json.dumps([entry]))
    assert verdicts(foreign) == {("DAMAGED", "models/model.pt")}


def test_X1_a_zip_is_read_without_unpacking_it(foreign, tmp_path):
    write_sums(foreign)
    packed = tmp_path / "foreign.zip"
    with zipfile.ZipFile(packed, "w") as target:
        for path in sorted(p for p in foreign.rglob("*") if p.is_file()):
            target.write(path, path.relative_to(tmp_path))
    assert verdicts(packed) == set()
    with zipfile.ZipFile(packed, "a") as target:
        target.writestr("foreign/../../escaped.txt", "")
    assert ("DANGER", "foreign/../../escaped.txt") in verdicts(packed)
    (tmp_path / "no.zip").write_text("no")
    with pytest.raises(DataError, match=r"no\.zip: not a zip"):
        inspect_bundle(tmp_path / "no.zip")


def test_X3_a_foreign_bundle_needs_consent(foreign):
    require_consent(ROOT / "bundles" / "agmr_net", trust=False)
    with pytest.raises(UsageError, match=r"foreign: a bundle from elsewhere .* --trust"):
        require_consent(foreign, trust=False)
    require_consent(foreign, trust=True)
    write_sums(foreign)
    (foreign / "configs" / "inference.json").write_text("{}")
    with pytest.raises(DataError, match=r"configs/inference\.json is not the SHA-256 listed"):
        require_consent(foreign, trust=True)


def test_X3_a_run_from_elsewhere_needs_consent(tmp_path):
    config = tmp_path / "config.yaml"
    ours = yaml.safe_load((ROOT / "bundles" / "segnet" / "configs" / "train.yaml").read_text())
    config.write_text(yaml.safe_dump(ours))
    require_known_code(config, trust=False)  # pytorchcv's network is our bundle's own
    config.write_text(yaml.safe_dump(ours | {"loss": {"_target_": "os.system", "command": "x"}}))
    with pytest.raises(UsageError, match=r"config\.yaml: loss#_target_ runs code .* --trust"):
        require_known_code(config, trust=False)
    require_known_code(config, trust=False, parts=["network_def"])
    require_known_code(config, trust=True)


def test_command(foreign):
    command = [sys.executable, "-m", "stroke_nets", "inspect", str(foreign), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert {item["verdict"] for item in json.loads(done.stdout)} == {"ok"}
    (foreign / "run.sh").write_text("")
    done = subprocess.run(command[:-1], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.endswith("1 findings\n")


def test_no_such_bundle(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such bundle"):
        inspect_bundle("nowhere")
    with pytest.raises(DataError, match="holds no configuration"):
        inspect_bundle(tmp_path)
