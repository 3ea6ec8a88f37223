"""References on disk, found again by the content of everything that they depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np

from ..errors import InputError
from ..integrators import parse_integrator
from ..scene_parameters import scene_parameters
from ..seeds import derive_seed
from .cases import Case
from .estimators import telling_adjoint
from .references import Reference, central_differences, merged
from .statistics import signal_scale
from .step_choice import Pilot, run_pilot

#: Changes when the meaning of a stored file does.
_FORMAT = 4


@dataclasses.dataclass(frozen=True)
class Precision:
    """How well a reference should be known.

    Attributes:
        relative_error: Standard error of the scalar over its size, at which no more repeats are added.
        budget: Seconds, those of earlier runs included, after which no more repeats are added.
        spp: Samples per pixel of each render.
        repeats: Repeats to begin with.
        seed: Every repeat derives its own from it.
    """

    relative_error: float = 0.003
    budget: float = 30.0
    spp: int = 1024
    repeats: int = 8
    seed: int = 0


def cache_folder() -> Path:
    """Where references are kept: the user's cache directory, or the one that ``PBDR_CACHE`` names."""
    if chosen := os.environ.get("PBDR_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pbdr" / "references"


def reference_for(case: Case, scene: mi.Scene, precision: Precision, *, use_cache: bool = True) -> Reference:
    """The reference of a case: closed form, from disk, or by finite differences until it is precise enough.

    Args:
        case: The question.
        scene: ``case.build()``, in its unperturbed state.
        precision: When to stop.
        use_cache: Whether to look on disk and to store there.
    """
    if case.truth is not None:
        return case.truth(scene)
    file = cache_folder() / f"{content_hash(case, scene, precision)}.npz"
    # What is stored may come from a less demanding request; it is continued
    reference = load_reference(file) if use_cache else None
    settings = {"integrator": {**parse_integrator(case.reference), "max_depth": case.max_depth}, "sensor": case.sensor}
    start = time.perf_counter()
    if reference is None:
        counts = {"spp": max(1, precision.spp // 4), "seed": derive_seed(precision.seed, "pilot")}
        pilot = run_pilot(scene, case.direction, **settings, **counts)
    else:
        pilot = Pilot(reference.step, reference.adjoint)
    direction = dataclasses.replace(case.direction, step=pilot.step)
    spent = time.perf_counter() - start
    while reference is None or not _is_enough(reference, precision):
        seed = derive_seed(precision.seed, "batch", 0 if reference is None else len(reference.fine))
        counts = {"spp": precision.spp, "repeats": precision.repeats, "seed": seed}
        batch = central_differences(scene, direction, **settings, **counts)
        batch = dataclasses.replace(batch, seconds=batch.seconds + spent, adjoint=pilot.adjoint)
        reference, spent = (batch if reference is None else merged(reference, batch)), 0.0
        if use_cache:
            store_reference(file, reference)
    return reference


def _is_enough(reference: Reference, precision: Precision) -> bool:
    return reference.seconds >= precision.budget or relative_error(reference) <= precision.relative_error


def relative_error(reference: Reference) -> float:
    """Standard error of the scalar over the size of the signal; 0 where all is exact."""
    adjoint = telling_adjoint(reference)
    scalar = reference.scalar(adjoint)
    if scalar.error == 0:
        return 0.0
    scale = signal_scale(reference.samples * adjoint, scalar.truncation)
    return scalar.error / scale if scale > 0 else np.inf


def content_hash(case: Case, scene: mi.Scene, precision: Precision) -> str:
    """A hash of everything that a finite-difference reference depends on."""

    digest = hashlib.blake2b(digest_size=16)
    settings = {
        "format": _FORMAT,
        "versions": [mi.__version__, dr.__version__, mi.variant()],
        "direction": case.direction.to_dict(),
        "step": case.direction.bind(scene).step,
        "integrator": [case.reference, case.max_depth],
        "sensor": case.sensor,
        "samples": [precision.spp, precision.repeats, precision.seed],
        # The sampler's description changes with every render
        "scene": re.sub(r"(sample_count|wavefront_size|samples_per_wavefront|base_seed) = \d+", "", str(scene)),
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    # The description abbreviates large arrays; the parameters hold them
    for key, value in scene_parameters(scene):
        digest.update(key.encode())
        is_array = dr.is_array_v(value) and dr.is_arithmetic_v(value)
        digest.update(np.array(value).tobytes() if is_array else str(value).encode())
    return digest.hexdigest()


def load_reference(file: Path) -> Reference | None:
    """A stored reference, or ``None`` where there is none that can be read."""
    try:
        with np.load(file, allow_pickle=False) as data:
            return Reference(
                coarse=data["coarse"],
                fine=data["fine"],
                primals=data["primals"],
                step=float(data["step"]),
                spp=int(data["spp"]),
                seconds=float(data["seconds"]),
                adjoint=data.get("adjoint"),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def store_reference(file: Path, reference: Reference) -> None:
    """Write atomically, so that two processes never see half a file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            np.savez_compressed(
                part,
                coarse=reference.coarse,
                fine=reference.fine,
                primals=reference.primals,
                step=reference.step,
                spp=reference.spp,
                seconds=reference.seconds,
                **({} if reference.adjoint is None else {"adjoint": reference.adjoint}),
            )
        Path(part.name).replace(file)
    except OSError as error:
        raise InputError(
            f"references cannot be stored in '{file.parent}' ({error.strerror}); set PBDR_CACHE or use --no-cache"
        ) from error
