"""Probes on made features: what can be told apart is, what cannot be is not, and the test clips choose nothing."""

from __future__ import annotations

import pytest
import torch

from videomae.core.errors import ConfigError, DataError
from videomae.evaluation.probes import Features, ProbeOptions, few_shot_indices, probe


def _blobs(per_class: int, *, seed: int, width: int = 12, spread: float = 0.3, tokens: int = 0) -> Features:
    """Three classes around fixed centers; with `tokens`, one token of each clip says the class, the others nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat_interleave(per_class)
    centers = torch.eye(3, width)
    values = centers[labels] + spread * torch.randn(len(labels), width, generator=generator)
    if tokens:
        noise = torch.randn(len(labels), tokens, width, generator=generator)
        noise[..., :3] = 0
        places = torch.randint(tokens, (len(labels),), generator=generator)
        noise[torch.arange(len(labels)), places] = 4 * centers[labels]
        values = noise
    return Features(values, labels)


def _accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    return float((torch.as_tensor(scores).argmax(dim=-1) == labels).float().mean())


@pytest.mark.parametrize("method", ["knn", "linear"])
def test_separable_classes_are_told_apart(method: str) -> None:
    test = _blobs(20, seed=1)
    scores = probe(_blobs(20, seed=0), test, num_classes=3, options=ProbeOptions(method=method, epochs=30))
    assert scores.probabilities.shape == (60, 3)
    assert torch.as_tensor(scores.probabilities).sum(dim=1).allclose(torch.ones(60))
    assert _accuracy(scores.probabilities, test.labels) > 0.9


@pytest.mark.parametrize("method", ["knn", "linear"])
def test_features_that_say_nothing_teach_nothing(method: str) -> None:
    train, test = _blobs(40, seed=0), _blobs(40, seed=1)
    noise = [
        Features(torch.randn(120, 12, generator=torch.Generator().manual_seed(s)), f.labels)
        for s, f in ((2, train), (3, test))
    ]
    scores = probe(*noise, num_classes=3, options=ProbeOptions(method=method, epochs=10))
    assert 0.15 < _accuracy(scores.probabilities, test.labels) < 0.55


def test_an_attentive_probe_finds_the_token_that_tells() -> None:
    train, test = _blobs(30, seed=0, tokens=6), _blobs(20, seed=1, tokens=6)
    options = ProbeOptions(method="attentive", epochs=30, batch_size=32, learning_rates=(3e-3, 1e-2))
    scores = probe(train, test, num_classes=3, options=options)
    assert _accuracy(scores.probabilities, test.labels) > 0.9
    assert scores.learning_rate in (3e-3, 1e-2)


def test_nearest_neighbors_by_hand() -> None:
    train = Features(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 1]))
    test = Features(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    options = ProbeOptions(method="knn", num_neighbors=2, temperature=0.5)
    scores = probe(train, test, num_classes=2, options=options)
    near, far = torch.exp(torch.tensor(1 / 0.5)), torch.exp(torch.tensor(0.5**0.5 / 0.5))
    assert scores.probabilities[0].tolist() == pytest.approx([float(near / (near + far)), float(far / (near + far))])


def test_all_rates_at_once_are_each_rate_alone() -> None:
    from videomae.evaluation.probes import _fit_linear

    train, test = _blobs(7, seed=0), _blobs(5, seed=1)
    options = ProbeOptions(epochs=5, batch_size=4)
    rates = (0.01, 0.1, 1.0)
    together = _fit_linear(train, test.values, 3, rates, options)
    for rate, logits in zip(rates, together, strict=True):
        alone = _fit_linear(train, test.values, 3, (rate,), options)[0]
        torch.testing.assert_close(logits, alone)


def test_test_clips_choose_nothing() -> None:
    train, test = _blobs(10, seed=0), _blobs(10, seed=1)
    options = ProbeOptions(epochs=5)
    first = probe(train, test, num_classes=3, options=options)
    mislabelled = Features(test.values, test.labels.roll(7))
    second = probe(train, mislabelled, num_classes=3, options=options)
    assert first.learning_rate == second.learning_rate
    assert first.tried == second.tried
    assert [rate for rate, _ in first.tried] == list(options.rates)
    assert (first.probabilities == second.probabilities).all()


def test_one_clip_of_each_class_takes_the_middle_rate() -> None:
    scores = probe(_blobs(1, seed=0), _blobs(5, seed=1), num_classes=3, options=ProbeOptions(epochs=5))
    assert scores.tried == ()
    assert scores.learning_rate == ProbeOptions().rates[3]


def test_few_shots_are_balanced_and_follow_the_generator() -> None:
    labels = torch.tensor([2, 0, 0, 2, 1, 1, 1, 0])
    chosen = few_shot_indices(labels, 2, generator=torch.Generator().manual_seed(0))
    assert labels[chosen].bincount().tolist() == [2, 2, 2]
    assert torch.equal(chosen, few_shot_indices(labels, 2, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(DataError, match="3 clips of a class that has 2"):
        few_shot_indices(labels, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"method": "svm"}, "knn or linear"), ({"epochs": 0}, "epochs=0"), ({"learning_rates": (0.0,)}, "above 0")],
)
def test_options_out_of_range(options: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ProbeOptions(**options)


def test_features_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="attentive"):
        probe(_blobs(2, seed=0), _blobs(2, seed=1), num_classes=3, options=ProbeOptions(method="attentive"))
    empty = Features(torch.zeros(0, 12), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="0 test clips"):
        probe(_blobs(2, seed=0), empty, num_classes=3, options=ProbeOptions())
