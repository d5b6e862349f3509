"""What a configuration from elsewhere may do: rows X1 and X3, and the review's defect 1.

Nothing here would do harm if it ran: the look-alikes name functions that read a clock, a process id
or an empty file.
"""

import json
import textwrap
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from monai.bundle import ComponentLocator, ConfigParser, ReferenceResolver
from torch import nn

from stroke_nets.bundle_folders import bundle_names, find_bundle, overlays
from stroke_nets.errors import DataError, UsageError
from stroke_nets.inference.method import Method
from stroke_nets.inference.weights import CARRIED, choose
from stroke_nets.inspection.allowed import ALLOWED, BARE, own_code
from stroke_nets.inspection.bundle import as_table, findings, inspect_bundle, inspect_config
from stroke_nets.inspection.consent import require_known_code
from stroke_nets.inspection.expressions import as_evaluated, judge_expression
from stroke_nets.inspection.plain_config import LARGEST, parse_config

HARMLESS = [
    "$[x + 1 for x in range(3)]",
    "$(lambda n: n * 2)(@width)",
    "$[p for n, p in @net.named_parameters() if n[:4] != 'head']",
    "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "$@a#b#0 + @##c // 2",
    "$np.uint8",
    "$monai.handlers.from_engine(['pred', 'label'])",
    "$import torch",
    "$import numpy as np",
    "$from monai.transforms import Resized",
]
REBOUND = [
    "$(lambda sum: sum(3))(max)",
    "$[max(3) for max in [min]]",
    "$[torch.device for torch in @others]",
    "$(lambda len=max: len(3))()",
    "$(lambda *abs: abs)(1)",
    "$[0 for __local_refs['a'] in [1]]",
    "$[0 for @a in [1]]",
    "$[0 for @a.b in [1]]",
    "$import time as torch",
    "$import time as np",
    "$import torch.utils as numpy",
    "$from time import time as max",
    "$from monai.transforms import Resized as max",
    "$from numpy import max",
    "$from . import max",
    "$import torch, time",
    "$import torch; time",
]
FORMS = [
    "$(x := 1)",
    "$f'{@a}'",
    "$'@f{time}'",  # MONAI puts quotes into the string; Python reads an f-string after it
    "$[1, 2][0 #time()\n]",  # MONAI reads # as ::
    "$@a.__class__",
    "$@a._private",
    "$(x for x in []).gi_frame",
    "$@a.run",
    "$'{0.real}'.format(1)",
    "$__local_refs",
    "$2 ** 3",
    "$1 << 3",
    "$@a @ @b",
    "$await @a",
    "$(yield)",
    "$[*(x async for x in @a)]",
    "$",
    "$1 +",
    "$torch",
    "$@x@y",
]
EVALUATORS = [  # packages that are trusted hold functions that evaluate text, or load anything
    "$np.testing.measure('1')",
    "$np.load('a.npy')",
    "$np.lib.utils.safe_eval('1')",
    "$torch.load('a.pt', weights_only=False)",
    "$torch.serialization.load('a.pt')",
    "$torch.utils.data.datapipes.utils.decoder.basichandlers('a', b'1')",
    "$torch.nn.modules.module.time.time()",
    "$monai.transforms.LoadImage()('a.npy')",
    "$monai.utils.misc.os.getpid()",
    "$stroke_nets.transforms.lesion_mask.np.load('a')",
    "$monai.transforms.SaveImaged('a', writer='time.time')",
    "$getattr(torch, 'load')",
    "$type(1)",
    "$vars(torch)",
    "$globals()",
    "$compile('1', '', 'eval')",
    "$time.time()",
    "$scripts.network.Net()",
]


@pytest.mark.parametrize("expression", HARMLESS)
def test_X3_plain_expressions_need_no_consent(expression):
    assert judge_expression(expression, {}) == ("ok", "")


@pytest.mark.parametrize("expression", REBOUND + FORMS + EVALUATORS)
def test_X3_what_is_not_on_the_list_is_refused(expression):
    verdict, why = judge_expression(expression, {})
    assert verdict != "ok"
    assert why


@pytest.mark.parametrize(
    "text", ["$@a + @b::c#0 - @ab", "$'@f{x}'", "$x[0 #y]", "$@", "$@a::b@a", "$torch.abs(@x)"]
)
def test_X3_the_text_judged_is_the_one_that_monai_evaluates(text):
    class Everything(dict):
        def __contains__(self, key):
            return True

    assert as_evaluated(text) == ReferenceResolver.update_refs_pattern(text, Everything())[1:]


