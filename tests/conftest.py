"""Fixtures for all tests: the variant, the command line, and fresh Python processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Before Mitsuba: Dr.Jit looks for LLVM when it is imported
import pbdr  # isort: split

import mitsuba as mi

from pbdr.cli import main

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session", autouse=True)
def quiet_mitsuba() -> None:
    """Only errors: warnings of Mitsuba's logger are no Python warnings."""
    assert pbdr.llvm_choice.library is not None, "the tests need an LLVM that Dr.Jit can use: see pbdr doctor"
    mi.set_variant("llvm_ad_rgb")
    mi.set_log_level(mi.LogLevel.Error)


@pytest.fixture(autouse=True)
def variant() -> str:
    """Every test starts in ``llvm_ad_rgb``; one that needs another variant sets it itself."""
    mi.set_variant("llvm_ad_rgb")
    return "llvm_ad_rgb"


@pytest.fixture
def pbdr_command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``pbdr`` with arguments in this process.

    Example:
        >>> assert pbdr_command("render", "nowhere.xml", "-o", "a.png").code == 2
    """

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        captured = capfd.readouterr()
        mi.set_log_level(mi.LogLevel.Error)
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def fresh_python() -> Callable[..., Outcome]:
    """Run a piece of Python in a process of its own, with this one's import path and the given environment."""

    def run(code: str, *arguments: str, timeout: float = 120, **environment: str) -> Outcome:
        variables = {key: value for key, value in os.environ.items() if key != "DRJIT_LIBLLVM_PATH"}
        # An explicit PYTHONPATH is put in front of this process's, so that a test can shadow a module
        path = [environment.pop("PYTHONPATH", ""), *sys.path]
        variables |= {"PYTHONPATH": os.pathsep.join(p for p in path if p), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=variables, capture_output=True, text=True, timeout=timeout
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
