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
    How the features are divided into batches matters to the time only: each takes one
    product of a (d, n) by an (n, d) matrix, of best use from about a thousand rows on.

    Args:
        batches: floats or integers, (n, d), n >= 1, one d for all.

    Raises:
        ValueError: a batch is of another shape, a feature is not finite, or there are
            fewer than two rows in all.
    """
    count, mean, scatter = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        rows = _check_rows(batch, width=len(mean) if count else None)
        total = count + len(rows)
        batch_mean = rows.mean(axis=0)
        shift = batch_mean - mean
        # The last row adds the term of the means within the same product.
        deviations = np.vstack(
            [rows - batch_mean, shift * np.sqrt(count * len(rows) / total)]
        )
        scatter = scatter + deviations.T @ deviations
        mean = mean + shift * (len(rows) / total)
        count = total
    if count < 2:
        raise ValueError(
            "A covariance needs two rows of features or more. Received: "
            f"count={count}. Use more images."
        )
    return Moments(mean, scatter / (count - 1))


def distance(real: Moments, fake: Moments) -> float:
    """The d^2 above, in the squared unit of the features.

    Symmetric; 0 for equal moments, where rounding can leave a negative number of the
    order of 1e-15 Tr C. TFGAN's value is larger by up to 2e-5 for each eigenvalue of
    C C' below 1e-10, of which it takes no root.

    Args:
        real: moments of one set of features.
        fake: of the other, as wide.

    Raises:
        ValueError: they are not equally wide, or not finite.
    """
    width = len(real.mean)
    shapes = [each.shape for each in (*real, *fake)]
    if shapes != [(width,), (width, width)] * 2 or not all(
        np.isfinite(each).all() for each in (*real, *fake)
    ):
        raise ValueError(
            "Both sets must have finite moments of one width. Received: "
            f"real.mean.shape={shapes[0]}, real.covariance.shape={shapes[1]}, "
            f"fake.mean.shape={shapes[2]}, fake.covariance.shape={shapes[3]}. Take "
            "the features of both from one network."
        )
    shift = real.mean - fake.mean
    traces = np.trace(real.covariance) + np.trace(fake.covariance)
    root = _trace_of_root(real.covariance, fake.covariance)
    return float(shift @ shift + traces - 2 * root)


def _check_rows(batch: np.ndarray, width: int | None) -> np.ndarray:
    rows = np.asarray(batch, np.float64)
    finite = bool(np.isfinite(rows).all())
    if (
        rows.ndim != 2
        or not rows.size
        or width not in (None, rows.shape[1])
        or not finite
    ):
        raise ValueError(
            f"A batch of features must be finite and of shape (n, {width or 'd'}), "
            f"n >= 1. Received: batch.shape={rows.shape}, finite={finite}. Take all "
            "features from one network, in good health, one row for each image."
        )
    return rows


def _trace_of_root(covariance: np.ndarray, other: np.ndarray) -> float:
    """Tr (C C')^(1/2) of C = F F^T, C' = G G^T: the sum of F^T G's singular values.

    C C' = F (F^T G G^T) and (F^T G)(F^T G)^T have the same eigenvalues but for zeros,
    and the roots of the latter's are those singular values. To take the eigenvalues
    (of F^T C' F) and then their roots needs about half the time, and gives half the
    digits: an eigenvalue of zero comes out as 1e-16 of the largest, its root as 1e-8.
    """
    product = _factor(covariance).T @ _factor(other)
    # In thousands of small steps, at which threads wait for each other: where others
    # compute on the same cores, ten times as long as one thread takes.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        return scipy.linalg.svdvals(product).sum()


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F F^T = C, one column for each dimension of C's range: pivoted Cholesky.

    A covariance is singular wherever there are fewer images than features, or a feature
    is the same for all. Cholesky's method without pivots fails there; with pivots it
    ends when what is left is rounding, less than d 2^-53 of the largest variance. So
    it is given the correlations: each feature counts on its own scale.
    """
    deviations = np.sqrt(np.diag(covariance))
    scales = np.where(deviations > 0, deviations, 1)
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(
        covariance / np.outer(scales, scales), lower=1
    )
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return deviations[:, np.newaxis] * factor
