"""Which LLVM is chosen, on machines that this one is not: folders full of empty files stand for them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from pbdr import llvm


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    monkeypatch.setattr(metadata, "version", absent)


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """Pretend that the system has these libraries and no others."""
    for name in names:
        (folder / name).touch()
    monkeypatch.setattr(llvm, "_SYSTEM_FOLDERS", (str(folder),))
    monkeypatch.setattr(llvm.system_llvms, "__defaults__", ((str(folder),),))


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("libLLVM-14.so", 14),
        ("libLLVM-15.so.1", 15),
        ("libLLVM-14.0.6.so.1", 14),
        ("libLLVM.so.19.1", 19),
        ("libLLVM.so", None),
    ],
)
def test_version_is_read_from_the_name(tmp_path: Path, name: str, version: int | None):
    (tmp_path / name).touch()
    assert llvm.llvm_version(tmp_path / name) == version


def test_version_is_read_from_the_target_of_a_link(tmp_path: Path):
    (tmp_path / "libLLVM.so.21.1").touch()
    (tmp_path / "libLLVM.so").symlink_to("libLLVM.so.21.1")
    assert llvm.llvm_version(tmp_path / "libLLVM.so") == 21


def test_version_is_read_from_symbol_versions(tmp_path: Path):
    library = tmp_path / "libLLVM.so"
    library.write_bytes(b"\x7fELF....\0libm.so.6\0LLVM_18.1\0GLIBC_2.34\0")
    assert llvm.llvm_version(library) == 18


def test_packaged_library_exists_and_is_new_enough():
    library = llvm.packaged_llvm()
    assert library is not None
    assert library.path.is_file() and not library.path.is_symlink()
    assert library.version >= llvm.OLDEST_LLVM


def test_newest_usable_system_library_is_taken(monkeypatch, tmp_path, no_package):
    machine(monkeypatch, tmp_path, "libLLVM-14.so", "libLLVM-15.so.1", "libLLVM-17.so.1", "libLLVM.so.19.1")
    assert llvm.choose_llvm(None).library.version == 19


def test_a_machine_with_only_old_libraries_gets_none(monkeypatch, tmp_path, no_package):
    machine(monkeypatch, tmp_path, "libLLVM-14.so", "libLLVM-15.so.1", "libLLVM-16.so.1")
    assert llvm.choose_llvm(None).library is None


def test_the_package_goes_before_the_system(monkeypatch, tmp_path):
    machine(monkeypatch, tmp_path, "libLLVM.so.99.1")
    assert llvm.choose_llvm(None).library.origin == "the package karellen-llvm-core"


def test_the_users_file_goes_before_everything(tmp_path):
    (tmp_path / "libLLVM.so.19.1").touch()
    choice = llvm.choose_llvm(str(tmp_path / "libLLVM.so.19.1"))
    assert (choice.library.version, choice.library.origin, choice.remark) == (19, "DRJIT_LIBLLVM_PATH", "")


def test_a_folder_is_accepted_and_explained(tmp_path):
    for name in ("libLLVM-15.so.1", "libLLVM.so.19.1"):
        (tmp_path / name).touch()
    choice = llvm.choose_llvm(str(tmp_path))
    assert choice.library.path == tmp_path / "libLLVM.so.19.1"
    assert "is a folder" in choice.remark


def test_a_users_old_library_is_passed_over(tmp_path):
    (tmp_path / "libLLVM-15.so").touch()
    choice = llvm.choose_llvm(str(tmp_path / "libLLVM-15.so"))
    assert choice.library.version >= llvm.OLDEST_LLVM
    assert "names LLVM 15" in choice.remark


def test_a_path_without_library_is_passed_over(tmp_path):
    choice = llvm.choose_llvm(str(tmp_path / "nowhere"))
    assert choice.library.version >= llvm.OLDEST_LLVM
    assert "no LLVM library" in choice.remark
