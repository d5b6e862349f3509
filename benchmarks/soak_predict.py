"""Soak test: 200 predictions, most of them disturbed; nothing may be lost, wrong or left behind.

    python benchmarks/soak_predict.py [--rounds 200] [--seed 0] [--out FILE]

Half of the rounds are commands, each a process of its own: one in four a new interpreter, the
others forked after the imports, as in the tests. The other half are calls of `stroke_nets.predict`
in one process that lives through all of them. PyTorch runs the network in float32. A round draws a
scan (a simulated patient on a coarse grid, with or without registration) and what happens to it:
nothing, SIGTERM or SIGKILL at a random moment, a disk that fills up at a random byte (a small
tmpfs), a folder that may not be written, or damage to the scan's file. What was disturbed is then
predicted again, undisturbed, by the long-lived process.

Checked in every round: the exit code; an error of one line; that no mask is there but the right
one, which has the bytes of an undisturbed prediction's; that a damaged scan has none; and in the
end that the files are those of an undisturbed prediction. Checked at the end: nothing
but these files in the output and in the folder for temporary ones; no process still runs; the
memory of the long-lived process.

The program starts itself again in a user namespace, where it may mount, without the right of root
to write anywhere (``unshare`` and ``setpriv`` of util-linux).
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from record import RESULTS, versions

PRIVATE = ["unshare", "--map-root-user", "--mount"]
PRIVATE += ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
MARK = "STROKE_NETS_SOAK"  # in the environment of every process that was started
PLAIN, HEADS = 3, 1  # patients: of brain alone in MNI space, and heads that are registered
STEP = 4  # every fourth voxel of 1 mm along each axis
AMPLE = "1g"
QUICK = ["--backend", "torch", "--precision", "float32", "--fast"]
HEAD = 0.04  # share of the rounds with a head, whose registration takes most of the time
NEW = 0.25  # share of the commands that start a new interpreter
COMMANDS = {"nothing": 20, "SIGTERM": 30, "SIGKILL": 24, "full disk": 12, "damage": 10}
COMMANDS |= {"unwritable": 4}
CALLS = {"nothing": 50, "full disk": 18, "damage": 24, "unwritable": 8}
FLAT = 1.05  # the last quarter's memory over the first's


@dataclass
class Patient:
    """A scan that is predicted under many names.

    Attributes:
        scan: its file.
        registered: whether it is a head that has to be registered.
        whole: the files of an undisturbed prediction, by what follows the subject's label.
        mask: the bytes of its mask.
        seconds: what a prediction takes, imports excepted.
    """

    scan: Path
    registered: bool
    whole: set[str] = field(default_factory=set)
    mask: bytes = b""
    seconds: float = 0.0

    @property
    def how(self) -> list[str]:
        """Options of the command."""
        return [*QUICK, *([] if self.registered else ["--skip-registration"])]


def main() -> int:
    """Disturb, check and write; return 0 if nothing was lost, wrong or left behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "soak_predict.json")
    options = parser.parse_args()
    if MARK not in os.environ:
        os.environ[MARK] = str(os.getpid())
        here = Path(__file__).resolve().parent
        os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{here.parent}"}
        os.execvp(PRIVATE[0], [*PRIVATE, sys.executable, *sys.argv])
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        soak = Soak(Path(work), random.Random(options.seed))
        try:
            found = soak.run(options.rounds)
        finally:
            subprocess.run(["umount", soak.disk], check=True)
    found |= {"seed": options.seed, "minutes": round((time.perf_counter() - begin) / 60, 1)}
    found |= {"load_average": round(os.getloadavg()[0], 1), "versions": versions()}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] else 0


