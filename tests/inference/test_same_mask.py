"""One scan and one network give one mask: in every tool, and in every order of the scan's axes."""

import itertools
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from scipy import ndimage

import stroke_nets
from stroke_nets.bundle_folders import find_bundle
from stroke_nets.datasets import manifest
from stroke_nets.errors import DataError
from stroke_nets.inference.pseudo_label import pseudo_label
from stroke_nets.packing.archive import unpack
from stroke_nets.packing.pack import pack
from stroke_nets.registration import register, register_to_template
from stroke_nets.registration.canonical import canonical
from stroke_nets.registration.quality import Quality
from stroke_nets.registration.register import Registration
from stroke_nets.registration.register_to_template import RegisterToTemplated
from stroke_nets.registration.volume import Volume, brain, dilated
from stroke_nets.scans.writer import HeaderWriter

METHOD = "mscsa_default"
TINY = {"widths": [4, 4, 8, 8, 8], "heads": 2, "patch_size": [16, 32, 32], "flips": False}
TINY |= {"overlay": "tiny", "spacing": [8.0, 8.0, 8.0]}
TURN = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.15), (-20, 5, 8))

pytestmark = pytest.mark.filterwarnings("default")  # MONAI warns about its own calls


@pytest.fixture(scope="module")
def head():
    """The template's brain in fluid, skull and scalp; it lies 20 mm to the left and is turned."""
    healthy = brain(3)
    away = ndimage.distance_transform_edt(~dilated(healthy, 0), sampling=3)
    voxels = np.select([away > 14, away > 8, away > 3, away > 0], [0, 0.8, 0.05, 0.2], 0)
    noise = np.random.default_rng(0).normal(0, 0.02, voxels.shape)
    voxels = np.abs(np.where(away > 0, voxels, healthy.voxels) + noise)
    return nib.Nifti1Image((1000 * voxels).astype(np.int16), TURN @ healthy.affine)


