"""pbdr: physically based differentiable path tracing for Mitsuba 3."""

from __future__ import annotations

from . import registry, variants

variants.provide_llvm()
registry.install()
