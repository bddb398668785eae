"""Classifiers on features of a frozen encoder: how much of what an action is lies in them already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videomae.core.errors import ConfigError, DataError
from videomae.models.attentive import AttentivePooling

METHODS = ("knn", "linear", "attentive")
# Of the training clips of each class, so many (but one at least) choose the learning rate.
_HELD_OUT_SHARE = 0.2
_LINEAR_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_ATTENTIVE_RATES = (1e-4, 3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Features:
    """Features of clips from a frozen encoder.

    Args:
        values: (N, D) one vector for each clip, or (N, L, D) one for each token.
        labels: (N,) int64 classes.
    """

    values: Tensor
    labels: Tensor

    def take(self, index: Tensor) -> Features:
        """Those at `index`."""
        return Features(self.values[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How a probe is trained.

    Args:
        method: "knn": the classes of the nearest training clips vote (Wu et al. 2018, section 3.4); "linear": one
            linear layer on standardized features; "attentive": a learned query attends to the tokens, then a linear
            layer (as in V-JEPA, Bardes et al. 2024).
        num_neighbors: of "knn"; never more than there are training clips.
        temperature: of "knn": a neighbor's vote counts exp(cosine similarity / temperature).
        learning_rates: all are tried at once, the best on held-out training clips is taken; empty takes a range that
            suits the method.
        epochs: passes over the features.
        batch_size: features in a step.
        seed: of the weights, the order and the held-out clips.

    Raises:
        ConfigError: for a value out of range.
    """

    method: str = "linear"
    num_neighbors: int = 20
    temperature: float = 0.07
    learning_rates: tuple[float, ...] = ()
    epochs: int = 100
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                f"method={self.method!r}", expected=" or ".join(METHODS), hint="linear is what papers report most"
            )
        for name in ("num_neighbors", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", expected="at least 1", hint=f"give a larger {name}")
        for rate in (self.temperature, *self.learning_rates):
            if not 0 < rate < float("inf"):
                raise ConfigError(f"a rate or temperature of {rate}", expected="above 0", hint="give a positive number")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to try."""
        return self.learning_rates or (_ATTENTIVE_RATES if self.method == "attentive" else _LINEAR_RATES)


@dataclass(frozen=True)
class ProbeScores:
    """Scores of the test clips.

    Args:
        probabilities: (M, classes) float32.
        learning_rate: the one that was chosen; None for nearest neighbors.
        tried: (learning rate, accuracy on held-out training clips) of each; empty where nothing could be held out.
    """

    probabilities: np.ndarray
    learning_rate: float | None = None
    tried: tuple[tuple[float, float], ...] = field(default=())


def probe(train: Features, test: Features, *, num_classes: int, options: ProbeOptions) -> ProbeScores:
    """Train a probe on some features and score others.

    The learning rate is chosen on training clips that are held out (a fifth of each class), never on the test clips;
    with the chosen one the probe is then trained on all training clips. Where every class has a single training clip
    nothing can be held out, and the middle rate is taken.

    Raises:
        DataError: if there are no training or no test clips.
        ConfigError: for "attentive" on pooled features, or the others on tokens.
    """
    for name, features in (("training", train), ("test", test)):
        if not len(features):
            raise DataError(f"0 {name} clips", expected="at least one", hint="check the data set's splits")
    dimensions = 3 if options.method == "attentive" else 2
    if train.values.ndim != dimensions or test.values.ndim != dimensions:
        raise ConfigError(
            f"features of shape {tuple(train.values.shape)} for {options.method}",
            expected="(clips, tokens, width)" if dimensions == 3 else "(clips, width)",
            hint="take dense features for attentive, pooled ones for the others",
        )
    if options.method == "knn":
        return ProbeScores(_vote(train, test, num_classes, options).numpy())
    fit = _fit_attentive if options.method == "attentive" else _fit_linear
    rates = options.rates
    tried: tuple[tuple[float, float], ...] = ()
    chosen = rates[len(rates) // 2]
    held_out = _hold_out(train.labels, torch.Generator().manual_seed(options.seed))
    if len(rates) > 1 and held_out.any():
        part, validation = train.take(~held_out), train.take(held_out)
        scores = fit(part, validation.values, num_classes, rates, options)
        accuracies = [float((score.argmax(dim=-1) == validation.labels).float().mean()) for score in scores]
        tried = tuple(zip(rates, accuracies, strict=True))
        chosen = rates[int(np.argmax(accuracies))]
    scores = fit(train, test.values, num_classes, (chosen,), options)
    return ProbeScores(scores[0].softmax(dim=-1).numpy(), chosen, tried)


def few_shot_indices(labels: Tensor, per_class: int, *, generator: torch.Generator) -> Tensor:
    """Choose `per_class` clips of each class at random.

    Args:
        labels: (N,) int64.
        per_class: how many of each class.
        generator: where the randomness comes from.

    Returns:
        Sorted places, int64.

    Raises:
        DataError: if a class has fewer.
    """
    chosen = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten()
        if len(places) < per_class or per_class < 1:
            raise DataError(
                f"{per_class} clips of a class that has {len(places)}",
                expected=f"from 1 to {len(places)}",
                hint="lower --per-class",
            )
        chosen.append(places[torch.randperm(len(places), generator=generator)[:per_class]])
    return torch.cat(chosen).sort().values


def _hold_out(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A mask (N,) of the clips that choose the learning rate: a fifth of each class that has two or more."""
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten()
        number = max(1, int(len(places) * _HELD_OUT_SHARE)) if len(places) > 1 else 0
        held_out[places[torch.randperm(len(places), generator=generator)[:number]]] = True
    return held_out


def _vote(train: Features, test: Features, num_classes: int, options: ProbeOptions) -> Tensor:
    """(M, classes): shares of the weighted votes of the nearest neighbors."""
    known = F.normalize(train.values.float(), dim=-1)
    votes = []
    for part in test.values.split(options.batch_size):
        similarity = F.normalize(part.float(), dim=-1) @ known.T  # (B, N)
        nearest = similarity.topk(min(options.num_neighbors, len(train)), dim=-1)
        weights = (nearest.values / options.temperature).softmax(dim=-1)
        classes = F.one_hot(train.labels[nearest.indices], num_classes).float()  # (B, K, classes)
        votes.append((weights[..., None] * classes).sum(dim=1))
    return torch.cat(votes)


def _fit_linear(
    train: Features, test: Tensor, num_classes: int, rates: Sequence[float], options: ProbeOptions
) -> list[Tensor]:
    """Logits (M, classes) of one linear layer for each learning rate; all are trained in the same matrix products."""
    values = train.values.float()
    deviation, mean = torch.std_mean(values, dim=0, correction=0)
    scale = 1 / deviation.clamp_min(1e-6)  # a feature that never changes stays 0
    values, tested = (values - mean) * scale, (test.float() - mean) * scale
    weights = nn.Parameter(torch.zeros(len(rates), values.shape[1], num_classes))
    biases = nn.Parameter(torch.zeros(len(rates), 1, num_classes))
    momentum = [torch.zeros_like(weights), torch.zeros_like(biases)]
    factors = torch.tensor(rates).reshape(-1, 1, 1)

    def step(index: Tensor, decay: float) -> None:
        logits = values[index] @ weights + biases  # (R, B, classes)
        labels = train.labels[index].expand(len(rates), -1)
        # A sum over the rates: each layer's gradient is that of its own mean loss.
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        gradients = torch.autograd.grad(loss.unflatten(0, labels.shape).mean(dim=1).sum(), [weights, biases])
        with torch.no_grad():
            for parameter, velocity, gradient in zip((weights, biases), momentum, gradients, strict=True):
                velocity.mul_(0.9).add_(gradient)
                parameter.sub_(velocity * factors * decay)

    _run_epochs(len(train), options, step)
    with torch.no_grad():
        return list(tested @ weights + biases)


class AttentiveHead(nn.Module):
    """A learned query attends to a clip's tokens; a linear layer classifies the result.

    Args:
        width: of a token.
        num_classes: classes.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.pooling = AttentivePooling(width)
        self.classifier_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, D) tokens to (B, classes) logits."""
        logits: Tensor = self.classifier(self.classifier_norm(self.pooling(tokens)))
        return logits


def _fit_attentive(
    train: Features, test: Tensor, num_classes: int, rates: Sequence[float], options: ProbeOptions
) -> list[Tensor]:
    """Logits (M, classes) of an attentive head for each learning rate."""
    scores = []
    for rate in rates:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            head = AttentiveHead(train.values.shape[-1], num_classes)
        scores.append(_train_head(head, rate, train, test, options))
    return scores


def _train_head(head: nn.Module, rate: float, train: Features, test: Tensor, options: ProbeOptions) -> Tensor:
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)

    def step(index: Tensor, decay: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate * decay
        loss = F.cross_entropy(head(train.values[index].float()), train.labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    _run_epochs(len(train), options, step)
    with torch.no_grad():
        return torch.cat([head(part.float()) for part in test.split(options.batch_size)])


def _run_epochs(num_clips: int, options: ProbeOptions, step: Callable[[Tensor, float], None]) -> None:
    """Call `step` with the places of each batch and the cosine's share of the learning rate."""
    generator = torch.Generator().manual_seed(options.seed)
    batches = -(-num_clips // options.batch_size)
    total = options.epochs * batches
    for epoch in range(options.epochs):
        order = torch.randperm(num_clips, generator=generator)
        for number, index in enumerate(order.split(options.batch_size)):
            done = (epoch * batches + number) / total
            step(index, 0.5 * (1 + float(np.cos(np.pi * done))))
