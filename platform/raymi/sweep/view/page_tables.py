"""The tables of a sweep's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raymi.charts.page import Table
from raymi.sweep.decision.words import quality_text
from raymi.sweep.evidence import RunEvidence
from raymi.sweep.view.columns import ABSENT
from raymi.sweep.view.facts import FINDINGS, OUT, Facts
from raymi.sweep.view.spending import Books
from raymi.sweep.view.table import amount, by_standing

_MAX_NAMES = 8
"""Settings that share a reason and are named; more are counted."""

Cell = Callable[[int], str]


def standings(facts: Facts) -> Table:
    """Every setting with everything that is known of it, and why it stands where it stands."""
    order = by_standing(facts)
    metric = facts.evidence.metric
    numbers: list[tuple[str, Cell]] = [
        ("samples/s", lambda i: amount(facts.costs_of(i).samples_per_s)),
        ("of best", lambda i: _ratio(facts, i)),
        ("GiB", lambda i: _form(facts.costs_of(i).peak_memory_gib, ".2f")),
        (metric, lambda i: facts.metric_text(facts.costs_of(i).quality)),
        ("ms a row", lambda i: _form(facts.costs_of(i).latency_ms, ".2f")),
        ("s to target", lambda i: _to_target(facts, i) if facts.wants_target else ABSENT),
        ("J a run", lambda i: amount(facts.costs_of(i).energy_j)),
        ("price", lambda i: amount(facts.costs_of(i).money)),
    ]
    texts: list[tuple[str, Cell]] = [
        ("standing", lambda i: _standing(facts, i)),
        ("front", lambda i: "yes" if facts.is_on_front(i) else ""),
        ("why", lambda i: facts.verdicts[i].why if i in facts.verdicts else ABSENT),
    ]
    caption = "On the front: nothing measured beats it in every respect"
    if any(costs.is_predicted for costs in facts.decision.costs):
        caption += "; ~ predicted from another batch size"
    return _table(facts, order, numbers, texts, caption)


def probe(facts: Facts) -> Table:
    """Every setting as it was timed."""
    order = sorted(
        range(len(facts.evidence.settings)),
        key=lambda i: (-(facts.costs_of(i).samples_per_s or 0.0), i),
    )
    rejected = {window.rejected for window in facts.evidence.probe.windows if window.rejected}
    numbers: list[tuple[str, Cell]] = [
        ("samples/s", lambda i: amount(facts.costs_of(i).samples_per_s)),
        ("95% interval", lambda i: _interval(facts, i)),
        ("of best", lambda i: _ratio(facts, i)),
        ("its interval", lambda i: _ratio_interval(facts, i)),
        ("windows", lambda i: _windows(facts, i)),
        ("do not count", lambda i: _rejected(facts, i)),
        ("GiB", lambda i: _form(facts.costs_of(i).peak_memory_gib, ".2f")),
    ]
    texts: list[tuple[str, Cell]] = [("why not", lambda i: _failure(facts, i))]
    caption = f"Windows that do not count: {'; '.join(sorted(rejected))}" if rejected else ""
    return _table(facts, order, numbers, texts, caption)


def left_out(facts: Facts) -> Table | None:
    """What could not win, by reason; None: everything could."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for verdict in facts.decision.verdicts:
        if verdict.standing in OUT:
            key = (verdict.standing.value, verdict.why)
            reasons.setdefault(key, []).append(verdict.setting)
    if not reasons:
        return None
    rows = [
        (standing, why, str(len(settings)), _names(facts, settings))
        for (standing, why), settings in reasons.items()
    ]
    return Table(("standing", "why", "settings", "which"), rows, numbers=frozenset({2}))


def memory_models(facts: Facts) -> Table | None:
    """Fitted lines, and the largest micro-batches that they foretell; None: there are none."""
    models = facts.decision.memory_models
    if not models:
        return None
    devices = list(dict.fromkeys(name for one in models for name in one.largest_micro_batch))
    rows = [
        (
            one.numerics,
            str(one.num_workers),
            f"{one.fixed_gib:.3f}",
            f"{1024.0 * one.per_sample_gib:.3g}",
            f"{one.max_error:.1%}",
            *(_count(one.largest_micro_batch.get(device)) for device in devices),
        )
        for one in models
    ]
    columns = ("computes", "workers", "fixed GiB", "MiB a sample", "largest error", *devices)
    caption = "By device: the largest micro-batch foreseen to fit, with headroom"
    return Table(columns, rows, numbers=frozenset(range(1, len(columns))), caption=caption)


def quality_tests(facts: Facts) -> Table | None:
    """Every comparison with the reference; None: there is none."""
    tests = facts.decision.tests
    if not tests:
        return None
    rows = [
        (
            one.numerics,
            one.outcome.value.replace("_", " "),
            facts.metric_text(one.quality),
            _form(one.difference, "+.4f"),
            _form(one.lower_bound, "+.4f"),
            _form(one.p_adjusted, ".2g"),
            str(one.num_seeds),
            f"{one.num_rows:,}",
            _count(one.rows_needed),
            one.why,
        )
        for one in tests
    ]
    columns = ("computes", "outcome", facts.evidence.metric, "difference", "lower bound",
               "p, corrected", "seeds", "rows", "rows needed", "why")  # fmt: skip
    caption = "Each way to compute against the reference's, on validation rows"
    return Table(columns, rows, numbers=frozenset(range(2, 9)), caption=caption)


