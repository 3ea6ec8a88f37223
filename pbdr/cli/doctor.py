"""``pbdr doctor``: what this installation can run, and how to repair what it cannot."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util

import typer

#: Compiles one kernel and asks for pbdr's integrator; run in a process of its own, which a bad LLVM may end
_TRIAL = """
import sys, pbdr, drjit as dr, mitsuba as mi
mi.set_variant(sys.argv[1])
assert dr.allclose(dr.sqrt(dr.arange(mi.Float, 4) + dr.opaque(mi.Float, 4)), [2, 5**0.5, 6**0.5, 7**0.5])
mi.load_dict({"type": "pbdr"})
"""
_EXTRAS = {"mesh": ("cholespy", "gpytoolbox", "trimesh"), "notebooks": ("ipykernel", "jupytext", "nbclient")}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    state: str  #: ``ok``, ``problem`` or ``note``
    detail: str
    fix: str = ""  #: one line; empty if nothing is to be done


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Say what this installation can run, and how to repair what it cannot.

    Ends with exit code 1 if neither LLVM nor CUDA works.
    """
    findings = [*version_findings(), *llvm_findings(), cuda_finding()]
    working = [v for v in ("llvm_ad_rgb", "cuda_ad_rgb") if any(f.subject == v and f.state == "ok" for f in findings)]
    _print(findings + variant_findings(working) + extra_findings())
    if not working:
        raise typer.Exit(1)


def version_findings() -> list[Finding]:
    """Versions of Python, pbdr and what it stands on."""
    import pbdr

    findings = [Finding("pbdr", "ok", f"{pbdr.__version__}, Python {platform.python_version()}, {platform.platform()}")]
    for package, supported in (("mitsuba", (3, 9)), ("drjit", (1, 5))):
        version = metadata.version(package)
        if tuple(int(part) for part in version.split(".")[:2]) == supported:
            findings.append(Finding(package, "ok", version))
        else:
            wanted = ".".join(map(str, supported))
            fix = f'pip install "{package}=={wanted}.*"'
            findings.append(Finding(package, "problem", f"{version}; pbdr is made for {wanted}", fix))
    return findings


def llvm_findings() -> list[Finding]:
    """Which LLVM Dr.Jit was pointed at, whether it works, and what became of the user's own choice."""
    import pbdr
    from pbdr.llvm import LLVM_VARIABLE, system_llvms

    choice, findings = pbdr.llvm_choice, []
    if choice.library is None:
        old = [f"{library.version} at {library.path}" for library in system_llvms()]
        detail = "no LLVM 17 or newer" + (f"; too old: {', '.join(old)}" if old else "")
        findings.append(Finding("LLVM", "problem", detail, _llvm_fix()))
    else:
        version = choice.library.version or "of unknown version"
        findings.append(Finding("LLVM", "ok", f"{version} at {choice.library.path}, from {choice.library.origin}"))
    if choice.remark:
        target = choice.library.path if choice.library else "a libLLVM file of version 17 or newer"
        findings.append(Finding(LLVM_VARIABLE, "note", choice.remark, f"export {LLVM_VARIABLE}={target}"))
    if choice.library:
        findings.append(_trial("llvm_ad_rgb", _llvm_fix()))
    return findings


def cuda_finding() -> Finding:
    """Whether CUDA and OptiX can be used, or why not."""
    from pbdr.variants import cuda_problem

    if problem := cuda_problem():
        return Finding(
            "CUDA", "note", f"not usable: {problem}", "not needed; for a GPU, install NVIDIA's driver 535 or newer"
        )
    return _trial("cuda_ad_rgb", "update NVIDIA's driver to 535 or newer")


def variant_findings(working: list[str]) -> list[Finding]:
    """The variants that can differentiate here."""
    import mitsuba as mi

    prefixes = tuple(name.split("_")[0] + "_ad_" for name in working)
    usable = [v for v in mi.variants() if prefixes and v.startswith(prefixes) and "polarized" not in v]
    if usable:
        return [Finding("variants", "ok", ", ".join(usable))]
    return [Finding("variants", "problem", "none can differentiate here")]


def extra_findings() -> list[Finding]:
    """Which optional dependencies are missing."""
    findings = []
    for extra, packages in _EXTRAS.items():
        missing = [package for package in packages if util.find_spec(package) is None]
        if missing:
            detail = f'optional; not installed: {", ".join(missing)} (pip install "pbdr[{extra}]")'
            findings.append(Finding(extra, "note", detail))
        else:
            findings.append(Finding(extra, "ok", ", ".join(packages)))
    return findings


def _llvm_fix() -> str:
    """How to get an LLVM that works."""
    from pbdr.llvm import packaged_llvm

    try:
        metadata.version("karellen-llvm-core")
    except metadata.PackageNotFoundError:
        return "pip install karellen-llvm-core"
    if packaged_llvm() is None:
        return "pip install --force-reinstall karellen-llvm-core (pip's --target leaves its library out: use a venv)"
    return "unset DRJIT_LIBLLVM_PATH"


def _trial(variant: str, fix: str) -> Finding:
    """Compile and run a kernel in another process."""
    command = [sys.executable, "-c", _TRIAL, variant]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=_environment())
    except subprocess.TimeoutExpired:
        return Finding(variant, "problem", "a first kernel took longer than two minutes", fix)
    if run.returncode == 0:
        return Finding(variant, "ok", "compiles and runs kernels; pbdr's integrators are registered")
    if run.returncode < 0:
        reason = f"a first kernel ended the process ({signal.Signals(-run.returncode).name})"
    else:
        reason = (run.stderr.strip().splitlines() or ["a first kernel failed"])[-1]
    return Finding(variant, "problem", reason, fix)


def _environment() -> dict[str, str]:
    """The environment of this process, with its import path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _print(findings: list[Finding]) -> None:
    """Show the findings as a table, then one line for each thing to do."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {"ok": "[green]ok[/]", "problem": "[red]problem[/]", "note": "[yellow]note[/]"}
    for finding in findings:
        table.add_row(finding.subject.replace("[", "\\["), styles[finding.state], finding.detail.replace("[", "\\["))
    console.print(table)
    for finding in findings:
        if finding.fix:
            console.print(f"{finding.subject}: {finding.fix}", markup=False, soft_wrap=True)
