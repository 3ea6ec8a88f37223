"""A run's folder: who works in it, what has been computed, and how to go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import platform
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import IO

import mitsuba as mi
import numpy as np
import tomlkit

from ..errors import InputError
from ..scene import Overrides, locate_scene, scene_files
from .job import Job


def job_text(job: Job) -> str:
    """A checked job as TOML, with absolute paths."""
    # A job has either one loss or a list
    return tomlkit.dumps(job.model_dump(exclude_none=True, exclude={"loss"} if job.losses else None))


def fingerprint(job: Job) -> str:
    """What makes two jobs the same run: all but the number of steps and what is written."""
    data = job.model_dump(exclude={"steps", "minutes", "stopping", "output", "description"})
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def json_text(data, *, indent: int | None = None) -> str:
    """JSON, in which numbers that are not finite are ``null``: JSON has no word for them.

    Example:
        >>> json_text({"loss": float("nan")})
        '{"loss": null}'
    """
    return json.dumps(_finite(data), indent=indent, allow_nan=False)


def _finite(data):
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


class Record:
    """An open run folder; closing it lets others use it.

    Example:
        >>> record = Record(Path("runs/box"), job, {"0_front": image}, resume=False)
        >>> record.save(meta={"step": 3}, arrays={"value/x": np.zeros(3)})
    """

    def __init__(
        self,
        folder: Path,
        job: Job,
        images: Mapping[str, np.ndarray],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ):
        self.folder = folder
        if folder.exists() and not folder.is_dir():
            raise InputError(f"'{folder}' is a file; a run needs a folder")
        has_run = (folder / "job.toml").exists()
        # A run that was stopped before its first line has left no more than these
        started = {".lock", "images", "checkpoints", "environment.json", "environment.json.partial", "job.toml.partial"}
        if folder.is_dir() and not has_run and {file.name for file in folder.iterdir()} - started:
            raise InputError(f"the folder '{folder}' holds other files; give a new one with --out")
        if resume and not has_run:
            raise InputError(f"there is no run in '{folder}' to resume")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            if has_run:
                self._check_existing(job, images, resume=resume, overwrite=overwrite)
            for name in ("images", "checkpoints"):
                (folder / name).mkdir(exist_ok=True)
            write_text(folder / "environment.json", json.dumps(_environment(job, images), indent=2))
            write_text(folder / "job.toml", job_text(job))
        except BaseException:
            self.close()
            raise

    def _check_existing(self, job: Job, images: Mapping[str, np.ndarray], *, resume: bool, overwrite: bool) -> None:
        state = "finished" if (self.folder / "result.json").exists() else "unfinished"
        if resume:
            previous = _read_environment(self.folder)
            if previous["job"] != fingerprint(job):
                raise InputError(f"'{self.folder}' holds a run of another job, or this job has changed since")
            now = {f"image '{name}'": _digest(image) for name, image in images.items()}
            now |= {f"file '{name}'": digest for name, digest in _scene_digests(job).items()}
            known = {f"image '{name}'": digest for name, digest in previous["images"].items()}
            known |= {f"file '{name}'": digest for name, digest in previous["files"].items()}
            for what, digest in now.items():
                if known.get(what, digest) != digest:
                    raise InputError(f"the {what} has changed since the run in '{self.folder}' began")
            return
        if not overwrite:
            raise InputError(
                f"'{self.folder}' already holds a run ({state}): go on with --resume, replace it with --overwrite, or "
                "give another folder with --out"
            )
        for pattern in ("images/*.exr", "images/*.png", "checkpoints/*", "history.jsonl", "result.json", "report.png"):
            for file in self.folder.glob(pattern):
                file.unlink()

    # ------------------------------------------------------------ checkpoints

    def save(self, meta: dict, arrays: dict[str, np.ndarray]) -> None:
        """Write a checkpoint so that a reader sees the old one or the new one, never a part.

        Args:
            meta: JSON data.
            arrays: By name; ``value/<key>`` holds a parameter, ``latent/…`` and ``state/…`` the optimizer's own.
        """
        file = self.folder / "checkpoints" / "latest.npz"
        temporary = file.with_suffix(".partial")
        with temporary.open("wb") as stream:
            np.savez(stream, meta=np.array(json_text(meta)), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        write_text(file.with_suffix(".json"), json_text(meta, indent=2))

    def load(self) -> tuple[dict, dict[str, np.ndarray]] | None:
        """The newest checkpoint, or None."""
        file = self.folder / "checkpoints" / "latest.npz"
        return read_checkpoint(file) if file.exists() else None

    # ---------------------------------------------------------------- history

    def keep_history(self, steps: int) -> None:
        """Drop history lines of steps that a checkpoint does not know."""
        file = self.folder / "history.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        known = [line for line in lines if (number := _step_of(line)) is not None and number < steps]
        write_text(file, "".join(line + "\n" for line in known))

    def append(self, line: dict) -> None:
        """Add a step to the history."""
        with (self.folder / "history.jsonl").open("a") as stream:
            stream.write(json_text(line) + "\n")

    def write_image(self, name: str, image: mi.TensorXf) -> None:
        """Write an image as EXR and as PNG."""
        bitmap = mi.Bitmap(mi.TensorXf(image))
        bitmap.write(str(self.folder / "images" / f"{name}.exr"))
        mi.util.write_bitmap(str(self.folder / "images" / f"{name}.png"), bitmap, write_async=False)

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()


def _read_environment(folder: Path) -> dict:
    file = folder / "environment.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"job": found["job"], "images": found.get("images", {}), "files": found.get("files", {})}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"'{file}', which tells what run this is, cannot be read: {error}; use --overwrite") from None


def _step_of(line: str) -> int | None:
    """The step that a line of the history is about; None for one that was cut off."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return None


