"""Seeds, the only way by which randomness enters, and numbers of samples."""

from __future__ import annotations

import hashlib
import numbers

from .errors import InputError

#: Samples per pixel at most: Mitsuba counts them in 32 bits
MOST_SAMPLES = 2**32 - 1


def require_samples(spp: int, least: int = 1, name: str = "spp") -> None:
    """Refuse numbers of samples per pixel that cannot be taken."""
    if not isinstance(spp, numbers.Integral) or not least <= spp <= MOST_SAMPLES:
        raise InputError(f"'{name}' must be a whole number from {least} to {MOST_SAMPLES}, got {spp}")


def derive_seed(seed: int, *labels: int | str) -> int:
    """An independent 32-bit seed for a named part of a computation.

    Neighbouring seeds of Dr.Jit's PCG32 give shifted copies of one stream, so every independent pass hashes its own.

    Args:
        seed: The user's seed.
        labels: What the new seed is for, e.g. ``derive_seed(seed, "boundary", view)``.

    Returns:
        An integer in [0, 2³²).

    Example:
        >>> derive_seed(0, "gradient") != derive_seed(0, "primal")
        True
    """
    text = ":".join(str(part) for part in (int(seed), *labels))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
