"""What an integrator has learned of a scene."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import mitsuba as mi

from ..geometry.attachment import Attachment
from ..geometry.rough_lobes import RoughLobes
from ..scene_parameters import attached_values, require_derivatives, scene_parameters
from ..transport.caveats import caveats, clipping_caveats
from ..transport.vertices import Kept
from .frozen import Frozen


@dataclasses.dataclass
class Experience:
    """What recordings of an integrator have learned."""

    follows_lobes: bool = False  #: whether directions are drawn by the derivatives of lobes
    densities: dict[str, float] = dataclasses.field(default_factory=dict)  #: records of each kind per path, at most
    rooms: dict[str, float] = dataclasses.field(default_factory=dict)  #: for which there was room in the last pass
    frozen: Frozen = dataclasses.field(default_factory=Frozen)
    attached: tuple[str, ...] = ()  #: keys that carried derivatives when it was last asked
    #: By attached keys, and whether everything counts
    attachments: dict[tuple[tuple[str, ...], bool], Attachment] = dataclasses.field(default_factory=dict)
    kept: dict[tuple[tuple[str, ...], bool], Kept] = dataclasses.field(default_factory=dict)  #: likewise
    views: set[tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=set)  #: sensors, with attached keys
    said: set[str] = dataclasses.field(default_factory=set)  #: what the log has been told

    def look(self, scene: mi.Scene) -> mi.SceneParameters:
        """Forget what is true no more of a scene that has changed, or of another one. Returns its parameters."""
        parameters = scene_parameters(scene)
        if not self.frozen.watch(scene, parameters):
            self.attachments.clear()
            self.kept.clear()
        return parameters

    def attachment(self, scene: mi.Scene, *, everything: bool = False) -> Attachment:
        """What of a scene carries derivatives, or may be given some; asking each shape takes long, so answers are kept.

        Args:
            everything: Whether all materials, textures and emitters count.
        """
        parameters = self.look(scene)
        self.attached = tuple(attached_values(parameters))
        wanted = self.attached, everything
        if wanted not in self.attachments:
            require_derivatives(parameters, self.attached)
            attachment = Attachment.of_all(scene) if everything else Attachment.of(scene)
            lobes = RoughLobes.of(scene) if self.follows_lobes else None
            self.attachments[wanted] = dataclasses.replace(attachment, lobes=lobes)
            if not everything:
                self.say(caveats(scene))
        return self.attachments[wanted]

    def to_keep(self, scene: mi.Scene, *, reusable: bool) -> Kept:
        """What a recording of the scene as it was last looked at keeps of paths."""
        wanted = self.attached, reusable
        if wanted not in self.kept:
            self.kept[wanted] = Kept.of(scene, self.attachments[wanted], reusable=reusable)
        return self.kept[wanted]

    def look_through(self, scene: mi.Scene, sensor: mi.Sensor) -> None:
        """Warn of surfaces that the camera cuts, once for each sensor and all that is attached."""
        if (asked := (sensor.id(), self.attached)) not in self.views:
            self.views.add(asked)
            self.say(clipping_caveats(scene, sensor))

    def say(self, sentences: Sequence[str]) -> None:
        """Warn, once of each."""
        for sentence in sentences:
            if sentence not in self.said:
                mi.Log(mi.LogLevel.Warn, sentence)
        self.said.update(sentences)
