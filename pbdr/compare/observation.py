"""What an estimator says and takes while it runs: warnings, memory."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator

import drjit as dr
import mitsuba as mi


@contextlib.contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Collect what Mitsuba's log and Python's warnings say, instead of printing it."""
    messages: list[str] = []

    class Recorder(mi.Appender):
        def append(self, level, text):
            # Without date, level and place, which change from run to run
            messages.append(re.sub(r"^.*?\] ", "", text.replace("\n", " "))[:200])

        def log_progress(self, progress, name, formatted, eta, ptr=None):
            pass

    logger, recorder = mi.logger(), Recorder()
    appenders = [logger.appender(i) for i in range(logger.appender_count())]
    logger.clear_appenders()
    logger.add_appender(recorder)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
        messages += [str(warning.message)[:200] for warning in caught]
    finally:
        logger.remove_appender(recorder)
        for appender in appenders:
            logger.add_appender(appender)


def peak_memory(run: Callable[[], object]) -> float:
    """Peak memory of Dr.Jit's arrays while something runs, above what was in use before, MiB."""
    dr.sync_thread()
    # Freed arrays stay in a cache that counts as use
    dr.flush_malloc_cache()
    backend = dr.backend_v(mi.Float)
    dr.detail.malloc_clear_statistics()
    before = dr.detail.malloc_watermark(backend)
    run()
    return max(0, dr.detail.malloc_watermark(backend) - before) / 2**20