def _lock(folder: Path) -> IO:
    """Hold a folder until the process ends, however it ends."""
    stream = (folder / ".lock").open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.seek(0)
        owner = stream.read().strip() or "unknown"
        stream.close()
        raise InputError(f"the run folder '{folder}' is in use by process {owner}") from None
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    return stream


def _digest(image: np.ndarray) -> str:
    """A hash of an image's numbers and shape."""
    image = np.ascontiguousarray(image, np.float32)
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _scene_digests(job: Job) -> dict[str, str]:
    """Hashes of the files that the scene consists of, by path; none of a scene without a file."""
    files = scene_files(locate_scene(job.scene), job.scene_parameters) if job.scene else []
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _environment(job: Job, images: Mapping[str, np.ndarray]) -> dict:
    packages = ("pbdr", "mitsuba", "drjit", "numpy", "karellen-llvm-core")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "variant": mi.variant(),
        "seed": job.seed,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "job": fingerprint(job),
        "images": {name: _digest(image) for name, image in images.items()},
        "files": _scene_digests(job),
    }


def write_text(file: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    temporary = file.with_name(file.name + ".partial")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def read_checkpoint(file: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Meta data and arrays of a checkpoint."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name != "meta"}
            return json.loads(str(content["meta"])), arrays
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InputError(f"the checkpoint '{file}' is damaged ({error}); begin anew with --overwrite") from None


def load_values(run: Path) -> tuple[Path, Overrides, list[str], dict[str, np.ndarray]]:
    """What is needed to write a run's scene again.

    Returns:
        The scene file, overrides for it, keys of textures to hold in full precision, and parameter values by key.
    """
    from .job import load_job

    if not (run / "job.toml").is_file():
        raise InputError(f"'{run}' is no run folder: it has no job.toml")
    file = run / "checkpoints" / "latest.npz"
    if not file.is_file():
        raise InputError(f"the run in '{run}' has no checkpoint yet")
    job = load_job(run / "job.toml")
    arrays = read_checkpoint(file)[1]
    values = {name.removeprefix("value/"): a for name, a in arrays.items() if name.startswith("value/")}
    return Path(job.scene), job.scene_parameters, list(values), values
