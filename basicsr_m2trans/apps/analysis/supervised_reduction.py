"""Bayesian supervised dimensionality reduction (M. Goenen, Pattern Recognit. Lett. 34, 2013).

Points x are projected, z ~ N(Q' x, sigma^2 I), and a probit model tells classes from the
projections: the scores t ~ N(W' z + b, I) of a point are largest for its own class. Every entry of
Q, W and b is normal with a precision of its own, which is Gamma distributed. The posterior is
approximated by independent factors for Q, Z, (b, W), T and the precisions, each of which is updated
in turn to the best given the others, which never lowers the variational bound.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from basicsr_m2trans.apps.analysis.truncated_normal import truncated_means
from basicsr_m2trans.utils.errors import InputError

# Settings of manifold discovery and analysis (Islam et al. 2023).
DIMENSIONS = 16
ITERATIONS = 200
NOISE_VARIANCE = 0.1**2  # sigma^2
# Gamma prior of the precisions.
PRIOR_SHAPE = 1.0
PRIOR_RATE = 1.0


class Reduction(NamedTuple):
    """A supervised projection.

    Attributes:
        points: (N, R), the projected points.
        bounds: (iterations,), the variational lower bound of the labels' log evidence.
    """

    points: np.ndarray
    bounds: np.ndarray


class _Coefficients(NamedTuple):
    """Normal factor of C independent linear regressions with P coefficients each."""

    mean: np.ndarray  # (P, C)
    covariance: np.ndarray  # (C, P, P)

    @property
    def squares(self) -> np.ndarray:
        """(P, C), the expected squares."""
        return self.mean**2 + self.covariance.diagonal(axis1=1, axis2=2).T

    @property
    def products(self) -> np.ndarray:
        """(P, P), the expected products of two coefficients, summed over the regressions."""
        return self.mean @ self.mean.T + self.covariance.sum(axis=0)

    @property
    def precisions(self) -> np.ndarray:
        """(P, C), the expected prior precisions of the coefficients under the best Gamma factor."""
        return (PRIOR_SHAPE + 0.5) / (PRIOR_RATE + 0.5 * self.squares)

    @property
    def bound(self) -> float:
        """Part of the lower bound: prior and entropy of coefficients and their Gamma factor."""
        rates = PRIOR_RATE + 0.5 * self.squares
        prior = (
            gammaln(PRIOR_SHAPE + 0.5)
            - gammaln(PRIOR_SHAPE)
            + PRIOR_SHAPE * np.log(PRIOR_RATE)
            - (PRIOR_SHAPE + 0.5) * np.log(rates)
            - 0.5 * np.log(2 * np.pi)
        )
        return float(prior.sum() + _entropies(self.covariance).sum())


def reduce_supervised(
    points: np.ndarray,
    labels: np.ndarray,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
    iterations: int = ITERATIONS,
) -> Reduction:
    """Project points linearly so that their classes come apart.

    The priors know a unit, so points are centred and divided by their root mean square.

    Args:
        points: (N, D).
        labels: (N,), the classes as any numbers.
        dimensions: R of the projection.
        seed: of the random projection that the iterations start from.
        iterations: rounds of updates.

    Raises:
        InputError: there is one class only, or all points are equal.
    """
    classes, labels = np.unique(labels, return_inverse=True)
    x = points - points.mean(axis=0)
    size = np.sqrt(np.mean(x**2))
    if len(classes) < 2 or size == 0:
        equal = "all of them, or all of their pseudo-labels, are equal"
        raise InputError(f"nothing tells the points apart: {equal}")
    x /= size
    count, width = x.shape
    rng = np.random.default_rng(seed)

    projected = x @ rng.normal(scale=width**-0.5, size=(width, dimensions))
    spread = np.zeros((dimensions, dimensions))  # covariance of each projected point
    scores = (labels[:, None] == np.arange(len(classes))) - 1 / len(classes)
    projection_precisions = np.full((width, dimensions), PRIOR_SHAPE / PRIOR_RATE)
    precisions = np.ones((dimensions + 1, len(classes)))
    classifier = _regress(*_moments(projected, spread, scores), precisions)
    gram = x.T @ x / NOISE_VARIANCE
    bounds = np.empty(iterations)
    for iteration in range(iterations):
        projection = _regress(gram, x.T @ projected / NOISE_VARIANCE, projection_precisions)
        projection_precisions = projection.precisions

        products = classifier.products  # of bias and weights: row and column 0 are the bias's
        spread = np.linalg.inv(np.eye(dimensions) / NOISE_VARIANCE + products[1:, 1:])
        centre = x @ projection.mean / NOISE_VARIANCE
        projected = (centre + scores @ classifier.mean[1:].T - products[0, 1:]) @ spread

        moments, targets = _moments(projected, spread, scores)
        classifier = _regress(moments, targets, classifier.precisions)
        centres = _with_one(projected) @ classifier.mean
        scores, log_probabilities = truncated_means(centres, labels)

        squares = ((projected - x @ projection.mean) ** 2).sum() + count * np.trace(spread)
        bounds[iteration] = (
            # T: what its prior leaves of its entropy, less the uncertainty of the scores' centres
            log_probabilities.sum()
            - 0.5 * ((classifier.products * moments).sum() - (centres**2).sum())
            # Z
            - 0.5 * count * dimensions * np.log(2 * np.pi * NOISE_VARIANCE)
            - 0.5 * (squares / NOISE_VARIANCE + (projection.covariance.sum(axis=0) * gram).sum())
            + count * _entropies(spread)
            + projection.bound
            + classifier.bound
        )
    return Reduction(x @ projection.mean, bounds)


def _regress(moments: np.ndarray, targets: np.ndarray, precisions: np.ndarray) -> _Coefficients:
    """Bayesian linear regression from inputs' products (P, P), targets' and precisions (P, C)."""
    covariance = np.linalg.inv(moments + precisions.T[:, :, None] * np.eye(len(moments)))
    return _Coefficients(np.einsum("cpq,qc->pc", covariance, targets), covariance)


def _moments(
    projected: np.ndarray, spread: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Expected products of the inputs (1, z) with each other and the scores, summed over points."""
    inputs = _with_one(projected)
    moments = inputs.T @ inputs
    moments[1:, 1:] += len(projected) * spread
    return moments, inputs.T @ scores


def _with_one(projected: np.ndarray) -> np.ndarray:
    return np.insert(projected, 0, 1, axis=1)


def _entropies(covariance: np.ndarray) -> np.ndarray:
    """Entropies of normal distributions with covariances (..., P, P)."""
    size = covariance.shape[-1]
    return 0.5 * (size * np.log(2 * np.pi * np.e) + np.linalg.slogdet(covariance)[1])
