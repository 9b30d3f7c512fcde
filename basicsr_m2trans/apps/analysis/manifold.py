"""Manifold discovery and analysis of layers (M. T. Islam et al., Nat. Commun. 14:8506, 2023).

The network's outputs are ordered by their distance from one end of the manifold that they form.
Features are then projected so that this order comes out, and drawn in two dimensions.
"""

import importlib.util
from dataclasses import dataclass

import numpy as np

from basicsr_m2trans.apps.analysis.layer_features import LayerFeatures
from basicsr_m2trans.apps.analysis.supervised_reduction import reduce_supervised
from basicsr_m2trans.utils.errors import InputError

# Neighbours that trustworthiness and UMAP look at: the libraries' own settings.
TRUSTWORTHINESS_NEIGHBOURS = 5
UMAP_NEIGHBOURS = 15
# Trustworthiness is defined for neighbourhoods of less than half of the points.
MIN_IMAGES = 2 * TRUSTWORTHINESS_NEIGHBOURS + 1


@dataclass(frozen=True)
class Manifold:
    """One network's layers as points in two dimensions.

    Attributes:
        name: of the network.
        images: names of the N images.
        distances: (N,), of the outputs from the end of their manifold.
        labels: (N,), the pseudo-labels by which the features were projected, from 0.
        layers: (N, 2) for each CFTM.
        trustworthiness: for each CFTM, from 0 to 1, of its features as a map of the outputs.
    """

    name: str
    images: tuple[str, ...]
    distances: np.ndarray
    labels: np.ndarray
    layers: tuple[np.ndarray, ...]
    trustworthiness: tuple[float, ...]


def require_umap() -> None:
    """Raise InputError, before anything is computed, where umap-learn is not installed."""
    if importlib.util.find_spec("umap") is None:
        raise InputError(
            "m2trans mda needs umap-learn; install it with `pip install 'basicsr_m2trans[mda]'`"
        )


def analyse(
    name: str, features: LayerFeatures, components: int, seed: int = 0, shuffle_labels: bool = False
) -> Manifold:
    """Draw the features of every layer so that the order of the network's outputs comes out.

    Args:
        name: of the network.
        features: of at least `MIN_IMAGES` images.
        components: principal components of the features that are projected, if there are so many.
        seed: of the projection's start, UMAP and the shuffling.
        shuffle_labels: project by the pseudo-labels in random order, to see what the method draws
            where features know nothing of the output.

    Raises:
        InputError: all outputs are equal, or a layer's features are.
    """
    distances = distances_from_end(features.output)
    labels = pseudo_labels(distances)
    if shuffle_labels:
        labels = np.random.default_rng(seed).permutation(labels)
    layers, trust = [], []
    for layer in features.layers:
        points = reduce_supervised(layer[:, :components], labels, seed=seed).points
        layers.append(draw_in_two_dimensions(points, seed))
        trust.append(output_trustworthiness(layer, features.output))
    return Manifold(name, features.images, distances, labels, tuple(layers), tuple(trust))


def distances_from_end(outputs: np.ndarray) -> np.ndarray:
    """Distances of points from the one farthest from their mean, the end of their manifold.

    (N, D) -> (N,); the end has 0. Islam et al.'s code takes the one farthest from the first, which
    depends on their order.
    """
    end = np.linalg.norm(outputs - outputs.mean(axis=0), axis=1).argmax()
    return np.linalg.norm(outputs - outputs[end], axis=1)


def pseudo_labels(distances: np.ndarray) -> np.ndarray:
    """The bins (N,), from 0, of NumPy's 'auto' histogram that distances (N,) fall into."""
    edges = np.histogram_bin_edges(distances, "auto")
    return np.digitize(distances, edges[1:-1])


def output_trustworthiness(features: np.ndarray, outputs: np.ndarray) -> float:
    """How well neighbours in features are neighbours in output: 1 if all are, about 0.5 by chance.

    Trustworthiness (Venna and Kaski 2001) of the features as a map of the outputs. A neighbour in
    features (N, D) counts against it by how far down it comes among the neighbours in outputs (N,
    E). No label has a part in it.
    """
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(outputs, features, n_neighbors=TRUSTWORTHINESS_NEIGHBOURS))


def draw_in_two_dimensions(points: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of points: (N, D) -> (N, 2), repeatable."""
    import umap

    neighbours = min(UMAP_NEIGHBOURS, len(points) - 1)
    # UMAP is repeatable in a single thread only.
    return umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points)
