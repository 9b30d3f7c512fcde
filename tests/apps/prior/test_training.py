import numpy as np
import pytest
import torch

from basicsr_m2trans.apps.preparation.phantom import make_phantom
from basicsr_m2trans.apps.prior.training import contrastive_loss, ranking_loss, train_prior
from basicsr_m2trans.utils.errors import InputError

# Two sources: flaw 0 at severities 0, 0.2, 0.6 and flaw 1 at 0, 0.2.
FLAWS = torch.tensor([0, 0, 0, 1, 1])
SEVERITIES = torch.tensor([0, 0.2, 0.6, 0, 0.2])


def test_contrastive_loss_is_least_at_its_targets():
    """Targets by hand: good images share their captions; 0.2 and 0.6 of one flaw are right for each
    other by 0.2.
    """
    affinity = torch.tensor(
        [[1, 0, 0, 1, 0], [0, 1, 0.2, 0, 0], [0, 0.2, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    ).double()
    targets = affinity / affinity.sum(dim=1, keepdim=True)
    logits = (targets + 1e-30).log()
    entropy = -(targets * logits).sum(dim=1).mean()
    assert contrastive_loss(logits, FLAWS, SEVERITIES.double()).item() == pytest.approx(
        entropy.item(), rel=1e-6
    )
    assert contrastive_loss(torch.zeros(5, 5), FLAWS, SEVERITIES).item() == pytest.approx(np.log(5))


def test_ranking_loss_by_hand():
    # Comparable pairs (better, worse): in flaw 0 (0,1) (0,2) (1,2); in flaw 1 (3,4); across, the
    # good ones (0,4), (3,1), (3,2). With equal qualities each falls short by its difference in
    # severity.
    gaps = [0.2, 0.6, 0.4, 0.2, 0.2, 0.2, 0.6]
    assert ranking_loss(torch.zeros(5), FLAWS, SEVERITIES).item() == pytest.approx(np.mean(gaps))
    assert ranking_loss(-SEVERITIES, FLAWS, SEVERITIES).item() == pytest.approx(0, abs=1e-7)
    assert ranking_loss(SEVERITIES, FLAWS, SEVERITIES).item() == pytest.approx(2 * np.mean(gaps))


def test_training_learns_and_repeats():
    images = [make_phantom(seed, 120, 120) for seed in range(3)]
    terms = []

    def report(step, values):
        terms.append((step, values["contrastive"], values["ranking"]))

    state = torch.get_rng_state()
    first = train_prior(images, 25, seed=3, report=report)
    assert torch.equal(torch.get_rng_state(), state)
    steps, contrastive, ranking = zip(*terms, strict=True)
    assert steps == tuple(range(1, 26))
    assert np.mean(contrastive[-5:]) < np.mean(contrastive[:5]) - 0.1
    assert np.mean(ranking[-5:]) < 0.7 * np.mean(ranking[:5])
    assert not first.training
    again, other = (train_prior(images, 2, seed=seed).state_dict() for seed in (3, 4))
    repeated = train_prior(images, 2, seed=3).state_dict()
    assert all(torch.equal(again[name], repeated[name]) for name in again)
    assert any(not torch.equal(again[name], other[name]) for name in again)


@pytest.mark.parametrize(("steps", "seed"), [(0, 0), (1, -1)])
def test_wrong_numbers(steps, seed):
    with pytest.raises(InputError, match=f"steps is {steps} and seed {seed}"):
        train_prior([make_phantom(0, 120, 120)], steps, seed)
