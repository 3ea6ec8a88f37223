# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9. Comparing estimators
#
# **What you will learn**
#
# - how to ask several integrators for the same derivative and have them judged against finite differences,
# - what the verdicts mean, and what a bias looks like in the picture,
# - what a correct gradient costs, and why noise and time count together,
# - how to keep results, and go on after a stop.
#
# The [full table](../docs/estimators.md) has 43 cases; here are four of them, small.

# %%
import os

import pbdr  # first: it points Dr.Jit at LLVM

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

from pbdr.scene import load_scene

mi.set_variant("llvm_ad_rgb")
mi.set_log_level(mi.LogLevel.Error)  # one integrator below warns at each call
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: little time, one estimator

# %% [markdown]
# ## One question
#
# `pbdr.compare` takes a scene, what moves in it, and names of integrators with their properties. `Perturbation` says
# how it moves. It computes a reference with error bars, repeats each gradient with several seeds, and judges.

# %%
from pbdr.compare import Perturbation

scene = load_scene("pose_from_image", {"size": "48"})
knob = Perturbation.translate("teapot.vertex_positions", (1, 0, 0))
figure, axes = plt.subplots(figsize=(2.6, 2.6), layout="constrained")
axes.imshow(np.clip(np.array(mi.render(scene, spp=64)), 0, 1) ** (1 / 2.2))
axes.set_title("the teapot moves to the right", fontsize=10)
axes.set_axis_off()

# %%
names = ["pbdr:boundary=none", "pbdr:boundary=silhouettes"]
effort = {"seeds": 2 if QUICK else 8, "spp": 64, "budget": 1 if QUICK else 6}
result = pbdr.compare(scene, knob, names, **effort)
for row in result.rows:
    print(f"{row.estimator:28}{row.word:14}{row.reason}")

# %% [markdown]
# The words are defined so that nothing passes by being noisy. *Inconclusive* is no failure, it is a wish for more time:
#
# | word | meaning |
# | --- | --- |
# | consistent | no test rejects at 99.9 % confidence, *and* a bias of 5 % would have been found |
# | biased | a test rejects; the number is the relative error |
# | inconclusive | no test rejects, but the noise could hide a bias of 5 % |
# | unsupported, failed | the integrator says that it cannot, or crashes |
#
# ## Four questions, four estimators
#
# Cases of the suite are plain Python files: a scene, a `Perturbation`, and a sentence. In the first nothing moves, in
# the second one corner of a glowing cube does; in the third a cube that is not in view, only its shadow; in the fourth
# the camera. `prb` and `prb_projective` are Mitsuba's own.

# %%
from pbdr.compare.cache import Precision
from pbdr.compare.cases import suite_cases
from pbdr.compare.measure import Effort
from pbdr.compare.study import Study, run_study

cases = ["texture_albedo", "silhouette_single_vertex", "shadow_moving_occluder", "camera_translation"]
study = Study(
    cases=tuple(case for name in (cases[:2] if QUICK else cases) for case in suite_cases("gradients", name)),
    estimators=tuple(names if QUICK else ["prb", "prb_projective", *names]),
    effort=Effort(seeds=2 if QUICK else 8, spp=16 if QUICK else 64, budget=1 if QUICK else 3),
    precision=Precision(budget=1 if QUICK else 3),
)
result = run_study(study)

# %%
marks = {"consistent": "✓", "biased": "✗", "inconclusive": "?", "failed": "!", "unsupported": "–"}
labels = [name.replace("pbdr:boundary=", "pbdr ") for name in study.estimators]
print(f"{'':26}" + "".join(f"{label:>18}" for label in labels))
for case in result.pictures:
    cells = []
    for row in (row for row in result.rows if row.case == case):
        bias = "" if row.relative_bias is None else f"{100 * row.relative_bias:+.0f} %"
        cost = "" if row.cost is None else f"{row.cost:.0f}×"
        cells.append(f"{marks[row.word]} {bias:>7}{cost:>6}")
    print(f"{case:26}" + "".join(f"{cell:>18}" for cell in cells))

# %% [markdown]
# Each cell: verdict, relative bias of a weighted sum over the image, and the cost of one gradient in renders of the
# same image. A bias beside a ✓ or ? is within the noise.
#
# The pictures say *where* a gradient is wrong: reference, then each estimator beside its error, all of a row on one
# scale.

# %%
result.figure()

# %% [markdown]
# - Without a boundary term (`prb`, `boundary=none`) the texture is right, and everything that moves is wrong; of the
#   shadow of an object that is not in view they return exactly zero, without a warning. `prb` does not know moving
#   cameras, and says so.
# - `prb_projective` has a boundary term; compare its costs. *No image*: too slow for this little time, or no forward
#   mode.
# - `pbdr` with `boundary=silhouettes` is what `boundary="auto"` takes in these scenes.
#
# ## Noise and time together
#
# Two correct estimators differ in noise and in time; what counts is the variance that is left after a second of work.
# Below, bias against noise at equal time; the size of a mark is the cost. Good is bottom left.

# %%
result.scatter()

# %% [markdown]
# ## Save and resume
#
# With `folder=` every finished cell is kept, and so are the table, pictures and numbers. The same call after Ctrl-C, or
# with one more estimator, computes only what is missing.

# %%
import time
from pathlib import Path

start = time.perf_counter()
pbdr.compare("pose_from_image", knob, names, seeds=2, spp=16, budget=3, folder="runs/mine")
first = time.perf_counter() - start
start = time.perf_counter()
pbdr.compare("pose_from_image", knob, names, seeds=2, spp=16, budget=3, folder="runs/mine")
again = time.perf_counter() - start
print(f"again: {again / first:.0%} of the time of the first call")
print(*sorted(path.name for path in Path("runs/mine").iterdir()), sep="\n")

# %% [markdown]
# ## What can go wrong
#
# - **Inconclusive.** The honest answer to too little time: the row says how many seeds would settle it. Raise `seeds`,
#   `spp` or `budget`.
# - **Another image.** An integrator that renders another image than the reference (fewer bounces, no media) is called
#   unsupported: its derivative belongs to another function.
# - **One number can hide a bias**, if errors cancel in the sum. That is why blocks of pixels are tested as well, and
#   why the pictures are worth a look.
# - **Timings drift** on a machine that does something else. Costs are ratios measured in turn, good to about a third.
# - **On the command line** the same is `pbdr compare SCENE --param KEY --integrator A --integrator B`, with `--isolate`
#   for integrators that crash.
