"""Comparing gradient estimators with references that have error bars.

The package can be called: ``pbdr.compare(scene, parameters, estimators)`` is ``pbdr.compare.study.compare``.
"""

from __future__ import annotations

import sys
import types

from .perturbations import Perturbation as Perturbation
from .references import Reference as Reference
from .references import central_differences as central_differences
from .result import Comparison as Comparison
from .statistics import assert_unbiased as assert_unbiased
from .study import compare as _compare


class _CallableModule(types.ModuleType):
    """This package as a function, so that ``pbdr.compare`` is both the call and the namespace."""

    __call__ = staticmethod(_compare)


sys.modules[__name__].__class__ = _CallableModule
