"""Inverse rendering: jobs, problems and the loop that solves them.

The package can be called: ``pbdr.optimize(problem)`` is ``pbdr.optimize.loop.optimize``.
"""

from __future__ import annotations

import sys
import types

from .job import Job as Job
from .job import load_job as load_job
from .loop import optimize as _optimize
from .outcome import Result as Result
from .outcome import Step as Step
from .problem import Problem as Problem
from .problem import View as View


class _CallableModule(types.ModuleType):
    """This package as a function, so that ``pbdr.optimize`` is both the call and the namespace."""

    __call__ = staticmethod(_optimize)


sys.modules[__name__].__class__ = _CallableModule
