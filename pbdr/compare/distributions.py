"""Student's t and χ² tail probabilities, from the incomplete beta and gamma functions."""

from __future__ import annotations

import math
import statistics

_NORMAL = statistics.NormalDist()
_TINY = 1e-300


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (modified Lentz), for x below its turning point."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _nonzero(1 + numerator * d)
            c = _nonzero(1 + numerator / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return fraction


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularized incomplete beta function I_x(a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def t_tail(t: float, freedom: float) -> float:
    """Two-sided tail probability P(|T| ≥ |t|) of Student's t.

    Example:
        >>> round(t_tail(2.131, 15), 3)
        0.05
    """
    if math.isinf(t):
        return 0.0
    if math.isinf(freedom):
        return math.erfc(abs(t) / math.sqrt(2))
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile(tail: float, freedom: float) -> float:
    """The t above which a two-sided tail probability remains; the inverse of ``t_tail``.

    Example:
        >>> round(t_quantile(0.05, 15), 2)
        2.13
    """
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > tail:
        high *= 2
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if t_tail(middle, freedom) > tail else (low, middle)
    return 0.5 * (low + high)


def normal_score(tail: float) -> float:
    """The |z| of a standard normal with this two-sided tail probability."""
    return -_NORMAL.inv_cdf(max(tail, _TINY) / 2) if tail < 1 else 0.0


def chi_square_tail(value: float, freedom: int) -> float:
    """Upper tail probability P(χ² ≥ value).

    Example:
        >>> round(chi_square_tail(18.307, 10), 3)
        0.05
    """
    if math.isinf(value):
        return 0.0
    a, x = freedom / 2, value / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        # Series of the lower incomplete gamma function
        term = total = 1.0 / a
        k = a
        while abs(term) > 1e-16 * abs(total):
            k += 1
            term *= x / k
            total += term
        return 1 - front * total
    # Continued fraction of the upper one
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for k in range(1, 10000):
        numerator = -k * (k - a)
        b += 2
        d = 1 / _nonzero(numerator * d + b)
        c = _nonzero(b + numerator / c)
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * fraction


def sidak(confidence: float, count: int) -> float:
    """Significance level of each of ``count`` tests such that all pass together with the given confidence."""
    return -math.expm1(math.log(confidence) / count)
