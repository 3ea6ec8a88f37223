"""Registration of the Mitsuba plugins in ``plugins/``, anew for every variant."""

from __future__ import annotations

import importlib
import sys
import types

from . import resources

_PACKAGE = "pbdr.plugins"


def register_plugins() -> None:
    """Execute every file of ``plugins/`` against the active variant.

    Mitsuba classes differ between variants, so a plugin class is born again for each of them. Scalar variants have no
    automatic differentiation and register nothing.
    """
    import mitsuba as mi

    variant = mi.variant()
    if variant is None or "_ad_" not in variant:
        return
    for name in [n for n in sys.modules if n == _PACKAGE or n.startswith(_PACKAGE + ".")]:
        del sys.modules[name]
    # The folder is a package wherever it lies, so that plugins can import `pbdr.plugins.common`
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [str(resources.folder("plugins"))]
    sys.modules[_PACKAGE] = package
    sys.modules["pbdr"].plugins = package
    for file in sorted(resources.folder("plugins").glob("*.py")):
        importlib.import_module(f"{_PACKAGE}.{file.stem}")


def _on_variant_change(old: str | None, new: str | None) -> None:
    """Register for the new variant; an exception here would escape through the user's ``mi.set_variant``."""
    import mitsuba as mi

    try:
        register_plugins()
    except Exception as error:
        # A log message of level Error would itself raise
        mi.Log(mi.LogLevel.Warn, f"pbdr: its integrators are not available in '{new}': {error}")


def install() -> None:
    """Register for the current variant, if there is one, and for every later one."""
    import mitsuba as mi

    mi.detail.add_variant_callback(_on_variant_change)
    register_plugins()
