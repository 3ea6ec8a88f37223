"""Seeds that are derived from others."""

from __future__ import annotations

import itertools

from pbdr.seeds import derive_seed

LABELS = [(), ("image",), ("gradient",), ("image", 0), ("image", 1), (0, "image"), ("image", 0, 0), ("ima", "ge")]


def test_every_label_its_place_and_the_seed_count():
    seeds = [derive_seed(seed, *labels) for seed, labels in itertools.product((0, 1, 2**40), LABELS)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_derived_seeds_are_the_same_in_every_run():
    assert derive_seed(3, "gradient", 1) == derive_seed(3, "gradient", 1) == 3685195195
