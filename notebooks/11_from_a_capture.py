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
# # 11. From a capture to a scene
#
# **What you will learn**
#
# - how to go from a folder of photographs with a `transforms.json`, as NeRF programs have it, to a job,
# - how shape and texture are recovered together,
# - how the result is used without pbdr: a scene that plain Mitsuba renders, from other sides and in other light,
# - how to save and resume.
#
# You need `pip install ".[notebooks,mesh]"`.

# %%
import json
import os
import subprocess
import sys
from pathlib import Path

import pbdr  # first: it points Dr.Jit at LLVM

import matplotlib.pyplot as plt
import mitsuba as mi
import numpy as np

mi.set_variant("llvm_ad_rgb")
plt.rcParams["figure.dpi"] = 80
QUICK = bool(os.environ.get("PBDR_QUICK"))  # the tests set it: few samples, few steps
SIZE = 24 if QUICK else 64


def show(axes, image, title):
    """A linear image as a screen shows it."""
    axes.imshow(np.clip(np.array(image)[..., :3], 0, 1) ** (1 / 2.2), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()


# %% [markdown]
# ## The capture
#
# To have a known answer, the capture is made here: a painted fruit under an overcast sky, twelve photographs with a
# transparent background, and four more for a test. The next two cells write what a capture program writes; skip them if
# you have a capture of your own.

# %%


def sphere(rings=32, segments=48):
    """A unit sphere with texture coordinates. Points [V, 3], texture coordinates [V, 2], triangles [F, 3]"""
    v, u = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0, 1, segments + 1), indexing="ij")
    points = np.stack(
        [np.sin(np.pi * v) * np.cos(2 * np.pi * u), np.sin(np.pi * v) * np.sin(2 * np.pi * u), np.cos(np.pi * v)],
        axis=-1,
    )
    row, column = np.meshgrid(np.arange(rings), np.arange(segments), indexing="ij")
    a = (row * (segments + 1) + column).ravel()
    b = a + segments + 1
    triangles = np.concatenate(
        [np.stack([a, b, a + 1], axis=1)[segments:], np.stack([a + 1, b, b + 1], axis=1)[:-segments]]
    )
    return points.reshape(-1, 3), np.stack([u, 1 - v], axis=-1).reshape(-1, 2), triangles


def write_mesh(file, points, coordinates, triangles):
    mesh = mi.Mesh("mesh", len(points), len(triangles), has_vertex_texcoords=True)
    buffers = mi.traverse(mesh)
    buffers["vertex_positions"], buffers["vertex_texcoords"] = points.ravel(), coordinates.ravel()
    buffers["faces"] = triangles.ravel()
    buffers.update()
    mesh.write_ply(file)


points, coordinates, triangles = sphere()
x, y, z = points.T
radius = 0.62 + 0.12 * np.cos(3 * np.arctan2(y, x)) * (x**2 + y**2) - 0.12 * np.exp(-8 * (x**2 + y**2)) * (z > 0)
fruit = points * (radius + 0.2 * z * (1 - z**2))[:, None] * [1, 1, 0.9]
write_mesh("fruit.ply", fruit, coordinates, triangles)
v, u = np.mgrid[0:64, 0:64] / 64
paint = [
    0.75 - 0.35 * np.cos(6 * np.pi * u) ** 8,
    0.45 + 0.25 * np.sin(8 * np.pi * v),
    0.25 + 0.15 * np.cos(4 * np.pi * u),
]
paint = np.stack(paint, axis=-1)
paint[np.hypot(8 * u % 1 - 0.5, 4 * v % 1 - 0.5) < 0.25] = [0.1, 0.25, 0.6]
mi.Bitmap(paint.astype(np.float32)).write("paint.exr")

# %%
move = mi.ScalarTransform4f


def photograph(origin, mesh="fruit.ply", texture="paint.exr", lamp=None):
    """A rendering with alpha, and its camera to world."""
    film = {"type": "hdrfilm", "width": SIZE, "height": SIZE, "pixel_format": "rgba", "rfilter": {"type": "box"}}
    view = move().look_at(origin=origin, target=[0, 0, 0], up=[0, 0, 1])
    skin = {"type": "bitmap", "filename": str(texture), "raw": True}
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 2, "hide_emitters": True},
        "camera": {"type": "perspective", "fov": 34, "to_world": view, "film": film},
        "sky": {"type": "constant", "radiance": 0.3 if lamp else 1.0},
        "fruit": {"type": "ply", "filename": str(mesh), "bsdf": {"type": "diffuse", "reflectance": skin}},
    }
    scene |= {"lamp": lamp} if lamp else {}
    return np.array(mi.render(mi.load_dict(scene), spp=16 if QUICK else 256)), np.array(view.matrix)


