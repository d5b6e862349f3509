import json
import shutil

import matplotlib
import matplotlib.image
import nibabel as nib
import numpy as np
import pytest

from stroke_nets.errors import DataError, UsageError
from stroke_nets.papers.figure_dice import local_line
from stroke_nets.papers.figure_style import Source
from stroke_nets.papers.figures import published_figures, write_figure
from stroke_nets.papers.tables import published

ROWS = [{"label": "Good", "run": "good/default"}, {"label": "Absent", "run": "absent/default"}]
SCHEMES = [
    {"label": f"{s}{' + M' * m}", "scheme": s, "with_module": bool(m), "run": f"{s.lower()}/{m}"}
    for s in ("Plain", "Other", "Third")
    for m in (0, 1)
]


def draw(kind, source, tmp_path, **content):
    """The figure's PNG as pixels in [0, 1] and its SVG as text."""
    content = {"title": "A paper, Fig. 1", "kind": kind, "rows": ROWS} | content
    png, svg = write_figure("made_up", content, source, tmp_path / "out")
    return matplotlib.image.imread(png)[..., :3], svg.read_text()


def share(pixels, colour):
    """Share of the pixels within a tenth of a colour."""
    return (np.abs(pixels - np.array(colour)) < 0.1).all(-1).mean()


BLUE, YELLOW = (0.0, 0.447, 0.698), (1.0, 0.882, 0.0)


def test_difference_maps_show_what_was_missed(tmp_path, data, runs):
    missed, text = draw("difference_maps", Source(runs("good/default", 3), data), tmp_path)
    assert share(missed, YELLOW) > 0.002
    assert "Not run: Absent." in text
    assert "sub-1" in text
    assert "sub-6" not in text  # has no lesion
    shutil.rmtree(tmp_path / "runs")
    perfect, _ = draw("difference_maps", Source(runs("good/default", 0), data), tmp_path)
    # the legend's patch stays
    assert share(perfect, YELLOW) < share(missed, YELLOW) / 2
    assert share(perfect, BLUE) > share(missed, BLUE)


def test_patients_can_be_chosen(tmp_path, data, runs):
    source = Source(runs("good/default", 1), data, cases=["sub-3"], note="simulated")
    _, text = draw("boundaries", source, tmp_path)
    assert "sub-3" in text
    assert "sub-2" not in text
    assert "simulated" in text


def test_the_picture_is_the_same_each_time(tmp_path, data, runs):
    source = Source(runs("good/default", 1), data)
    assert draw("boundaries", source, tmp_path)[1] == draw("boundaries", source, tmp_path)[1]


def test_box_plot_names_methods_and_counts(tmp_path, runs):
    _, text = draw("box_plot", Source(runs("good/default", 1)), tmp_path)
    assert "Good (n = 6)" in text
    assert "Not run: Absent." in text


@pytest.mark.parametrize("kind", ["scheme_boundaries", "dice_by_volume"])
def test_schemes_with_and_without_the_module(kind, tmp_path, data, runs):
    for row in SCHEMES[:3]:
        root = runs(row["run"], 1)
    legend = {"legend": ["without M", "with M"], "rows": SCHEMES}
    _, text = draw(kind, Source(root, data), tmp_path, **legend)
    for words in ("Plain", "Other", "without M", "with M", "not run"):
        assert f">{words}<" in text
    assert "Not run: Other + M, Third, Third + M." in text


def test_fitted_curve_follows_a_line_and_stays_in_range():
    x = np.linspace(-1, 2, 20)
    at = np.linspace(-1, 2, 7)
    np.testing.assert_allclose(local_line(x, 0.3 + 0.2 * x, at), 0.3 + 0.2 * at, atol=1e-6)
    steep = local_line(x, np.clip(3 * x, 0, 1), at)
    assert steep.min() >= 0
    assert steep.max() <= 1


