"""The benchmark suite, the references that are kept, and the guide to writing an estimator."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import mitsuba as mi
import numpy as np
import pytest

from pbdr.compare.cache import Precision, cache_folder, reference_for
from pbdr.compare.cases import suite_cases
from pbdr.errors import InputError

pytestmark = pytest.mark.usefixtures("own_cache")

ROOT = Path(__file__).resolve().parents[2]


def test_references_are_kept_and_continued():
    (case,) = suite_cases("gradients", "texture_albedo")
    scene = case.build()
    quick = Precision(budget=0.0, spp=16, repeats=2)
    first = reference_for(case, scene, quick)
    (file,) = cache_folder().glob("*.npz")
    again = reference_for(case, scene, quick)
    np.testing.assert_array_equal(first.image, again.image)
    # A more demanding request adds repeats to what is there
    demanding = Precision(budget=1.01 * first.seconds, relative_error=0.0, spp=16, repeats=2)
    better = reference_for(case, scene, demanding)
    assert len(better.fine) > len(first.fine)
    np.testing.assert_array_equal(better.fine[:2], first.fine)
    # A changed scene is another question
    mi.traverse(scene)["floor.bsdf.reflectance.data"] *= 0.5
    reference_for(case, scene, quick)
    assert len(list(cache_folder().glob("*.npz"))) == 2
    file.write_bytes(b"not a reference")
    np.testing.assert_allclose(reference_for(case, case.build(), quick).image, first.image, atol=1e-3)


def test_the_suite_is_complete():
    cases = suite_cases("gradients")
    assert len(cases) >= 24
    assert all(case.hard and case.name for case in cases)
    assert sum(case.truth is not None for case in cases) >= 3
    assert {"volpath", "path"} == {case.reference for case in cases}
    with pytest.raises(InputError, match="no benchmark suite"):
        suite_cases("gradiants")


@pytest.mark.parametrize("case", suite_cases("gradients"), ids=lambda case: case.name)
def test_every_case_of_the_suite_can_be_perturbed(case):
    curve = case.direction.bind(case.build())
    with curve.moved(curve.step):
        pass
    assert curve.step > 0


def test_the_guide_to_writing_an_estimator(tmp_path, scene_file, pbdr_command, monkeypatch):
    """The example of docs/writing_an_estimator.md gets the verdicts that the page states."""
    text = (ROOT / "docs" / "writing_an_estimator.md").read_text(encoding="utf-8")
    module, session = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    file = tmp_path / "my_estimators.py"
    file.write_text(module, encoding="utf-8")
    assert len(module.splitlines()) <= 64
    monkeypatch.chdir(tmp_path)
    outcome = pbdr_command(
        "compare", "--suite", "gradients", "--cases", "texture_albedo,shadow_moving_occluder", "--import", file.name,
        "--integrator", "direct_by_emitters", "--seeds", "8", "--budget", "3", "--out", "mine",
    )  # fmt: skip
    assert outcome.code == 1
    rows = json.loads((tmp_path / "mine" / "results.json").read_text())["rows"]
    assert [(row["case"], row["word"]) for row in rows] == [
        ("shadow_moving_occluder", "biased"),
        ("texture_albedo", "consistent"),
    ]
    assert rows[0]["reason"] == "exactly zero, but the reference is not"

    # The Python session, with a few changes that make it short
    monkeypatch.syspath_prepend(str(tmp_path))
    session = session.replace("seeds=8", "seeds=4")
    assert importlib.util.find_spec("my_estimators")
    exec(compile(session, "session", "exec"), {})
    assert (tmp_path / "figure.png").is_file()


@pytest.mark.parametrize("case", [c for c in suite_cases("gradients") if c.truth], ids=lambda case: case.name)
def test_closed_forms_have_the_shape_of_the_image(case):
    reference = case.truth(case.build())
    assert reference.image.shape == reference.primal.shape == (48, 48, 3)
    assert np.all(np.isfinite(reference.image))
