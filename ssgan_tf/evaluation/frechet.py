"""Frechet distance between two sets of features, in float64, in one pass over each.

    d^2 = |m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2))

is the squared 2-Wasserstein distance between the Gaussians N(m, C) and N(m', C')
(Dowson and Landau). On Inception's features it is the FID (Heusel et al.).

Reference:
    - Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X
    - Heusel et al., 2017, https://arxiv.org/abs/1706.08500
    - Chan, Golub and LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import threadpoolctl

from ssgan_tf.evaluation import arrays


class Moments(NamedTuple):
    """Mean and covariance of features.

    Attributes:
        mean: float64, (d,).
        covariance: float64, (d, d), symmetric, positive semi-definite; divisor N - 1.
    """

    mean: np.ndarray
    covariance: np.ndarray


def moments(batches: Iterable[np.ndarray]) -> Moments:
    """Mean and covariance of features that come in batches; none is kept.

    Batches are centred on their own mean before anything is squared, and joined by

        S = S_1 + S_2 + n_1 n_2 / (n_1 + n_2) (m_2 - m_1)(m_2 - m_1)^T

    (Chan et al.), so that a mean that is large beside the deviations costs no digits.
    Batches of a thousand rows or more are fastest.

    Args:
        batches: finite floats or integers, (n, d), n >= 1, one d for all, of two rows
            or more in all.

    Raises:
        ValueError: they are not as described.
    """
    count, mean, scatter = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        rows = arrays.check("batch", batch, (None, *(mean.shape or [None])))
        total = count + len(rows)
        batch_mean = rows.mean(axis=0)
        shift = batch_mean - mean
        # The last row adds the term of the means to the same product.
        deviations = np.vstack(
            [rows - batch_mean, shift * np.sqrt(count * len(rows) / total)]
        )
        scatter = scatter + deviations.T @ deviations
        mean = mean + shift * (len(rows) / total)
        count = total
    arrays.check_least(2, num_features=count)
    return Moments(mean, scatter / (count - 1))


def distance(real: Moments, fake: Moments) -> float:
    """The d^2 above, in the squared unit of the features.

    Symmetric; 0 for equal moments up to rounding, which can leave a negative number of
    the order of 1e-15 Tr C. TFGAN sets the roots of eigenvalues of C C' below 1e-10 to
    zero: its value is larger by up to 2e-5 for each.

    Args:
        real: moments of one set of features.
        fake: moments of the other, of the same width.

    Raises:
        ValueError: their widths differ, or they are not finite.
    """
    for name, (mean, covariance) in {"real": real, "fake": fake}.items():
        arrays.check(f"{name}.mean", mean, real.mean.shape)
        arrays.check(f"{name}.covariance", covariance, real.mean.shape * 2)
    shift = real.mean - fake.mean
    traces = np.trace(real.covariance) + np.trace(fake.covariance)
    root = _trace_of_root(real.covariance, fake.covariance)
    return float(shift @ shift + traces - 2 * root)


def interval(
    real_features: np.ndarray, fake_features: np.ndarray
) -> tuple[float, float]:
    """95 % interval of the distance over other sets of as many images: d^2 -+ 1.96 s.

    s^2 is the variance of d^2 to first order in the weights of the rows, V / n + V' / m
    with V and V' the variances of the rows' influences (the infinitesimal jackknife).
    The influence of a row x of the fakes is, up to a constant,

        psi(x) = m / (m - 1) (x - m')^T (I - T) (x - m') + 2 (x - m')^T (m' - m)

    with T the optimal map from the fakes' Gaussian to the reals'. The bootstrap would
    overestimate s: its samples have fewer distinct rows than other images would, and
    much of d^2 is the noise of the covariances.

    For comparing scores of one protocol. The bias of d^2 is not included.

    Args:
        real_features: floats, (n, d), n >= 2.
        fake_features: floats, (m, d), m >= 2.

    Returns:
        The two ends; the lower one may be negative.

    Raises:
        ValueError: see `moments`.

    Reference:
        - Efron, 1982, The Jackknife, the Bootstrap and Other Resampling Plans, 6
    """
    real, fake = (moments(_parts(rows)) for rows in (real_features, fake_features))
    middle = distance(real, fake)
    pairs = (real_features, real, fake), (fake_features, fake, real)
    variance = sum(_influences(*pair).var(ddof=1) / len(pair[0]) for pair in pairs)
    half = 1.96 * float(np.sqrt(variance))
    return middle - half, middle + half


def _influences(rows: np.ndarray, own: Moments, other: Moments) -> np.ndarray:
    """psi of every row, up to a constant; `own` are the moments of the rows."""
    bend = np.eye(len(own.mean)) - _map(own.covariance, other.covariance)
    # The covariance has the divisor N - 1.
    bend *= len(rows) / (len(rows) - 1)
    shift = 2 * (own.mean - other.mean)
    parts = []
    for part in _parts(rows):
        deviations = part.astype(np.float64) - own.mean
        parts.append(((deviations @ bend + shift) * deviations).sum(axis=1))
    return np.concatenate(parts)


def _map(covariance: np.ndarray, other: np.ndarray) -> np.ndarray:
    """T with T C T = C', symmetric: C^(-1/2) (C^(1/2) C' C^(1/2))^(1/2) C^(-1/2).

    If C is singular, T is the map on the range of C.
    """
    values, vectors = scipy.linalg.eigh(covariance)
    positive = values > values[-1] * len(values) * np.finfo(float).eps
    values, vectors = values[positive], vectors[:, positive]
    root = vectors * np.sqrt(values)
    inner_values, inner_vectors = scipy.linalg.eigh(root.T @ other @ root)
    inner = inner_vectors * np.sqrt(np.sqrt(np.maximum(inner_values, 0)))
    outer = (vectors / np.sqrt(values)) @ inner
    return outer @ outer.T


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """Splits rows into parts of about a thousand."""
    return np.array_split(rows, max(1, -(-len(rows) // 1024)))


def _trace_of_root(covariance: np.ndarray, other: np.ndarray) -> float:
    """Tr (C C')^(1/2) for C = F F^T, C' = G G^T: the sum of F^T G's singular values.

    C C' = F (F^T G G^T) and (F^T G)(F^T G)^T have the same nonzero eigenvalues, whose
    roots are those singular values. The eigenvalues of F^T C' F take half the time, but
    their roots have half the digits: a zero comes out as 1e-16 of the largest
    eigenvalue, its root as 1e-8.
    """
    product = _factor(covariance).T @ _factor(other)
    # One thread: the many small steps take ten times as long on shared cores, as
    # threads wait for each other.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        return scipy.linalg.svdvals(product).sum()


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F F^T = C, one column per dimension of C's range: pivoted Cholesky.

    A covariance is singular if there are fewer images than features or a feature is
    constant. Cholesky's method fails there without pivots; with pivots it stops at
    remainders below d 2^-53 of the largest variance. It is applied to the correlations,
    where every feature has variance 1.
    """
    deviations = np.sqrt(np.diag(covariance))
    scales = np.where(deviations > 0, deviations, 1)
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(
        covariance / np.outer(scales, scales), lower=1
    )
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return deviations[:, np.newaxis] * factor