def reordered(image, axes, signs):
    return image.as_reoriented(np.column_stack([axes, signs]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A bundle with a tiny overlay, and a run folder of it with random weights."""
    root = tmp_path_factory.mktemp("tools")
    shutil.copytree(find_bundle(METHOD), root / "bundles" / METHOD)
    overlay = root / "bundles" / METHOD / "configs" / "tiny.yaml"
    overlay.write_text(yaml.safe_dump(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STROKE_NETS_BUNDLES", str(root / "bundles"))
        yield root


@pytest.fixture(scope="module")
def weights(run, simulated, bundle_config):
    """The checkpoint; its run folder says that the first fold is held out."""
    torch.manual_seed(1)
    network = bundle_config(METHOD, "inference", "tiny").get_parsed_content("network_def")
    file = run / "fold0" / "checkpoints" / "last.pt"
    file.parent.mkdir(parents=True)
    torch.save({"network": network.state_dict()}, file)
    data = shutil.copytree(simulated, run / "data")
    about = {"bundle": METHOD, "dataset_dir": str(data), "manifest": None, "fold": 0, **TINY}
    (run / "fold0" / "config.yaml").write_text(yaml.safe_dump(about))
    return file


def predicted(scan, out, weights, **options):
    stroke_nets.predict(scan, out, method=METHOD, checkpoint=weights, device="cpu", **options)
    files = out.glob("sub-*/anat/*_mask.nii.gz")
    (file,) = (path for path in files if "_space-" not in path.name)
    return voxels(file)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def segmented(config, out, study, **options):
    """The mask of a bundle's own ``run inference``."""
    options |= {"dataset_dir": str(study), "output_dir": str(out), "device": "cpu"}
    flow = ConfigWorkflow(config, workflow_type="infer", logging_file=False, **options)
    flow.initialize()
    flow.run()
    (file,) = (out / "predictions").glob("*.nii.gz")
    return voxels(file)


def test_predict_bundle_and_packed_bundle_write_one_mask(head, run, weights, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    nib.save(reordered(head, (2, 0, 1), (1, -1, -1)), study / "sub-1_T1w.nii.gz")
    mask = predicted(study / "sub-1_T1w.nii.gz", tmp_path / "out", weights)
    assert 0 < mask.mean() < 1  # random weights: somewhere
    bundle = run / "bundles" / METHOD
    raw = [str(bundle / "configs" / f"{name}.yaml") for name in ("inference", "tiny")]
    where = {"bundle_root": str(bundle), "checkpoint": str(weights)}
    found = segmented(raw, tmp_path / "raw", study, **where, register=True)
    np.testing.assert_array_equal(found, mask)
    packed = unpack(pack(METHOD, tmp_path / "dist", [weights], "tiny").archive, tmp_path / "else")
    file = str(packed / "configs" / "inference.json")
    found = segmented(file, tmp_path / "packed", study, bundle_root=str(packed))
    np.testing.assert_array_equal(found, mask)


def test_pseudo_labels_are_the_masks_of_predict(run, weights, tmp_path):
    data = run / "data"
    scan = data / "unlabelled" / "sub-9" / "sub-9_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    shutil.copy(next(data.glob("sub-1/**/*_T1w.nii.gz")), scan)
    made = pseudo_label(data, [run / "fold0"], fold=0, image="unlabelled/**/*_T1w.nii.gz")
    *_, record = manifest.content(made)["records"]
    mask = predicted(scan, tmp_path, weights, skip_registration=True)  # as its training read scans
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(voxels(data / record["label"]), mask)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_single_slice_has_a_mask_or_is_refused(axis, head, weights, tmp_path):
    path = tmp_path / "in" / "sub-1_T1w.nii.gz"
    path.parent.mkdir()
    slices = [slice(None)] * 3
    slices[axis] = slice(30, 31)
    nib.save(head.slicer[tuple(slices)], path)
    mask = predicted(path, tmp_path / "out", weights, skip_registration=True)
    assert mask.shape == nib.load(path).shape
    with pytest.raises(DataError, match="the registration is poor"):
        predicted(path, tmp_path / "other", weights)
    assert not list((tmp_path / "other").rglob("*.nii.gz"))


ORDERS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


def test_all_48_axis_orders_give_one_mask(head, tmp_path, monkeypatch):
    """From the scan to the template, to a network's axes, and back into a file."""
    found = Registration(TURN, Quality(1.0, 0.9, 0.0, 0.0, 1.0, 1.0, 1.4), 0.0, 800.0)
    monkeypatch.setattr(register_to_template, "register", lambda scan, contrast: found)
    chain = Compose(
        [RegisterToTemplated("image", spacing=4), Orientationd("image", axcodes="SAR", labels=None)]
    )
    back = Invertd("pred", chain, "image", nearest_interp=False)
    wanted = None
    for axes, signs in ORDERS:
        image = reordered(head, axes, signs)
        scan = MetaTensor(image.get_fdata(dtype=np.float32)[None].copy(), affine=image.affine)
        data = chain({"image": scan})
        data["pred"] = MetaTensor(data["image"].as_tensor())  # in place of a network
        pred = back(data)["pred"]
        writer = HeaderWriter(np.uint8)
        writer.set_data_array((pred > 0.7).float(), channel_dim=0)
        writer.set_metadata({"affine": pred.affine, "sform_code": 1}, resample=False)
        writer.write(tmp_path / "mask.nii.gz")
        written = nib.load(tmp_path / "mask.nii.gz")
        np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)  # float32 header
        mask = np.asanyarray(nib.as_closest_canonical(written).dataobj) > 0
        wanted = mask if wanted is None else wanted
        assert 2 * (mask & wanted).sum() >= 0.999 * (mask.sum() + wanted.sum())
    assert wanted.sum() > 1000


def test_unit_and_offset_leave_the_mask_as_it_is(head, monkeypatch):
    """niimath sees one canonical form (tests/registration); here its map is a known one."""
    voxels = head.get_fdata(dtype=np.float32)
    form = canonical(Volume(voxels, head.affine))
    monkeypatch.setattr(register, "allineate", lambda scan: form.from_scan(TURN))

    def placed(values):
        scan = MetaTensor(values[None].astype(np.float32), affine=head.affine)
        return RegisterToTemplated("image", spacing=4)({"image": scan})["image"].numpy()

    wanted = placed(voxels) > 0.7
    z_scored = (voxels - voxels.mean()) / voxels.std()
    others = (0.001 * voxels, 1000 * voxels, voxels - 1000, voxels + 1000, z_scored)
    for mask in (placed(other) > 0.7 for other in others):
        assert 2 * (mask & wanted).sum() >= 0.999 * (mask.sum() + wanted.sum())
    assert wanted.sum() > 1000
