"""Starting up in fresh processes: order of imports, variants, LLVM."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from pbdr.llvm import system_llvms

RENDER = """
def works(variant):
    mi.set_variant(variant)
    scene = mi.load_dict({"type": "scene", "e": {"type": "constant"},
        "s": {"type": "perspective", "film": {"type": "hdrfilm", "width": 4, "height": 4}}})
    image = mi.render(scene, integrator=mi.load_dict({"type": "pbdr"}), spp=1)
    assert dr.all(image > 0.1, axis=None), image
"""
IMPORTS = "import pbdr\nimport drjit as dr, mitsuba as mi\n"

#: Hides the package that brings LLVM
NO_PACKAGE = """
from importlib import metadata
_files, _version = metadata.files, metadata.version
def _hidden(real):
    def ask(name):
        if name == "karellen-llvm-core":
            raise metadata.PackageNotFoundError(name)
        return real(name)
    return ask
metadata.files, metadata.version = _hidden(_files), _hidden(_version)
"""
#: Makes the system's LLVM look as if only versions 14 to 16 were there
ONLY_OLD = (
    "\nimport pbdr.llvm\npbdr.llvm.system_llvms = lambda *folders: []\npbdr.llvm_choice = pbdr.llvm.provide_llvm()\n"
)

old_library = next((str(lib.path) for lib in system_llvms() if lib.version in (15, 16)), None)
needs_old_library = pytest.mark.skipif(old_library is None, reason="this machine has no LLVM 15 or 16 to stumble over")


def test_import_is_silent_and_sets_no_variant(fresh_python):
    outcome = fresh_python("import pbdr, mitsuba as mi; assert mi.variant() is None")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_import_after_a_variant_is_silent_and_registers(fresh_python):
    # Dr.Jit is imported first here, so it is told which LLVM to take
    from pbdr import llvm_choice

    code = "import drjit as dr, mitsuba as mi\nmi.set_variant('llvm_ad_rgb')\nimport pbdr\n" + RENDER
    code += "assert mi.variant() == 'llvm_ad_rgb'\nworks('llvm_ad_rgb')"
    outcome = fresh_python(code, DRJIT_LIBLLVM_PATH=str(llvm_choice.library.path))
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_plugins_follow_the_variant(fresh_python):
    code = IMPORTS + "mi.set_log_level(mi.LogLevel.Error)\n" + RENDER
    code += "for variant in ('llvm_ad_rgb', 'llvm_ad_spectral'): works(variant)\n"
    code += "mi.set_variant('scalar_rgb')\n"
    code += "try: mi.load_dict({'type': 'pbdr'})\nexcept RuntimeError as error: assert 'not found' in str(error)\n"
    code += "else: raise SystemExit('registered in a scalar variant')\n"
    code += "for variant in ('llvm_ad_mono', 'llvm_ad_rgb', 'llvm_ad_rgb'): works(variant)\n"
    code += "mi.set_variant('llvm_ad_mono_polarized'); mi.set_variant('scalar_spectral'); works('llvm_ad_rgb')\n"
    outcome = fresh_python(code)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


def test_a_broken_plugin_does_not_break_set_variant(fresh_python, tmp_path: Path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('out of order')\n", encoding="utf-8")
    code = "import pbdr, mitsuba as mi\nfrom pathlib import Path\n"
    code += f"pbdr.resources.folder = lambda name: Path({str(tmp_path)!r})\n"
    code += "mi.set_variant('llvm_ad_rgb'); print(mi.variant())"
    outcome = fresh_python(code)
    assert outcome.code == 0
    assert outcome.stdout.endswith("llvm_ad_rgb\n")
    assert "out of order" in outcome.stdout + outcome.stderr


@needs_old_library
@pytest.mark.parametrize("before", ["", "mi.set_variant('llvm_ad_spectral')\n"])
def test_an_old_library_that_drjit_took_by_itself_is_replaced(fresh_python, before: str):
    code = "import drjit as dr, mitsuba as mi\nassert 15 <= dr.detail.llvm_version()[0] <= 16\n" + before
    code += "import pbdr\nassert dr.detail.llvm_version()[0] >= 17\n" + RENDER + "works('llvm_ad_rgb')"
    outcome = fresh_python(code, DRJIT_LIBLLVM_PATH=old_library)
    assert (outcome.code, outcome.stderr) == (0, "")


@needs_old_library
def test_with_a_scene_in_memory_an_old_library_stays_and_is_named(fresh_python):
    code = "import drjit as dr, mitsuba as mi\nmi.set_variant('llvm_ad_rgb')\n"
    code += "sphere = mi.load_dict({'type': 'sphere'})\nimport pbdr"
    outcome = fresh_python(code, DRJIT_LIBLLVM_PATH=old_library)
    assert outcome.code == 1
    assert "ImportError: Dr.Jit has loaded LLVM 1" in outcome.stderr and "import pbdr before drjit" in outcome.stderr


def test_drjit_that_found_no_library_is_named(fresh_python):
    outcome = fresh_python("import drjit as dr\nimport pbdr", DRJIT_LIBLLVM_PATH="/nowhere/libLLVM.so")
    has_gpu = fresh_python(IMPORTS + "raise SystemExit(dr.has_backend(dr.JitBackend.CUDA))").code
    if not has_gpu:
        assert outcome.code == 1
        assert "ImportError: Dr.Jit was imported before pbdr and has found no LLVM by itself" in outcome.stderr


def test_a_folder_in_the_variable_works(fresh_python):
    from pbdr import llvm_choice

    folder = str(llvm_choice.library.path.parent)
    outcome = fresh_python(IMPORTS + RENDER + "works('llvm_ad_rgb')", DRJIT_LIBLLVM_PATH=folder)
    assert (outcome.code, outcome.stderr) == (0, "")


@pytest.mark.parametrize("first", ["", "import drjit, mitsuba\n"])
def test_without_usable_library_nothing_aborts(fresh_python, first: str):
    code = first + NO_PACKAGE + ONLY_OLD + "import mitsuba as mi\nmi.set_variant('llvm_ad_rgb')"
    outcome = fresh_python(code)
    assert outcome.code == 1, "an abort would give a negative code"
    assert "LLVM" in outcome.stderr.splitlines()[-1]


def test_without_usable_library_commands_say_so(fresh_python, tmp_path: Path):
    code = NO_PACKAGE + ONLY_OLD + "from pbdr.cli import main\nimport sys\nmain(sys.argv[1:])"
    outcome = fresh_python(code, "render", "cornell_box", "-o", str(tmp_path / "a.png"), "--variant", "llvm_ad_rgb")
    assert outcome.code == 2
    assert "error: the variant 'llvm_ad_rgb' cannot run here: no LLVM 17 or newer was found" in outcome.stderr
    outcome = fresh_python(code, "doctor")
    assert "no LLVM 17 or newer" in outcome.stdout and "pip install karellen-llvm-core" in outcome.stdout


def test_the_wheel_brings_one_package_and_all_its_parts():
    try:
        files = [str(file) for file in metadata.files("pbdr") or []]
    except metadata.PackageNotFoundError:
        pytest.skip("pbdr runs from a bare checkout")
    if "pbdr/errors.py" not in files:
        pytest.skip("pbdr is installed in editable mode")
    inside = [file for file in files if not file.startswith("..")]
    assert {file.split("/")[0].split("-")[0] for file in inside} == {"pbdr"}
    wanted = {"pbdr/py.typed", "pbdr/plugins/pbdr.py", "pbdr/scenes/cornell_box/scene.xml"}
    assert wanted <= set(files)
