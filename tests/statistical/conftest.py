"""Fixtures for tests that compile many kernels."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def frozen_imports() -> None:
    """What is there before the first test is never looked at again when garbage is collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_earlier_scenes(frozen_imports: None) -> None:
    """Scenes in memory decide about numbers of shapes and materials, and those about kernels that are found again."""
    gc.collect()