def capture(name, count, turn=0.0, lamp=None):
    """Photographs from a spiral around the fruit, and transforms_<name>.json."""
    frames = []
    Path("capture", name).mkdir(parents=True)
    for k, height in enumerate(np.linspace(-0.5, 0.9, count)):
        angle, distance = 2.4 * k + turn, np.sqrt(1 - height**2)
        origin = 2.6 * np.array([distance * np.cos(angle), distance * np.sin(angle), height])
        image, to_world = photograph(origin.tolist(), lamp=lamp)
        image[..., :3] /= np.maximum(image[..., 3:], 1e-6)  # PNG files hold colours that are not multiplied with alpha
        bitmap = mi.Bitmap(image).convert(mi.Bitmap.PixelFormat.RGBA, mi.Struct.Type.UInt8, srgb_gamma=True)
        bitmap.write(f"capture/{name}/{name}_{k}.png")
        matrix = to_world @ np.diag([-1, 1, -1, 1])  # NeRF's cameras look along -z
        frames.append({"file_path": f"./{name}/{name}_{k}", "transform_matrix": matrix.tolist()})
    data = {"camera_angle_x": float(np.radians(34)), "frames": frames}
    Path(f"capture/transforms_{name}.json").write_text(json.dumps(data, indent=1))


capture("train", 4 if QUICK else 12)
capture("test", 4, turn=1.0)
figure, axes = plt.subplots(1, 8, figsize=(14, 1.9), layout="constrained")
for place, file in zip(axes, [Path(f"capture/train/train_{k}.png") for k in range(4 if QUICK else 8)], strict=False):
    place.imshow(mi.Bitmap(str(file)))
    place.set_title(file.name, fontsize=9)
    place.set_axis_off()
plt.show()

# %% [markdown]
# ## Cameras and photographs into a job
#
# On the command line it is `pbdr import-views capture/transforms_train.json job`. It writes a Mitsuba sensor for each
# photograph, and a list of views. Colour is sRGB in 8 bits, and the transparent background is composited on black.

# %%
from pbdr.optimize.views.captures import read_captures, write_captures

cameras, views = write_captures(read_captures("capture/transforms_train.json"), Path("job"))
print(cameras, views)
print(views.read_text()[:110].strip())

# %% [markdown]
# What a capture does not have is a scene. We write one around the cameras: a sphere that has texture coordinates and a
# grey texture, and the light. That it is white and comes evenly from everywhere is what we know, or assume.

# %%
write_mesh("job/start.ply", 0.6 * points, coordinates, triangles)
mi.Bitmap(np.full((64, 64, 3), 0.5, np.float32)).write("job/grey.exr")
Path("job/scene.xml").write_text("""<scene version="3.0.0">
  <integrator type="path">
    <integer name="max_depth" value="2"/>
    <boolean name="hide_emitters" value="true"/>
  </integrator>
  <include filename="cameras.xml"/>
  <emitter type="constant" id="daylight"/>
  <shape type="ply" id="fruit">
    <string name="filename" value="start.ply"/>
    <bsdf type="diffuse" id="peel">
      <texture type="bitmap" name="reflectance"> <string name="filename" value="grey.exr"/> </texture>
    </bsdf>
  </shape>
</scene>
""")
_ = Path("job/job.toml").write_text("""
scene = "scene.xml"
views = "views.toml"
loss = "l2"
batch = 3
spp = 8
spp_evaluation = 32
integrator = { type = "pbdr", max_depth = 2, hide_emitters = true }

[[parameters]]
kind = "mesh"
key = "fruit"
learning_rate = 0.03
smoothness = 20
true = "../fruit.ply"

[[parameters]]
key = "fruit.bsdf.reflectance.data"
learning_rate = 0.03
refine = [20, 40]
""")

# %%
problem = pbdr.Problem.from_job("job", {"spp": "2", "batch": "1", "spp_evaluation": "2"} if QUICK else {})
result = pbdr.optimize(problem, steps=2 if QUICK else 50, out="runs/fruit", overwrite=True)
shape = result.parameters["fruit.vertex_positions"]
print(f"loss {result.loss_initial:.4f} → {result.loss_final:.5f} after {result.steps} steps")
print(f"mean distance from the true surface {shape['error']:.4f}, size of the fruit {max(shape['true']):.2f}")

# %% [markdown]
# ### Save and resume
#
# `runs/fruit` holds the job, checkpoints and the recovered scene, and goes on with `resume=True`; on the command line
# it is `pbdr optimize job --out runs/fruit --resume --steps 90`.

# %%
result = pbdr.optimize(problem, steps=3 if QUICK else 90, out="runs/fruit", resume=True)
shape = result.parameters["fruit.vertex_positions"]
print(f"loss {result.loss_final:.5f} after {result.steps} steps, mean distance {shape['error']:.4f}")
for file in sorted(Path("runs/fruit/scene").rglob("*.*")):
    print(file)

# %% [markdown]
# ## The result without pbdr
#
# `runs/fruit/scene` is an ordinary scene. Another process loads it, with Mitsuba alone and its scalar variant, and
# renders it from the four cameras of the test, which the optimization has never seen.

