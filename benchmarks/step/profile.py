"""Where the time of a gradient step goes: kernels by what they do, recording and launching, and the ray-casting floor.

python benchmarks/step/profile.py [--scene cornell_box ...] [--pixels 0] [--spp 16] [--write]

Prints milliseconds, the least of several steps for each entry. "Paths" is the kernel that follows paths, "replay" the
one that follows them again for the derivative, "records" the flat kernels over what was kept, "film" all others; the
rest is recording, compiling and launching. The floor is one kernel that casts the rays of the same number of path
vertices, one to the next vertex and one to a light each, and does nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import drjit as dr
import mitsuba as mi
import table
from cost import PARAMETERS, Setup, ours, stock

from pbdr.geometry.attachment import Attachment
from pbdr.interior import Store
from pbdr.transport import film as films
from pbdr.transport.vertices import Kept, PathRecords

REPEATS = 8


def kernels(step: Callable[[], object]) -> tuple[float, list[tuple[float, int, int]]]:
    """Wall-clock milliseconds of a step, and milliseconds, operations and lanes of each of its kernels."""
    dr.sync_thread()
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory):
        dr.kernel_history_clear()
        start = time.perf_counter()
        dr.eval(step())
        dr.sync_thread()
        wall = 1e3 * (time.perf_counter() - start)
        history = [k for k in dr.kernel_history() if k["type"] == dr.KernelType.JIT]
    return wall, [(k["execution_time"], k["operation_count"], k["size"]) for k in history]


def split(step: Callable[[], object], second: str) -> dict[str, float]:
    """The fastest of several steps, divided among its kernels.

    Args:
        second: What finds the derivative: ``replay`` is the kernel with most operations after the first, ``records``
            are all after the adjoint of each camera sample is known.
    """
    wall, found = min((kernels(step) for _ in range(REPEATS)), key=lambda pair: pair[0])
    paths = max(range(len(found)), key=lambda k: (found[k][1] > 1500, found[k][0] if k < len(found) / 2 else 0))
    if second == "replay":
        derivative = [max(found[paths + 1 :], key=lambda kernel: kernel[1])]
    else:
        adjoints = max(k for k in range(len(found)) if found[k][2] == found[paths][2])
        derivative = found[adjoints + 1 :]
    times = {"paths": found[paths][0], second: sum(kernel[0] for kernel in derivative)}
    times["film"] = sum(k[0] for k in found) - sum(times.values())
    return {"wall": wall, **times, "rest": wall - sum(times.values())}


def ray_floor(setup: Setup, integrator: mi.Integrator, spp: int) -> float:
    """Milliseconds of casting the rays of all path vertices."""
    scene = setup.scene
    kept = Kept.of(scene, Attachment.of_all(scene), reusable=True)
    with dr.suspend_grad():
        camera = integrator.camera(setup.sensor, films.Pass(spp, dr.opaque(mi.UInt32, 1), 1.0))
        path_count = dr.width(camera.ray.o)
        records = PathRecords(kept, [8 * path_count])
        path = integrator.trace(scene, camera, Store(records, path_count))
        dr.eval(path.L, records.arrays)
        vertices = records.vertices(camera.ray)
        p, ahead, to_light = vertices.ray.o, vertices.ray.d, vertices.light_d
        dr.eval(p, ahead, to_light, vertices.used)

        def cast() -> list:
            hit = scene.ray_intersect_preliminary(mi.Ray3f(p, ahead), coherent=False, active=vertices.used)
            return [hit.t, scene.ray_test(mi.Ray3f(p, to_light), coherent=False, active=vertices.used)]

        cast()
        return min(sum(k[0] for k in kernels(cast)[1]) for _ in range(REPEATS))


def main() -> None:
    """Print a table."""
    options = table.start(__doc__, PARAMETERS, pixels=0, spp=16)
    lines = [
        "| scene | step | wall | paths | derivative | film and loss | recording, launching | rays alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines, sep="\n")
    for name in options.scene:
        setup = Setup.of(name, options.pixels)
        for label, step, kind, second in (("stock", stock, "prb", "replay"), ("pbdr", ours, "pbdr", "records")):
            integrator = mi.load_dict({"type": kind, "max_depth": 6})
            for seed in range(4):
                dr.eval(step(setup, integrator, options.spp, seed))
            t = split(lambda step=step, integrator=integrator: step(setup, integrator, options.spp, 9), second)
            floor = f"{ray_floor(setup, integrator, options.spp):.1f}" if kind == "pbdr" else ""
            numbers = " | ".join(f"{t[key]:.1f}" for key in ("wall", "paths", second, "film", "rest"))
            lines.append(f"| {name} | {label} | {numbers} | {floor} |")
            print(lines[-1], flush=True)
    if options.write:
        table.write("profile.py", lines)


if __name__ == "__main__":
    main()
