"""Sensors that stand in for the cameras of a scene, so that all views launch the same frozen functions.

A scene holds its sensors. Given one of these besides, a frozen function sees some arrays twice, at other places for
each view, and is recorded for each. Numbers that are equal by chance, as zeros in the matrices of some views, would
also be told apart: stand-ins hold an array of its own for each number.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from ..transport.sensor import sensor_parameters

#: Places that are remembered at once
_MOST_PLACES = 1024


class _StandIn:
    """One camera without a place, and where it is at present."""

    def __init__(self, sensor: mi.Sensor):
        params = mi.traverse(sensor)
        self.sensor = mi.load_dict(
            {
                "type": "perspective",
                "fov": 45.0,
                "fov_axis": "x",
                "near_clip": sensor.near_clip(),
                "far_clip": sensor.far_clip(),
                "shutter_open": params["shutter_open"],
                "shutter_close": params["shutter_open"] + params["shutter_open_time"],
                "film": sensor.film(),
                "sampler": sensor.sampler(),
            }
        )
        self._params = mi.traverse(self.sensor)
        self._place: _Place | None = None

    def move_to(self, place: _Place) -> None:
        """Put this camera where another one is."""
        if place is self._place:
            return
        for key, numbers in place.numbers.items():
            self._params[key] = _fresh(type(self._params[key]), numbers)
        self._params.update()
        dr.make_opaque(self.sensor)
        self._place = place


class _Place:
    """Where a camera is, and what it sees from there."""

    def __init__(self, values: dict):
        # Copies: a traversal shows what the sensor holds at any time
        self._values = {key: type(value)(value) for key, value in values.items()}
        self.numbers = {key: _numbers(value) for key, value in values.items()}

    def holds(self, values: dict) -> bool:
        """Whether these are the arrays that it was made of."""
        return _indices(values) == _indices(self._values)


def _indices(values: dict) -> list[int]:
    return dr.detail.collect_indices([getattr(value, "matrix", value) for value in values.values()])


def _numbers(value) -> list[np.ndarray]:
    """The numbers of a value; of a transform those of its matrix and of its inverse transpose."""
    parts = [value.matrix, value.inverse_transpose] if hasattr(value, "matrix") else [value]
    return [np.array(part, np.float64).reshape(np.shape(part)[:2]) for part in parts]


def _fresh(kind: type, numbers: list[np.ndarray]):
    """A value in which each number has an array of its own."""
    if len(numbers) == 1:
        return kind([float(numbers[0].item())])
    rows = [[[mi.Float([float(number)]) for number in row] for row in matrix] for matrix in numbers]
    return kind(*map(mi.Matrix4f, rows))


class StandIns:
    """What takes the place of sensors."""

    def __init__(self) -> None:
        self._by_kind: dict[str, _StandIn] = {}
        self._places: dict[int, _Place] = {}
        self._filters: dict[int, tuple[mi.Film, bytes]] = {}

    def clear(self) -> None:
        """Forget all sensors."""
        self._by_kind, self._places, self._filters = {}, {}, {}

    def of(self, sensor: mi.Sensor) -> mi.Sensor:
        """A camera outside the scene with the place of a sensor; the sensor itself unless it is one at rest."""
        # Response functions of spectral sensors are not told, and cannot be handed on
        if sensor.class_name() != "PerspectiveCamera" or mi.is_spectral:
            return sensor
        values = sensor_parameters(sensor)
        if any(map(dr.grad_enabled, values.values())):
            return sensor
        ends = sensor.near_clip(), sensor.far_clip(), sensor.shutter_open(), sensor.shutter_open_time()
        kind = f"{ends} {sensor.film()} {sensor.sampler()} {self._filter(sensor.film())}"
        if kind not in self._by_kind:
            self._by_kind[kind] = _StandIn(sensor)
        place = self._places.get(id(sensor))
        if place is None or not place.holds(values):
            if len(self._places) >= _MOST_PLACES:
                self.clear()
                return self.of(sensor)
            place = self._places[id(sensor)] = _Place(values)
        self._by_kind[kind].move_to(place)
        return self._by_kind[kind].sensor

    def _filter(self, film: mi.Film) -> bytes:
        """The reconstruction filter of a film: its description is rounded."""
        if id(film) not in self._filters:
            reach = dr.linspace(mi.Float, 0, film.rfilter().radius(), 16)
            self._filters[id(film)] = film, np.array(film.rfilter().eval(reach)).tobytes()
        return self._filters[id(film)][1]