# %%
Path("render.py").write_text("""
import sys
import mitsuba as mi

mi.set_variant("scalar_rgb")
scene = mi.load_file("runs/fruit/scene/scene.xml")
tests = mi.load_file("tests/cameras.xml").sensors()
for sensor in tests:
    mi.Bitmap(mi.render(scene, sensor=sensor, spp=64)).write(f"tests/{sensor.id()}.exr")
print(f"{len(tests)} images with Mitsuba {mi.__version__} and {'' if 'pbdr' in sys.modules else 'without '}pbdr")
""")
test = read_captures("capture/transforms_test.json")
write_captures(test, Path("tests"))
done = subprocess.run([sys.executable, "render.py"], capture_output=True, text=True, check=True)
print(done.stdout.strip())

# %%
decibels = []
figure, axes = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
for k, column in enumerate(axes.T):
    truth = photograph(test[k].to_world[:3, 3].tolist())[0]
    ours = np.array(mi.Bitmap(f"tests/test_{k}.exr"))
    show(column[0], truth, f"test_{k}")
    show(column[1], ours, "plain Mitsuba")
    decibels.append(-10 * np.log10(np.mean((ours[..., :3] - truth[..., :3]) ** 2)))
plt.show()
print("PSNR of the tests:", np.round(decibels, 1), "dB")

# %% [markdown]
# Above the truth, below the recovered scene: outline, colours and marks are where they should be. What is missing is
# sharpness, above all at the poles, where many texels meet in a few pixels.
#
# ### In other light
#
# Mesh and texture are files, and fit into any scene. Under a lamp and a darker sky:

# %%
lamp = {"type": "directional", "direction": [-1, -0.4, -0.6], "irradiance": 2.0}
files = {"mesh": "runs/fruit/scene/meshes/fruit.ply", "texture": next(Path("runs/fruit/scene/textures").glob("*.exr"))}
true_relit, our_relit = photograph([2.2, 0.8, 1.1], lamp=lamp)[0], photograph([2.2, 0.8, 1.1], **files, lamp=lamp)[0]
figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
show(axes[0], true_relit, "true fruit, lamp")
show(axes[1], our_relit, "recovered fruit, lamp")
show(axes[2], paint, "true texture")
show(axes[3], result.values["fruit.bsdf.reflectance.data"], "recovered texture")
plt.show()
print(f"PSNR under the lamp: {-10 * np.log10(np.mean((our_relit - true_relit)[..., :3] ** 2)):.1f} dB")

# %% [markdown]
# The two textures are not the same, texel by texel, although the fruits look alike: vertices have slid along the
# surface, and the paint with them. Only where a colour is on the surface can be seen, not which texel holds it.
#
# ## What can go wrong: the light was another one
#
# The same cameras, but the photographs were taken under the lamp and the darker sky, and the job still assumes an
# even sky.

# %%
capture("evening", 4 if QUICK else 12, lamp=lamp)
view = '{{ sensor = "train_{0}", target = "../capture/evening/evening_{0}.png", {1} }}'
encoding = 'color_space = "srgb", alpha = "composite"'
views = ", ".join(view.format(k, encoding) for k in range(4 if QUICK else 12))
quick = {"spp": "2", "batch": "1", "spp_evaluation": "2"} if QUICK else {}
baked = pbdr.optimize(
    pbdr.Problem.from_job("job", {**quick, "views": f"[{views}]"}), steps=2 if QUICK else 60, out="runs/baked"
)
print(f"loss {baked.loss_initial:.4f} → {baked.loss_final:.5f}, ", end="")
print(f"mean distance {baked.parameters['fruit.vertex_positions']['error']:.4f}")
files = {"mesh": "runs/baked/scene/meshes/fruit.ply", "texture": next(Path("runs/baked/scene/textures").glob("*.exr"))}
figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
axes[0].imshow(mi.Bitmap("capture/evening/evening_3.png"))
axes[0].set_title("a photograph", fontsize=10)
axes[0].set_axis_off()
show(axes[1], mi.Bitmap("runs/baked/images/after_3_train_3.exr"), "fit")
show(axes[2], baked.values["fruit.bsdf.reflectance.data"], "recovered texture")
show(axes[3], photograph([-2.2, -0.8, 1.1], **files)[0], "from the dark side, under the sky")
plt.show()

# %% [markdown]
# The shade went into the texture: it is dark where the lamp did not reach, and stays so under the sky. The shape
# suffers, too, not least because dark parts hardly stand out from the black background. A small loss proves little.
#
# What helps is to know the light, from [a ball](05_environment_map.ipynb) beside the object, or to make it an unknown
# with few numbers before the texture becomes one with many ([failure modes](../docs/failure_modes.md)).
#
# Also:
#
# - **Cameras that do not fit.** If another program's cameras are turned or mirrored, the first guess is not where the
#   photographs show the object. Look at `images/before_…` beside `images/target_…` in the run folder before you wait.
# - **Lens distortion.** Mitsuba has none: captures with it are refused, and undistorted first.
# - **Exposure.** Photographs with automatic exposure contradict each other; make it [an
#   unknown](04_texture_and_exposure.ipynb).
# - **The start is too far away.** The sphere should overlap the object in every photograph. Fine shapes need
#   [remeshing](07_shape_from_views.ipynb), which a mesh with texture coordinates does not allow: first the shape in one
#   colour, then coordinates from another program, then the texture.