class Soak:
    """All rounds, in one folder.

    Args:
        work: an empty folder.
        chance: what happens to which scan, and when.
    """

    def __init__(self, work: Path, chance: random.Random) -> None:
        """Make the folders, and mount the disk that fills up."""
        self.work, self.chance = work, chance
        self.out, self.scans, self.disk = (work / name for name in ("out", "scans", "disk"))
        self.closed = work / "closed"
        for folder in (self.scans, self.disk, self.closed, work / "tmp", work / "printed"):
            folder.mkdir()
        self.closed.chmod(0o555)
        subprocess.run(["mount", "-t", "tmpfs", "none", self.disk], check=True)
        os.environ |= {"TMPDIR": str(work / "tmp"), "XDG_CACHE_HOME": str(work / "cache")}
        self.faults: list[str] = []
        self.codes: dict[str, Counter[str]] = {}
        self.memory: list[float] = []
        self.start_up = 0.0  # seconds of a new interpreter, for the imports

    def run(self, rounds: int) -> dict[str, Any]:
        """Every round; what was seen."""
        from tests.conftest import Processes

        patients = make_patients(self.work)
        self.forks = Processes(self.work / "printed")
        with LongLived() as process, self.forks.server:
            for patient in patients:
                self.measure(patient, process)
            for number in range(rounds):
                head = self.chance.random() < HEAD
                patient = self.chance.choice([p for p in patients if p.registered == head])
                if number % 2:
                    self.command(number, patient, process)
                else:
                    self.call(number, patient, process)
                print(number + 1, self.codes, *self.faults, sep="\n", flush=True)
            self.look_for_remains(patients[-1], process)
        return {
            "rounds": rounds,
            "exit_codes": {kind: dict(sorted(c.items())) for kind, c in self.codes.items()},
            "memory_mib": self.quarters(),
            "faults": self.faults,
        }

    def measure(self, patient: Patient, process: "LongLived") -> None:
        """Predict undisturbed: what the files are, and how long it takes."""
        scan, where = self.place("reference", patient), self.work / patient.scan.stem
        begin = time.perf_counter()
        process.predict(scan, where, patient)
        patient.seconds = time.perf_counter() - begin
        patient.whole = files_of(where, "reference")
        patient.mask = mask_of(where, "reference")
        assert patient.mask
        if not self.start_up:
            shutil.rmtree(where)
            begin = time.perf_counter()
            code, error = self.finish(True, scan, where, patient, "nothing")
            assert code == 0, error
            self.start_up = max(time.perf_counter() - begin - patient.seconds, 0)
        scan.unlink()

    def command(self, number: int, patient: Patient, process: "LongLived") -> None:
        """One round with a process of its own."""
        kind = self.draw(COMMANDS)
        name = f"command{number}"
        scan, out = self.place(name, patient), self.where(kind)
        damage = self.damage(scan) if kind == "damage" else ""
        new = self.chance.random() < NEW
        code, error = self.finish(new, scan, out, patient, kind)
        title = f"round {number}, {kind} {damage}, exit {code}"
        self.count(f"command, {kind}", code)
        allowed = {"nothing": {0}, "SIGTERM": {0, 75}, "SIGKILL": {0, -9}, "full disk": {0, 2, 3}}
        early = (
            new and kind == "SIGTERM" and code == -15 and not error
        )  # before Python ran the program
        if code not in allowed.get(kind, {2, 3}) and not early:
            self.faults.append(f"{title}: wrong exit code; {error[-300:]}")
        told = [line for line in error.splitlines() if line.startswith("error: ")]
        if "Traceback" in error or (code > 0 and len(told) != 1):
            self.faults.append(f"{title}: not an error of one line; {error[-600:]}")

        self.examine(title, scan, patient, out, kind, process)
        scan.unlink()

    def call(self, number: int, patient: Patient, process: "LongLived") -> None:
        """One round in the process that lives on."""
        kind = self.draw(CALLS)
        name = f"call{number}"
        scan, out = self.place(name, patient), self.where(kind)
        damage = self.damage(scan) if kind == "damage" else ""
        said = process.predict(scan, out, patient)
        title = f"round {number}, {kind} {damage}, {said['error']}"
        self.count(f"call, {kind}", said["type"])
        self.memory.append(said["mib"])
        allowed = {"nothing": {""}, "full disk": {"", "DataError", "UsageError", "OSError"}}
        allowed |= {"unwritable": {"PermissionError"}, "damage": {"DataError"}}
        if said["type"] not in allowed[kind]:
            self.faults.append(f"{title}: wrong outcome {said['type']}")
        self.examine(title, scan, patient, out, kind, process)
        scan.unlink()

    def examine(
        self,
        title: str,
        scan: Path,
        patient: Patient,
        out: Path,
        kind: str,
        process: "LongLived",
    ) -> None:
        """Look at the files of a round, predict again without the disturbance, and look again."""
        name = scan.name.removeprefix("sub-").partition("_")[0]
        if mask_of(out, name) not in (b"", patient.mask):
            self.faults.append(f"{title}: another mask")
        if kind in ("damage", "unwritable"):
            if files_of(out, name):
                self.faults.append(f"{title}: left {sorted(files_of(out, name))}")
            return
        if kind == "full disk":
            self.resize(AMPLE)
        said = "" if kind == "nothing" else process.predict(scan, out, patient)["error"]
        if said:
            self.faults.append(f"{title}: the same again failed: {said[-600:]}")
        if mask_of(out, name) != patient.mask or files_of(out, name) != patient.whole:
            wrong = files_of(out, name) ^ patient.whole
            self.faults.append(f"{title}: not whole in the end, {sorted(wrong)}")
        if kind == "full disk":
            self.faults += [f"{title}: {path.name} left" for path in out.rglob(".partial_*")]
            shutil.rmtree(out)

    def draw(self, weights: dict[str, int]) -> str:
        """What happens in a round."""
        return self.chance.choices(list(weights), list(weights.values()))[0]

    def where(self, kind: str) -> Path:
        """The output folder of a round; a small disk gets its size here."""
        if kind == "full disk":
            self.resize(f"{self.chance.randrange(4, 400)}k")
            return self.disk / "out"
        return self.closed / "out" if kind == "unwritable" else self.out

    def resize(self, size: str) -> None:
        """Make the disk smaller or larger."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.disk], check=True)

    def place(self, name: str, patient: Patient) -> Path:
        """A patient's scan under a name of its own."""
        scan = self.scans / f"sub-{name}_T1w.nii.gz"
        return Path(shutil.copyfile(patient.scan, scan))

    def finish(
        self, new: bool, scan: Path, out: Path, patient: Patient, kind: str
    ) -> tuple[int, str]:
        """Run the command, which may get a signal at some moment; its exit code and errors."""
        words = [str(word) for word in ("predict", scan, out, *patient.how)]
        if new:
            command = [sys.executable, "-m", "stroke_nets", *words]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
            pid = process.pid
        else:
            pid = self.forks.start("-m", "stroke_nets", *words)
        if kind.startswith("SIG"):
            whole = patient.seconds + (self.start_up if new else 0)
            time.sleep(self.chance.uniform(0, 1.1 * whole))
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(pid, getattr(signal, kind))
        if new:
            error = process.communicate()[1]
            return process.returncode, error
        done = self.forks.wait()
        return done.returncode, done.stderr

    def count(self, kind: str, code: object) -> None:
        """One more of an exit code or type of error."""
        self.codes.setdefault(kind, Counter())[str(code) or "done"] += 1

    def damage(self, scan: Path) -> str:
        """Damage a scan's file; the kind of damage."""
        kind = self.chance.choice(list(DAMAGE))
        DAMAGE[kind](scan, self.chance)
        return kind

    def look_for_remains(self, patient: Patient, process: "LongLived") -> None:
        """After a last prediction, look for what no undisturbed round leaves."""
        process.predict(self.place("last", patient), self.out, patient)
        left = [path for path in self.out.rglob("*") if path.name.startswith(".partial_")]
        made = (self.work / "tmp").iterdir()
        left += [path for path in made if not path.name.startswith("torchinductor_")]  # PyTorch's
        self.faults += [f"left behind: {path.relative_to(self.work)}" for path in left]
        for status in Path("/proc").glob("[0-9]*/environ"):
            try:
                started = f"{MARK}={os.environ[MARK]}".encode() in status.read_bytes().split(b"\0")
            except OSError:  # it has ended, or is another user's
                continue
            known = (os.getpid(), process.process.pid, self.forks.server.pid)
            if started and int(status.parent.name) not in known:
                command = (status.parent / "cmdline").read_text().replace("\0", " ")
                self.faults.append(f"still runs: {command}")

    def quarters(self) -> dict[str, float]:
        """Median memory of the long-lived process in the first and last quarter of its rounds."""
        share = max(len(self.memory) // 4, 1)
        first = statistics.median(self.memory[:share])
        last = statistics.median(self.memory[-share:])
        if last > FLAT * first:
            self.faults.append(f"memory grew from {first:.0f} to {last:.0f} MiB")
        most = max(self.memory)
        found = {"first_quarter": first, "last_quarter": last, "most": most}
        return {name: round(mib) for name, mib in found.items()}


class LongLived:
    """A process that predicts whatever it is told to, from Python, and tells how large it is."""

    def __enter__(self) -> "LongLived":
        """Start it."""
        words = [sys.executable, "-c", "import soak_predict; soak_predict.serve()"]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def predict(self, scan: Path, out: Path, patient: Patient) -> dict[str, Any]:
        """One call: the type and text of its error, and the memory in MiB."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([str(scan), str(out), patient.registered]) + "\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def __exit__(self, *ignored: object) -> None:
        """End it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    """In the long-lived process: predict for each line."""
    import stroke_nets

    answers, sys.stdout = sys.stdout, sys.stderr
    page = resource.getpagesize()
    for line in sys.stdin:
        scan, out, registered = json.loads(line)
        kind = text = ""
        try:
            how = {"backend": "torch", "precision": "float32", "fast": True}
            stroke_nets.predict(scan, out, skip_registration=not registered, **how)
        except Exception as error:
            kind, text = type(error).__name__, str(error)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        told = {"type": kind, "error": text, "mib": pages * page / 2**20}
        print(json.dumps(told), file=answers, flush=True)


def make_patients(work: Path) -> list[Patient]:
    """Simulated patients on coarse grids."""
    from stroke_nets import synthesis

    made = []
    for index in range(PLAIN + HEADS):
        kind = "plain" if index < PLAIN else "head"
        design = synthesis.Design(plain=kind == "plain")
        voxels = synthesis.simulate_patient(0, index + 1, design)[0][::STEP, ::STEP, ::STEP]
        affine = synthesis.template().affine @ np.diag([STEP, STEP, STEP, 1])
        made.append(Patient(work / f"{kind}{index}.nii.gz", kind == "head"))
        nib.save(nib.Nifti1Image(voxels, affine), made[-1].scan)
    return made


def files_of(out: Path, name: str) -> set[str]:
    """The files of a case, by what follows its label."""
    found = out.glob(f"sub-{name}/**/*")
    return {path.name.removeprefix(f"sub-{name}") for path in found if path.is_file()}


def mask_of(out: Path, name: str) -> bytes:
    """The bytes of a case's mask on the scan's grid; none if there is none."""
    found = list(out.glob(f"sub-{name}/**/sub-{name}_desc-*_mask.nii.gz"))
    return found[0].read_bytes() if found else b""


def cut(scan: Path, chance: random.Random) -> None:
    """Keep the first bytes, at least one and not all."""
    os.truncate(scan, chance.randrange(1, scan.stat().st_size))


def flip(scan: Path, chance: random.Random) -> None:
    """Turn one bit of the compressed voxels or of their checksum."""
    content = bytearray(scan.read_bytes())
    content[chance.randrange(20, len(content))] ^= 1 << chance.randrange(8)
    scan.write_bytes(content)


def not_finite(scan: Path, chance: random.Random) -> None:
    """Some voxels that are no number."""
    image = nib.load(scan)
    voxels = np.asarray(image.dataobj, np.float32)
    voxels.flat[chance.sample(range(voxels.size), 5)] = chance.choice([np.nan, np.inf])
    nib.save(nib.Nifti1Image(voxels, image.affine), scan)


def blank(scan: Path, chance: random.Random) -> None:
    """One value everywhere."""
    image = nib.load(scan)
    voxels = np.full(image.shape, chance.randrange(100), np.int16)
    nib.save(nib.Nifti1Image(voxels, image.affine), scan)


def other_shape(scan: Path, chance: random.Random) -> None:
    """Two volumes, or a single plane."""
    image = nib.load(scan)
    voxels = np.asarray(image.dataobj)
    voxels = chance.choice([np.stack([voxels, voxels], -1), voxels[..., 9]])
    nib.save(nib.Nifti1Image(voxels, image.affine), scan)


def header(start: int, content: bytes) -> Callable[[Path, random.Random], None]:
    """Overwrite bytes of the header."""

    def damage(scan: Path, chance: random.Random) -> None:
        voxels = bytearray(gzip.decompress(scan.read_bytes()))
        voxels[start : start + len(content)] = content
        scan.write_bytes(gzip.compress(voxels))

    return damage


def other_content(scan: Path, chance: random.Random) -> None:
    """Nothing at all, or a page of a server's error."""
    scan.write_bytes(chance.choice([b"", b"<!DOCTYPE html><html>404</html>"]))


DAMAGE: dict[str, Callable[[Path, random.Random], None]] = {
    "cut": cut,
    "bit": flip,
    "NaN": not_finite,
    "blank": blank,
    "shape": other_shape,
    "content": other_content,
    "magic": header(344, b"xxxx"),
    "more voxels announced": header(42, (900).to_bytes(2, "little")),
    "no voxels announced": header(42, (0).to_bytes(2, "little")),
    "NaN in the affine": header(280, np.full(12, np.nan, "<f4").tobytes()),
    "singular affine": header(280, np.zeros(12, "<f4").tobytes()),
    "unknown type of voxels": header(70, (999).to_bytes(2, "little")),
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