def judged(config):
    return findings(list(inspect_config("config.yaml", yaml.safe_dump(config).encode())))


NET = {"_target_": "stroke_nets.networks.d_unet.DUNet", "widths": [4]}
SAVER = {
    "_target_": "monai.transforms.SaveImaged",
    "keys": "pred",
    "output_dir": "@predictions_dir",
    "output_postfix": "pred",
}
COMPONENTS = {
    "another target": NET | {"_target_": "time.time"},
    "a function of ours that no bundle names": NET | {"_target_": "stroke_nets.cli.app"},
    "a module that ours imports": NET | {"_target_": "stroke_nets.networks.d_unet.torch.load"},
    "a target by reference": NET | {"_target_": "@name"},
    "a target by expression": NET | {"_target_": "$@name"},
    "a target by macro": NET | {"_target_": "%name"},
    "a target that is a component": {"_target_": NET},
    "a bare name that is not MONAI's": {"_target_": "time"},
    "a builtin": {"_target_": "print"},
    "a debugger": NET | {"_mode_": "debug"},
    "a debugger by reference": NET | {"_mode_": "@mode"},
    "a breakpoint": NET | {"_debug_": True},
    "a requirement": NET | {"_requires_": ["$time.time()"]},
    "a condition": NET | {"_disabled_": "$time.time()"},
    "a description": NET | {"_desc_": "$time.time()"},
    "code by its name": SAVER | {"writer": "time.time"},
    "code by a reference": SAVER | {"writer": "@name"},
    "code by a made string": SAVER | {"writer": "$'ti' + 'me.time'"},
    "code in a list": SAVER | {"writer": ["time.time"]},
    "code by a later argument": SAVER | {"_mode_": "callable"},
    "a place of its own": SAVER | {"output_dir": "elsewhere"},
    "a reader": {"_target_": "monai.transforms.LoadImaged", "reader": "time.time"},
    "a change of another entry": {"saver#writer": "time.time"},
    "a change of a target": {"saver::_target_": "time.time"},
    "a dictionary merged into another entry": {"+saver": {"writer": "time.time"}},
}


@pytest.mark.parametrize("what", COMPONENTS)
def test_X3_components_are_refused_that_are(what):
    assert judged({"network_def": COMPONENTS[what]})


def test_X3_components_like_ours_are_allowed():
    assert judged({"network_def": NET, "after": [SAVER], "other": {"_target_": "UNet"}}) == []


@pytest.mark.parametrize(
    "macro",
    [
        "%other.yaml",
        "%OTHER.YAML::a",
        "%other.Json#a",
        "%../run/other.yml::a",
        "%/other.yaml",
        "%./a::b",
        "%other.yaml::a::b",
        "%a b",
    ],
)
def test_X3_macros_that_leave_the_file_are_refused(macro):
    (found,) = judged({"network_def": macro})
    assert (found.kind, found.verdict) == ("macro", "DANGER")


def test_X3_macros_of_the_same_file_are_allowed():
    assert judged({"a": NET, "b": "%a", "c": "%a::widths", "d": "%#a"}) == []


@pytest.mark.parametrize("key", ["other.yaml", "a) or time(", "a'b", "../a"])
def test_X3_keys_that_a_relative_reference_would_make_code_are_refused(key):
    assert any(item.kind == "key" for item in judged({key: {"a": "%#b", "b": 1}}))
    assert any(item.kind == "key" for item in judged({key: {"a": "$@#b", "b": 1}}))


def test_X3_bare_names_are_found_in_monai():
    ConfigParser({})  # imports MONAI
    locator = ComponentLocator()
    assert [n for n in sorted(BARE) if locator.get_component_module_name(n) is None] == []


def test_X3_every_allowed_name_is_there():
    for name in ALLOWED:
        module, _, last = name.rpartition(".")
        assert hasattr(import_module(module), last), name


