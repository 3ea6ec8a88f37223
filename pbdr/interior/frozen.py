"""Functions of a scene that are traced once and launched again: recording costs more than computing at few samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable

import drjit as dr
import mitsuba as mi

from ..errors import raise_interrupt
from ..packing import outline, pack, structure_key, unpack
from ..transport.emitter import prepare_textured_lamps, textured_meshes
from .stand_ins import StandIns

#: Functions remembered at once, a few for each view; and recordings of one that are tolerated: some, and one in so many
#: calls
_MOST_ENTRIES, _MOST_RECORDINGS, _CALLS_PER_RECORDING = 2048, 12, 3
#: Of Dr.Jit's own warnings
_NEVER = 2**31 - 1


class _Body:
    """What a frozen function calls, known only while it is called, so that nothing is kept alive."""

    def __init__(self) -> None:
        self.function: Callable | None = None
        self.arguments: object = None  #: structure of the arguments
        self.result: object = None  #: structure of the result, without arrays

    def __call__(self, scene: mi.Scene, sensor: mi.Sensor, arrays: list) -> list:
        result = self.function(scene, sensor, *unpack(self.arguments, arrays))
        self.result = outline(result)
        return pack(result)


@dataclasses.dataclass
class _Entry:
    """One function."""

    sensor: mi.Sensor
    body: _Body
    frozen: Callable | None  #: None once it was found to be recorded too often
    calls: int = 0
    recordings: int = 0


class Frozen:
    """Launches the kernels of earlier calls wherever those were the same function of the same scene.

    What fails when frozen is traced anew from then on, which the log says. Spectral variants always trace anew: their
    colours come from tables that Mitsuba shows to no recording, and a recording that fails can leave arrays of the
    scene at wrong places.
    """

    def __init__(self) -> None:
        self.works = not mi.is_spectral
        self.launched = 0  #: calls that traced nothing
        self._parts: list = []
        self._lamps: list[mi.Float] = []
        self._scalars: dict[str, str] = {}
        self._entries: dict[tuple, _Entry] = {}
        self._stand_ins = StandIns()

    def watch(self, scene: mi.Scene, parameters: mi.SceneParameters) -> bool:
        """Look at a scene before its functions are called; forget those of another scene or of one that has changed.

        Numbers that are no arrays, such as an index of refraction or the size of a film, are part of kernels, and so is
        what finds the points of a textured lamp, which Mitsuba makes anew when the mesh moves. Parts of the scene are
        kept, so that none is mistaken for a later one.

        Returns:
            Whether it is the scene of the last call, with all these numbers.
        """
        parts = [*scene.shapes(), *scene.emitters(), *scene.sensors()]
        scalars = {key: str(value) for key, value in parameters if not dr.is_jit_v(getattr(value, "matrix", value))}
        same = len(parts) == len(self._parts) and all(a is b for a, b in zip(parts, self._parts, strict=True))
        lamps = [dr.detach(mi.traverse(shape)["vertex_positions"]) for shape in textured_meshes(scene)]
        same = same and scalars == self._scalars and [v.index for v in lamps] == [v.index for v in self._lamps]
        if not same:
            self._parts, self._scalars, self._entries = parts, scalars, {}
            self._lamps = lamps
            self._stand_ins.clear()
            # No recording may do this
            prepare_textured_lamps(scene)
        return same

    def call(self, name: str, layout: Hashable, function: Callable, scene: mi.Scene, sensor: mi.Sensor, *arguments):
        """Call ``function(scene, sensor, *arguments)``.

        Arguments and result may be nested: dataclasses, tuples, lists, dictionaries. What is no array in them belongs
        to the layout.

        Args:
            name: What the function does.
            layout: All that its kernels depend on beside the arguments.
        """
        sensor = self._stand_ins.of(sensor)
        if not self.works:
            return function(scene, sensor, *arguments)
        entry = self._entry((name, id(sensor), layout, structure_key(arguments)), sensor)
        entry.calls += 1
        if entry.frozen is None:
            return function(scene, sensor, *arguments)
        body = entry.body
        body.function, body.arguments = function, arguments
        try:
            arrays = entry.frozen(scene, sensor, pack(arguments))
        except (RuntimeError, TypeError, ValueError) as error:
            raise_interrupt(error)
            self._give_up(f"{name}: {str(error).strip().splitlines()[0]}")
            return function(scene, sensor, *arguments)
        finally:
            body.function = body.arguments = None
        self.launched += entry.recordings == entry.frozen.n_recordings
        entry.recordings = entry.frozen.n_recordings
        if entry.recordings > max(_MOST_RECORDINGS, entry.calls // _CALLS_PER_RECORDING):
            entry.frozen = None
            mi.Log(mi.LogLevel.Info, f"'{name}' is traced anew instead of frozen: its inputs differ from step to step")
        return unpack(body.result, arrays)

    def _entry(self, key: tuple, sensor: mi.Sensor) -> _Entry:
        entry = self._entries.get(key)
        if entry is None or entry.sensor is not sensor:
            if len(self._entries) >= _MOST_ENTRIES:
                del self._entries[next(iter(self._entries))]
            body = _Body()
            frozen = dr.freeze(lambda *arguments: body(*arguments), warn_after=_NEVER)
            self._entries[key] = entry = _Entry(sensor, body, frozen)
        return entry

    def _give_up(self, reason: str) -> None:
        self.works, self._entries = False, {}
        mi.Log(mi.LogLevel.Info, f"steps are traced anew instead of frozen ({reason})")
