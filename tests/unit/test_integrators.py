"""Integrators from what a user wrote."""

from __future__ import annotations

import gc

import mitsuba as mi
import pytest

from pbdr.errors import InputError
from pbdr.integrators import integrator_names, make_integrator, own_integrators, parse_integrator


def test_names_hold_own_and_foreign_integrators():
    assert {"pbdr", "path_taped"} <= set(own_integrators())
    assert {"pbdr", "path_taped", "path", "prb", "prb_projective", "volpath"} <= set(integrator_names())
    assert not {"common", "diffuse", "__init__"} & set(integrator_names())


def test_text_becomes_a_dictionary():
    spec = "pbdr:max_depth=8,boundary=none,hide_emitters=true,memory_budget=0.5"
    expected = {"type": "pbdr", "max_depth": 8, "boundary": "none", "hide_emitters": True, "memory_budget": 0.5}
    assert parse_integrator(spec) == expected
    assert parse_integrator("prb") == {"type": "prb"}
    assert parse_integrator("aov:aovs=d:depth,n:sh_normal") == {"type": "aov", "aovs": "d:depth,n:sh_normal"}


@pytest.mark.parametrize("name", ["pbdr", "path_taped", "path", "prb", "direct"])
def test_integrators_can_be_made(name: str):
    assert isinstance(make_integrator(name), mi.Integrator)


def test_properties_arrive():
    assert make_integrator("pbdr:max_depth=3").max_depth == 3
    assert make_integrator({"type": "pbdr", "max_depth": 4}).max_depth == 4


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("pbrd", ["no integrator 'pbrd'", "did you mean 'pbdr'"]),
        ("zzz", ["no integrator 'zzz'", "allowed:"]),
        ("diffuse", ["not an integrator"]),
        ("", ["needs a 'type'"]),
        ({"max_depth": 3}, ["needs a 'type'"]),
        ("path:max_depth", ["'max_depth' is not property=value"]),
        ("path:max_dept=3", ["'path' has no property 'max_dept'", "did you mean 'max_depth'"]),
        ("pbdr:bondary=none", ["'pbdr' has no property 'bondary'", "did you mean 'boundary'"]),
        ("prb:zzz=3", ["'prb' has no property 'zzz'"]),
        ("path:max_depth=deep", ["needs an integer for 'max_depth', got 'deep'"]),
        ("pbdr:max_depth=2.5", ["needs an integer for 'max_depth', got '2.5'"]),
        ("prb:hide_emitters=3", ["needs true or false for 'hide_emitters'"]),
        ("pbdr:interior=replai", ["'interior' is 'replai'", "did you mean 'replay'"]),
        ("pbdr:boundary=nosuch", ["'boundary' is 'nosuch'"]),
        ("pbdr:max_depth=-3", ["max_depth"]),
        ("path:rr_depth=-1", ["rr_depth"]),
        ("pbdr:memory_budget=nan", ["'memory_budget' must be greater than 0 GiB, got nan"]),
        ("pbdr:derivative_sampling=3", ["needs true or false for 'derivative_sampling'"]),
        ("prb_reparam:reparam_kappa=nan", ["'reparam_kappa' must be greater than 0, got nan"]),
    ],
)
def test_mistakes_are_one_sentence(spec, parts):
    with pytest.raises(InputError) as caught:
        make_integrator(spec)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_nothing_is_collected_while_kernels_are_recorded(monkeypatch):
    seen = []
    integrator = make_integrator("pbdr:max_depth=2")
    monkeypatch.setattr(integrator, "trace", lambda *args, **kwargs: seen.append(gc.isenabled()) or 1 / 0)
    scene = mi.load_dict({"type": "scene", "camera": {"type": "perspective"}, "sky": {"type": "constant"}})
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        integrator.render(scene, spp=1)
    assert seen == [False]
    assert gc.isenabled()