@pytest.fixture
def run(tmp_path):
    """A run folder as a training leaves it, and its configuration."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"network": {}}, folder / "checkpoints" / "last.pt")
    config = yaml.safe_load((find_bundle("d_unet") / "configs" / "train.yaml").read_text())

    def write(**changes):
        text = yaml.safe_dump(config | {"bundle": "d_unet", "overlay": "default"} | changes)
        (folder / "config.yaml").write_text(text)
        return folder / "checkpoints" / "last.pt"

    return write


def test_X3_a_run_of_ours_needs_no_consent(run):
    file = run()
    (weights,) = choose(["d_unet"], [file])
    assert weights.settings["network_def"]["_target_"].endswith("DUNet")
    require_known_code(file.parents[1] / "config.yaml", trust=False)


@pytest.mark.parametrize("name", bundle_names())
def test_X3_runs_of_all_overlays_need_no_consent(tmp_path, name):
    bundle = find_bundle(name)
    base = bundle / "configs" / "train.yaml"
    for overlay in [base, *overlays(bundle).values()] if base.is_file() else []:
        config = ConfigParser.load_config_files([str(base), str(overlay)])
        (tmp_path / "config.yaml").write_text(json.dumps(config).replace("#", "::"))
        for parts in ((), CARRIED):
            assert require_known_code(tmp_path / "config.yaml", trust=False, parts=parts)


@pytest.mark.parametrize("what", [k for k in COMPONENTS if "change" not in k and "+" not in k])
def test_X3_a_run_with_other_code_needs_consent(run, what):
    file = run(network_def=COMPONENTS[what])
    with pytest.raises(UsageError, match=r"config\.yaml: network_def\S* runs code from elsewhere"):
        choose(["d_unet"], [file])


def test_X3_a_network_may_hold_only_what_networks_of_ours_hold(run):
    writes = {"_target_": "stroke_nets.evaluation.evaluate.evaluate", "_mode_": "callable"}
    assert "stroke_nets.evaluation.evaluate.evaluate" in own_code().targets
    with pytest.raises(UsageError, match="is no part of network_def"):
        choose(["d_unet"], [run(network_def=NET | {"extra": writes})])


@pytest.mark.parametrize(
    "value",
    ["@run", "$@run", "%run", "$@initialize#0", "@#run", {"a": ["$@evaluator.to('cpu')"]}],
)
def test_X3_a_network_may_not_set_other_parts_to_work(run, value):
    """The bundle's own steps would run, and write, while the network is built."""
    with pytest.raises(UsageError, match=r"network_def\S* runs code from elsewhere"):
        choose(["d_unet"], [run(network_def=NET | {"extra": value})])


def test_X3_the_content_judged_is_the_content_used(run, monkeypatch):
    """The file is read once: nobody can change it in between."""
    file = run()
    config, reads = file.parents[1] / "config.yaml", []
    opened = Path.open

    def counted(path, *args, **options):
        reads.extend([path] if path == config else [])
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", counted)
    require_known_code(config, trust=False, parts=CARRIED)
    assert reads == [config]


BOMBS = {
    "an endless number": "a: 1" + ":1" * 300_000,
    "an endless key": f"? {'k' * 1000}\n: 1",
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{n}: &{n} [{', '.join(f'*{p}' for _ in range(10))}]\n"
        for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "merge keys": "a: &a {x: 1}\nb: &b {<<: [*a, *a]}\n",
    "itself": "a: &a [*a]\n",
    "depth": "a: " + "[" * 300 + "]" * 300,
    "size": "a: " + "x" * LARGEST,
    "no keys": "[1, 2]",
    "no YAML": "a: [",
    "a set": "a: !!set {x}",
    "an object": "a: !!python/object/apply:time.time []",
    "bytes": "\x00\x01",
}


@pytest.mark.parametrize("what", BOMBS)
def test_X3_a_configuration_that_is_no_plain_data_is_refused_in_one_line(run, what):
    file = run()
    config = file.parents[1] / "config.yaml"
    config.write_text(BOMBS[what])
    for trust in (False, True):
        with pytest.raises(DataError, match=r"config\.yaml: .*restore") as raised:
            choose(["d_unet"], [file], trust=trust)
        assert "\n" not in str(raised.value)