def test_fitted_curve_weighs_what_is_near():
    x, y = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2]), np.array([0.2] * 3 + [0.9] * 3)
    np.testing.assert_allclose(local_line(x, y, np.array([0.1, 5.1])), [0.2, 0.9], atol=1e-3)


def save_maps(runs, name, **maps):
    folder = runs / name / "fold0"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "stage_maps.npz", **maps)


def test_attention_stages(tmp_path):
    rng = np.random.default_rng(0)
    maps = {"image": rng.random((12, 12)), "label": np.eye(12), "prior": np.eye(6)}
    for stage, side in ((1, 12), (2, 6)):
        maps |= {f"{key}{stage}": rng.random((side, side)) for key in ("input", "output")}
        maps[f"attention{stage}"] = rng.random((6, 6))
    save_maps(tmp_path, "net/default", **maps)
    _, text = draw("attention_stages", Source(tmp_path), tmp_path, run="net/default")
    for words in ("prior map", "attention", "stage 1, 12²", "stage 2, 6²"):
        assert f">{words}<" in text


def test_channel_weights_are_strips_of_colour_and_print_their_variance(tmp_path):
    weights = np.array([0.1, 0.5, 0.9])
    save_maps(tmp_path, "a/default", plane_weight1=weights, plane_weight2=weights)
    save_maps(tmp_path, "b/default", plane_weight1=weights / 2, plane_weight2=weights)
    rows = [{"label": "without", "run": "a/default"}, {"label": "with", "run": "b/default"}]
    pixels, text = draw("channel_weights", Source(tmp_path), tmp_path, rows=rows, stages=[2, 3])
    assert "without: variance 1.60e-01" in text
    assert "with: variance 4.00e-02" in text
    assert ">channel of the 2D branch, stage 3<" in text
    assert ">weight<" in text  # the colour bar's
    cividis = matplotlib.colormaps["cividis"]
    strips = [share(pixels, cividis(w)[:3]) for w in (0.1, 0.5, 0.9)]
    assert min(strips) > 0.02  # three of four strips have these colours in a third of their length


def test_a_caption_says_which_case_and_slice_figures_10_and_11_show():
    for name in ("agmr_figure10", "agmr_figure11"):
        text = published_figures([name])[name]["caption"]
        assert "slice with most lesion of one held-out case (fold 0)" in text


def test_what_cannot_be_drawn_says_why(tmp_path, data, runs):
    empty = Source(tmp_path / "no")
    with pytest.raises(UsageError, match="none of the figure's 2 methods"):
        draw("box_plot", empty, tmp_path)
    with pytest.raises(UsageError, match=r"no fold has a stage_maps\.npz"):
        draw("attention_stages", empty, tmp_path, run="net/default")
    root = runs("good/default", 1)
    with pytest.raises(UsageError, match="--data None"):
        draw("boundaries", Source(root), tmp_path)
    with pytest.raises(UsageError, match="--case sub-6: not a case with a lesion"):
        draw("boundaries", Source(root, data, ["sub-6"]), tmp_path)
    with pytest.raises(UsageError, match="agmr_figure07"):
        published_figures(["figure7"])


def test_damaged_maps_and_masks_are_named(tmp_path, data, runs):
    save_maps(tmp_path, "net/default", image=np.ones(3))
    path = tmp_path / "net/default/fold0/stage_maps.npz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=f"{path}: damaged"):
        draw("attention_stages", Source(tmp_path), tmp_path, run="net/default")
    root = runs("good/default", 1)
    mask = root / "good/default/fold0/predictions/sub-5_pred.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), mask)
    with pytest.raises(DataError, match=f"{mask.name}: its grid"):
        draw("boundaries", Source(root, data), tmp_path)


def test_published_figures_name_runs_that_the_tables_have():
    known = {row["run"] for table in published().values() for row in table["rows"]}
    figures = published_figures()
    assert len(figures) == 7
    assert {row["run"] for f in figures.values() for row in f.get("rows", [])} <= known
    assert json.dumps(figures["agmr_figure10"]["run"]).strip('"') in known
