"""Normal scores of which one is known to be the largest, as in the multinomial probit model."""

import numpy as np
from scipy.special import log_ndtr, logsumexp, roots_hermitenorm

# Gauss-Hermite quadrature: means are right to 1e-9 where the scores' centres differ by less than 8.
_NODES, _WEIGHTS = roots_hermitenorm(96)
_LOG_WEIGHTS = np.log(_WEIGHTS) - 0.5 * np.log(2 * np.pi)


def truncated_means(centres: np.ndarray, largest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of independent unit-variance normal variables, given which one is the largest.

    With u the largest one minus its centre, the others are normal variables cut off at it: their
    means have a closed form for each u, and one integral over u remains (Girolami and Rogers,
    Neural Computation 2006). It is computed by quadrature instead of by samples, so that equal
    input gives equal output and the variational bound stays exact.

    Args:
        centres: (N, K), the variables' means without that knowledge.
        largest: (N,) from 0 to K - 1.

    Returns:
        (N, K), the means, and (N,), the logarithm of the probability that `largest` is the largest.
    """
    own = np.arange(len(centres)), largest
    limits = _NODES + (centres[own][:, None] - centres)[..., None]  # (N, K, nodes)
    log_below = log_ndtr(limits)
    # phi / Phi, by which the mean of a variable is lowered that is cut off at the limit
    lowering = np.exp(-0.5 * limits**2 - 0.5 * np.log(2 * np.pi) - log_below)
    log_below[own], lowering[own] = 0, 0
    log_joint = _LOG_WEIGHTS + log_below.sum(axis=1)
    log_probability = logsumexp(log_joint, axis=1)
    posterior = np.exp(log_joint - log_probability[:, None])
    lowered = np.einsum("nq,nkq->nk", posterior, lowering)
    means = centres - lowered
    means[own] += lowered.sum(axis=1)
    return means, log_probability