def test_X3_a_bomb_in_a_bundle_is_a_finding(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(BOMBS["aliases"])
    assert [item.verdict for item in findings(inspect_bundle(tmp_path))] == ["DANGER"]


def test_X3_aliases_of_small_parts_are_read():
    assert parse_config("a.yaml", b"a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2]] * 2}


def test_X3_endings_in_capitals_are_looked_into(tmp_path):
    (tmp_path / "train.YAML").write_text("a: $time.time()\n")
    (tmp_path / "more.JSON").write_text(json.dumps({"a": "$time.time()"}))
    (tmp_path / "run.PY").write_text("")
    found = findings(inspect_bundle(tmp_path))
    assert {item.file for item in found} == {"train.YAML", "more.JSON", "run.PY"}


def test_X1_names_that_a_pickle_computes_are_a_finding(tmp_path):
    """The operands of STACK_GLOBAL in another order than they were pushed: time.time."""
    swapped = b"\x80\x04\x8c\x04timeq\x00\x8c\x05Sizesh\x00\x8c\x0bOrderedDict0\x8c\x04time\x93."
    (tmp_path / "a.pkl").write_bytes(swapped)
    plain = b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R."
    (tmp_path / "b.pkl").write_bytes(plain)
    memo = b"\x80\x04\x8c\x04timeq\x000h\x00h\x00\x93."
    (tmp_path / "c.pkl").write_bytes(memo)
    (tmp_path / "a.json").write_text("{}")
    found = findings(inspect_bundle(tmp_path))
    assert {item.file for item in found} == {"a.pkl", "c.pkl"}


@pytest.mark.parametrize(
    "section",
    [
        "class=FileHandler\nargs=('elsewhere.log', 'w')",
        "class=handlers.SocketHandler\nargs=('localhost', 1)",
        "class=%(kind)s\nargs=(sys.stdout,)\nkind=FileHandler",
        "class=StreamHandler\nargs=(logging.time,)",
        "class=StreamHandler\nargs=(sys.modules,)",
        "class=time.time\nargs=()",
    ],
)
def test_X2_a_logging_conf_that_writes_elsewhere_is_a_finding(tmp_path, section):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "logging.conf").write_text(f"[handler_a]\n{section}\n")
    assert {item.verdict for item in findings(inspect_bundle(tmp_path))} == {"DANGER"}


def test_X2_a_logging_conf_for_the_screen_is_none(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    text = """\
        [handler_a]
        class=StreamHandler
        args=(sys.stdout,)
        [formatter_a]
        class=logging.Formatter
        format=%(message)s
        """
    (tmp_path / "logging.conf").write_text(textwrap.dedent(text))
    assert findings(inspect_bundle(tmp_path)) == []


@pytest.mark.parametrize("content", ["3", "[3]", '[{"file": 1}]', '{"a": 1}', "[", '"x"'])
def test_inspect_says_that_a_list_of_weights_is_none(tmp_path, content):
    (tmp_path / "models").mkdir()
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "models" / "weights.json").write_text(content)
    assert "DAMAGED" in {item.verdict for item in findings(inspect_bundle(tmp_path))}


def test_weights_parts_are_those_that_are_parsed():
    assert CARRIED == ("network_def", "intensity", "spacing")


@pytest.mark.parametrize(
    "expression",
    [
        "$" + "-" * 4000 + "1",
        "$" + "1+" * 2000 + "1",
        "$" + "[" * 150,
        "$" + "+".join(["@a"] * 9000),
    ],
)
def test_X3_endless_expressions_are_refused(expression):
    assert judge_expression(expression, {})[0] == "DANGER"


def test_X1_entries_that_cannot_be_read_are_findings(tmp_path):
    packed = tmp_path / "a.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a/b.json", "{}")
        archive.writestr("a/c.json", "{}")
    content = bytearray(packed.read_bytes())
    content[content.index(b"{}")] ^= 1
    packed.write_bytes(content)
    assert {i.file: i.verdict for i in findings(inspect_bundle(packed))} == {"b.json": "DANGER"}


