"""How often decisions are wrong: seeds and rows drawn from what real models got right.

`pytest -s` prints the rates. `tests/recorded/README.md` says where the records come from. The
recorded seeds and rows are the population here, so what is true of it is known exactly.
"""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from raymi.significance.crossed import crossed_mean
from raymi.significance.non_inferiority import compare

LEVEL, POWER = 0.05, 0.8
CASES = [
    # seeds, rows, margin
    (2, 5000, 0.01),
    (3, 1000, 0.02),
    (3, 2000, 0.01),
    (3, 5000, 0.01),
    (3, 10_000, 0.005),
    (5, 2000, 0.01),
]


@dataclass
class Population:
    """Scores of settings, (seeds, rows) each."""

    scores: dict[str, np.ndarray]
    generator: np.random.Generator

    def loss(self, candidate: str, reference: str = "fp32") -> float:
        """What the candidate truly loses, in the unit of a score."""
        return float(self.scores[reference].mean() - self.scores[candidate].mean())

    def seeds(self, number: int) -> np.ndarray:
        """Different ones."""
        return self.generator.choice(len(self.scores["fp32"]), number, replace=False)

    def draw(self, candidate: str, num_seeds: int, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """A candidate and the reference; with the same seeds, unless both are the same setting."""
        seeds = self.seeds(2 * num_seeds)
        others = seeds[num_seeds:] if candidate == "fp32" else seeds[:num_seeds]
        rows = self.generator.integers(self.scores["fp32"].shape[1], size=num_rows)
        return (
            self.scores[candidate][np.ix_(others, rows)],
            self.scores["fp32"][np.ix_(seeds[:num_seeds], rows)],
        )


@pytest.fixture
def adult(repository):
    with np.load(repository / "tests/recorded/adult.npz") as file:
        num_rows = int(file["num_rows"])
        scores = {
            name: np.unpackbits(file[name], axis=1)[:, :num_rows].astype(np.float64)
            for name in ("fp32", "bf16", "narrow")
        }
    return Population(scores, np.random.default_rng(2103))


@pytest.fixture
def california(repository):
    with np.load(repository / "tests/recorded/california_housing.npz") as file:
        scores = {name: np.square(file[name].astype(np.float64)) for name in file.files}
    return Population(scores, np.random.default_rng(3098))


@pytest.fixture(scope="module")
def table():
    """Rows of (what, times, of how many, promised)."""
    rows = []
    yield rows
    sys.stdout.write(f"\n{'':<58}{'rate':>7}{'of':>7}  promised\n")
    for what, times, number, promised in rows:
        sys.stdout.write(f"{what:<58}{times / number:>7.1%}{number:>7}  {promised}\n")


def is_at_most(times, number, share):
    """Whether so many are likely if the true share is at most this one."""
    return times <= stats.binom.ppf(0.999, number, share)


def is_at_least(times, number, share):
    return times >= stats.binom.ppf(0.001, number, share)


def spoil(scores, share, how, generator):
    """Turn right answers into wrong ones."""
    if how == "each seed on rows of its own":
        bad = generator.random(scores.shape) < share
    elif how == "all seeds on the same rows":
        bad = generator.random(scores.shape[1]) < share
    else:
        by_seed = share * np.maximum(0.0, generator.normal(1.0, 0.4, (len(scores), 1)))
        bad = generator.random(scores.shape) < by_seed
    return np.where(bad, 0.0, scores)


WAYS = ["each seed on rows of its own", "all seeds on the same rows", "some seeds more than others"]


def asked(margin, metric="accuracy"):
    return {"metric": metric, "margin": margin, "confidence": 1 - LEVEL, "power": POWER}


@pytest.mark.parametrize("candidate", ["fp32", "bf16"])
@pytest.mark.parametrize("how", WAYS)
def test_a_candidate_worse_by_the_margin_rarely_passes(adult, table, candidate, how):
    repeats, passed, powered = 200, [], 0
    for num_seeds, num_rows, margin in CASES:
        share = (margin - adult.loss(candidate)) / adult.scores[candidate].mean()
        decisions = []
        for _ in range(repeats):
            scores, reference = adult.draw(candidate, num_seeds, num_rows)
            spoiled = spoil(scores, share, how, adult.generator)
            decisions.append(compare(spoiled, reference, **asked(margin)))
        passed.append(sum(decision.is_shown for decision in decisions))
        powered += sum(decision.has_power for decision in decisions)

    number = repeats * len(CASES)
    table.append((f"false pass, {candidate}, {how}", sum(passed), number, "<= 5%"))
    assert all(is_at_most(times, repeats, LEVEL) for times in passed)
    assert is_at_most(sum(passed), number, LEVEL)
    # The rate means something: most of the time it could have passed.
    assert powered > number / 3


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_a_network_truly_worse_by_the_margin_rarely_passes(adult, table, num_seeds):
    repeats = 300
    decisions = [
        compare(*adult.draw("narrow", num_seeds, 8000), **asked(adult.loss("narrow")))
        for _ in range(repeats)
    ]

    # The margin is a fifth of a point: so few rows lack power. The test alone must do.
    passed = sum(decision.p_value <= LEVEL for decision in decisions)
    table.append((f"false pass, narrow network, {num_seeds} seeds", passed, repeats, "<= 5%"))
    assert is_at_most(passed, repeats, LEVEL)


@pytest.mark.parametrize("how", ["all rows", "one row in fifty"])
def test_a_regression_worse_by_the_margin_rarely_passes(california, table, how):
    repeats, passed = 125, []
    to_reference = california.scores["fp32"].mean() / california.scores["bf16"].mean()
    for num_seeds, margin in [(2, 0.05), (3, 0.02), (3, 0.05), (5, 0.02)]:
        more, times = (1 + margin) ** 2 - 1, 0
        for _ in range(repeats):
            scores, reference = california.draw("bf16", num_seeds, 4000)
            share = 1.0 if how == "all rows" else 0.02
            is_hit = california.generator.random(4000) < share
            worse = scores * to_reference * np.where(is_hit, 1 + more / share, 1.0)
            times += compare(worse, reference, **asked(margin, "rmse")).is_shown
        passed.append(times)

    number = repeats * len(passed)
    table.append((f"false pass, rmse, damage to {how}", sum(passed), number, "<= 5%"))
    assert all(is_at_most(times, repeats, LEVEL) for times in passed)
    assert is_at_most(sum(passed), number, LEVEL)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_a_regression_truly_worse_by_the_margin_rarely_passes(california, table, num_seeds):
    repeats = 150
    scores = california.scores
    margin = np.sqrt(scores["narrow"].mean() / scores["fp32"].mean()) - 1
    passed = sum(
        compare(*california.draw("narrow", num_seeds, 4000), **asked(margin, "rmse")).is_shown
        for _ in range(repeats)
    )

    table.append((f"false pass, rmse, narrow network, {num_seeds} seeds", passed, repeats, "<= 5%"))
    assert is_at_most(passed, repeats, LEVEL)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_two_identical_settings_are_rarely_called_different(adult, table, num_seeds):
    repeats, declared = 300, 0
    for num_rows in (500, 2000, 10_000):
        for _ in range(repeats):
            scores, reference = adult.draw("fp32", num_seeds, num_rows)
            declared += crossed_mean(scores - reference).two_sided_p() <= LEVEL

    table.append((f"identical, called different, {num_seeds} seeds", declared, 900, "<= 5%"))
    assert is_at_most(declared, 900, LEVEL)


@pytest.mark.parametrize("candidate", ["fp32", "bf16"])
def test_a_candidate_exactly_as_good_passes_as_often_as_promised(adult, table, candidate):
    repeats = 200
    for num_seeds, num_rows, margin in CASES:
        decisions = [
            compare(*adult.draw(candidate, num_seeds, num_rows), **asked(margin))
            for _ in range(repeats)
        ]
        powered = [decision for decision in decisions if decision.has_power]
        shown = sum(decision.is_shown for decision in powered)

        case = f"{candidate}, {num_seeds} seeds, {num_rows} rows, {margin:.1%}"
        table.append((f"has power: {case}", len(powered), repeats, ""))
        table.append((f"  then passes if as good: {case}", shown, len(powered) or 1, ">= 80%"))
        assert is_at_least(shown, len(powered), POWER)


def test_winners_survive_confirmation(adult, table):
    """Candidates are real settings that lose nothing to twice the margin more, as likely each."""
    repeats, margin = 1500, 0.01
    half = adult.scores["fp32"].shape[1] // 2
    generator, survived, won = adult.generator, 0, 0
    for _ in range(repeats):
        candidate = generator.choice(["fp32", "bf16", "narrow"])
        seeds = adult.seeds(12)
        share, how = generator.uniform(0.0, 2 * margin), generator.choice(WAYS[:2])

        def draw(chosen, start, candidate=candidate, share=share, how=how):
            rows = generator.integers(start, start + half, size=3000)
            others = chosen[3:] if candidate == "fp32" else chosen[:3]
            scores = adult.scores[candidate][np.ix_(others, rows)]
            reference = adult.scores["fp32"][np.ix_(chosen[:3], rows)]
            return spoil(scores, share, how, generator), reference

        if compare(*draw(seeds[:6], 0), **asked(margin)).is_shown:
            won += 1
            scores, reference = draw(seeds[6:], half)
            survived += (scores - reference).mean() > -margin

    table.append(("winners confirmed on fresh seeds and other rows", survived, won, ">= 95%"))
    assert won > 200
    assert is_at_least(survived, won, 0.95)
    assert survived / won >= 0.95