def findings(facts: Facts) -> Table | None:
    """What else differs from the reference, notable things first; None: nothing was compared."""
    found = sorted(facts.decision.findings, key=lambda one: not one.is_notable)
    if not found:
        return None
    rows = [
        (
            one.numerics,
            FINDINGS.get(one.what, one.what),
            quality_text(one.reference),
            quality_text(one.candidate),
            f"{one.difference:+.4f}",
            f"{one.low:+.4f} to {one.high:+.4f}",
            "worth knowing" if one.is_notable else "within what chance explains",
        )
        for one in found
    ]
    columns = ("computes", "what", "reference", "here", "difference", "95% interval", "")
    caption = "Besides the average"
    return Table(columns, rows, numbers=frozenset(range(2, 6)), caption=caption)


def runs(facts: Facts) -> Table | None:
    """Every training run; None: nothing was trained."""
    if not facts.evidence.runs:
        return None

    def row(run: RunEvidence) -> tuple[str, ...]:
        ending = run.status.value + (f" ({run.reason})" if run.reason else "")
        return (
            run.run_id,
            facts.name(run.setting),
            run.purpose.value,
            str(run.seed),
            ending,
            facts.metric_text(run.metric),
            f"{run.num_samples:,}",
            amount(run.samples_per_s),
            f"{run.accelerator_s:,.1f}",
        )

    columns = ("run", "setting", "for", "seed", "ended", facts.evidence.metric, "samples",
               "samples/s", "accelerator-s")  # fmt: skip
    rows = [row(run) for run in facts.evidence.runs]
    numbers = frozenset({3, 5, 6, 7, 8})
    return Table(columns, rows, numbers=numbers, caption="Every training run")


def spending(facts: Facts, books: Books) -> Table:
    """What was spent on what."""

    def share(seconds: float) -> str:
        return f"{seconds / books.spent_s:.0%}" if books.spent_s else ABSENT

    rows = [(name, f"{seconds:,.1f}", share(seconds)) for name, seconds in books.phases.items()]
    rows.append(("all phases", f"{books.spent_s:,.1f}", share(books.spent_s)))
    by_precision = facts.evidence.spending.by_precision_s
    rows += [
        (f"of it in {name}", f"{seconds:,.1f}", share(seconds))
        for name, seconds in by_precision.items()
    ]
    return Table(("phase", "accelerator-s", "share"), rows, numbers=frozenset({1, 2}))


def _table(
    facts: Facts,
    order: Sequence[int],
    numbers: Sequence[tuple[str, Cell]],
    texts: Sequence[tuple[str, Cell]],
    caption: str,
) -> Table:
    """Swept values, numbers and texts of settings; columns that say nothing are left out."""
    cells = [(header, [cell(i) for i in order], True) for header, cell in numbers]
    cells += [(header, [cell(i) for i in order], False) for header, cell in texts]
    kept = [one for one in cells if any(text not in ("", ABSENT) for text in one[1])]
    swept = [(one.header, [one.values[i] for i in order], False) for one in facts.swept]
    columns = [*swept, *kept]
    return Table(
        columns=[header for header, _, _ in columns],
        rows=list(zip(*(texts for _, texts, _ in columns), strict=True)),
        numbers=frozenset(index for index, one in enumerate(columns) if one[2]),
        caption=caption,
    )


def _standing(facts: Facts, index: int) -> str:
    verdict = facts.verdicts.get(index)
    if verdict is None:
        return ABSENT
    return verdict.standing.value + " (reference)" * (index == facts.evidence.reference)


def _names(facts: Facts, settings: Sequence[int]) -> str:
    names = [facts.name(index) for index in settings[:_MAX_NAMES]]
    if len(settings) > _MAX_NAMES:
        names.append(f"and {len(settings) - _MAX_NAMES} more")
    return ", ".join(names)


def _failure(facts: Facts, index: int) -> str:
    evidence = facts.evidence
    probe = evidence.probe
    return (probe.failures | probe.given_up | evidence.refused).get(index, "")


def _interval(facts: Facts, index: int) -> str:
    timing = facts.timings.get(index)
    return f"{amount(timing.low)} to {amount(timing.high)}" if timing else ABSENT


def _ratio(facts: Facts, index: int) -> str:
    timing = facts.timings.get(index)
    return _form(timing.of_best, ".3f") if timing else ABSENT


def _ratio_interval(facts: Facts, index: int) -> str:
    timing = facts.timings.get(index)
    if timing is None or timing.of_best_low is None or timing.of_best_high is None:
        return ABSENT
    return f"{timing.of_best_low:.3f} to {timing.of_best_high:.3f}"


def _windows(facts: Facts, index: int) -> str:
    timing = facts.timings.get(index)
    return str(timing.num_windows) if timing else ABSENT


def _rejected(facts: Facts, index: int) -> str:
    timing = facts.timings.get(index)
    return str(timing.num_rejected) if timing and timing.num_rejected else ABSENT


def _to_target(facts: Facts, index: int) -> str:
    costs = facts.costs_of(index)
    return amount(costs.cost_to_target_s) + "~" * costs.is_predicted


def _count(number: int | None) -> str:
    return ABSENT if number is None else f"{number:,}"


def _form(value: float | None, form: str) -> str:
    return ABSENT if value is None else format(value, form)