def test_text_of_a_foreign_file_cannot_write_on_the_screen(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": "$\x1b[2Jtime\n" + "x" * 5000}))
    table = as_table(inspect_bundle(tmp_path))
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) < 1000


def test_X3_a_component_made_of_two_entries_is_refused():
    """MONAI merges an entry with a plus into the one of the same name."""
    assert judged({"a": {"widths": [2]}, "+a": {"_target_": "monai.networks.nets.UNet"}})
    assert judged({"a": {"b": {"widths": [2]}}, "+a#b": NET})
    assert judged({"+a": [NET]}) == []


@pytest.mark.parametrize("place", ["/a/b", "~/a", "~b/a", "../a", "a/../../b", "..", "C:\\a"])
def test_X4_a_place_elsewhere_is_listed(place):
    for text in (place, f"$'{place}' + @a".replace("\\", "/")):
        assert [item.kind for item in judged({"output_dir": text})] == ["path"]


@pytest.mark.parametrize("text", ["runs/a", "a..b", "1/2", "$@a / 2", "https://a.b/c", "~5 ml"])
def test_X4_other_texts_are_no_places(text):
    assert judged({"output_dir": text}) == []


def test_X3_the_text_judged_is_the_one_that_monai_reads(monkeypatch):
    text = "a: ä\n".encode()
    assert parse_config("a.yaml", text) == {"a": "ä"}
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "latin-1")
    with pytest.raises(ValueError, match="not UTF-8"):
        parse_config("a.yaml", text)
    assert parse_config("a.yaml", b"a: 1") == {"a": 1}


@pytest.mark.parametrize("header", [b"[" * 9990, b"-" * 9000, b"{'a': 0o7L, \n\t 'b'  "])
def test_X1_arrays_whose_header_is_no_python_are_findings(tmp_path, header):
    size = len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + header)
    (tmp_path / "a.json").write_text("{}")
    assert [item.file for item in findings(inspect_bundle(tmp_path))] == ["a.npy"]


def test_X1_pickles_have_limits(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr("stroke_nets.inspection.pickles.MOST_STEPS", 100)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + b"N0" * 200 + b".")
    monkeypatch.setattr("stroke_nets.inspection.pickles.LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        for name in ("a/data.pkl", "a/constants.pkl"):
            archive.writestr(name, b"\x80\x04N" + b"#" * 600)
    texts = {item.file: item.text for item in findings(inspect_bundle(tmp_path))}
    assert texts == {"a.pkl": "more than 100 steps", "b.pt": "more than 1000 bytes of pickles"}


@pytest.mark.parametrize("name", ["a/code/net.py", "a/data/model.so"])
def test_X1_code_in_an_exported_network_is_a_finding(tmp_path, name):
    (tmp_path / "a.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "b.pt2", "w") as archive:
        archive.writestr(name, "")
    assert [item.text for item in findings(inspect_bundle(tmp_path))] == [f"the code {name}"]


IMPOSSIBLE = {
    "a number for a component": {"inferer": 5},
    "no number": {"size": []},
    "not a number": {"batch_size": float("nan")},
    "below zero": {"size": -1},
    "a list for a number": {"size": [8, 8]},
    "a number for a word": {"backend": 1},
    "no network": {"network_def": None},
    "a network that cannot be built": {"network_def": NET | {"widths": [-1] * 5}},
    "an argument that is none": {"network_def": NET | {"other": 1}},
    "a reference to a list": {"network_def": "@widths"},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_X4_settings_of_a_run_that_are_impossible_are_one_line(run, what):
    (weights,) = choose(["d_unet"], [run(widths=[2] * 5, **IMPOSSIBLE[what])])
    with pytest.raises(DataError, match=r"config\.yaml.* restore it, or give --overlay") as raised:
        Method(weights, torch.device("cpu"), register=False)
    assert "\n" not in str(raised.value)


def test_X4_a_network_takes_no_memory_before_its_weights_are_known(run, monkeypatch):
    """A training's file may announce a network of any size."""
    (weights,) = choose(["d_unet"], [run(widths=[2] * 5)])
    made = []
    monkeypatch.setattr(
        "stroke_nets.networks.d_unet.DUNet.__init__",
        lambda self, **_: made.append(torch.empty(0).device.type) or nn.Module.__init__(self),
    )
    monkeypatch.setattr("stroke_nets.inference.method.load_weights", lambda *_: 1 / 0)
    with pytest.raises(DataError, match="nothing can be built"):
        Method(weights, torch.device("cpu"), register=False)
    assert made == ["meta"]


def test_X4_names_in_a_run_cannot_write_on_the_screen(run):
    with pytest.raises(UsageError, match="say --method") as raised:
        choose(["d_unet"], [run(bundle="a\x1b[2J\nb")])
    assert str(raised.value).isprintable()
    assert choose(["d_unet"], [run(overlay=["a"])])[0].overlay == ()
