"""A tuning as lines and tables of text, for terminals and pages alike."""

from __future__ import annotations

from collections.abc import Iterator

from raymi.serve.tuning.evidence import Evidence, LoadRun
from raymi.serve.tuning.shortlist import median_passes
from raymi.serve.tuning.verdicts import Standing, Status, TuningDecision
from raymi.serve.tuning.words import describe

Row = tuple[str, ...]

LOAD_COLUMNS = ("configuration", "CPUs", "p50 ms", "p99 ms", "interval", "good/s", "failed",
                "could carry", "verdict")  # fmt: skip
WAY_COLUMNS = ("way", "1 row", "full batch", "rows/s", "quality", "difference", "verdict")

_ORDER = tuple(Status)[::-1]
_LOADED = (Status.MET, Status.UNSURE, Status.MISSED)


def progress_words(load: LoadRun) -> str:
    """What came of one load."""
    times = sorted(load.latencies_ms)
    failed = f", {load.num_failed} failed" if load.num_failed else ""
    if not times:
        return f"no good answer{failed}"
    p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
    return (
        f"p50 {times[len(times) // 2]:.1f} ms, p99 {p99:.1f} ms, {len(times):,} answers{failed} "
        f"(ready after {load.ready_s:.0f} s)"
    )


def load_rows(evidence: Evidence, decision: TuningDecision) -> list[Row]:
    """Those that were put under load: the frontier first, marked `*`, the winner `>`."""
    loaded = [one for one in decision.standings if one.status in _LOADED]
    loaded.sort(key=lambda one: (
        not one.is_on_front,
        evidence.candidates[one.candidate].num_cpus,
        one.p99_ms if one.p99_ms is not None else float("inf"),
    ))  # fmt: skip
    return [_load_row(evidence, decision, one) for one in loaded]


def way_rows(evidence: Evidence, decision: TuningDecision) -> list[Row]:
    """Every way to compute: time of passes, quality, and why it is out if it is."""
    gates = {gate.way: gate for gate in decision.gates}
    largest = max(candidate.max_batch_size for candidate in evidence.candidates)
    rows: list[Row] = []
    for index, way in enumerate(evidence.ways):
        medians = median_passes(evidence, index)
        gate = gates.get(index)
        out = evidence.refused.get(index) or evidence.broken.get(index)
        verdict = gate.why if gate is not None else out or "too slow to be judged"
        best = max((n / s for n, s in medians.items()), default=None)
        rows.append((
            way.label,
            _time(medians.get(1)),
            _time(medians.get(largest)),
            "" if best is None else f"{best:,.0f}",
            "" if gate is None or gate.quality is None else f"{gate.quality:.4f}",
            "" if gate is None or gate.difference is None else f"{gate.difference:+.4f}",
            verdict,
        ))  # fmt: skip
    return rows


def left_out(evidence: Evidence, decision: TuningDecision) -> list[Row]:
    """Everybody that was not put under load, with the reason."""
    found = [one for one in decision.standings if one.status not in _LOADED]
    found.sort(key=lambda one: (_ORDER.index(one.status), one.candidate))
    return [
        (describe(evidence, one.candidate), one.status.value.replace("_", " "), one.why)
        for one in found
    ]


def left_out_summary(evidence: Evidence, decision: TuningDecision) -> Iterator[str]:
    """The same, counted: how many for which reason."""
    counts: dict[tuple[str, str], int] = {}
    for one in decision.standings:
        if one.status in _LOADED:
            continue
        way = evidence.ways[evidence.candidates[one.candidate].way].label
        is_about_way = one.status in (Status.CANNOT_RUN, Status.NOT_GOOD_ENOUGH)
        key = (one.status.value.replace("_", " "), f"{way}: {one.why}" if is_about_way else "")
        counts[key] = counts.get(key, 0) + 1
    for (status, why), count in counts.items():
        yield f"{count:>4} {status}{f' ({why})' if why else ''}"


def mark(decision: TuningDecision, one: Standing) -> str:
    """How a standing is marked."""
    if one.candidate == decision.winner:
        return "> "
    return "* " if one.is_on_front else "  "


def _load_row(evidence: Evidence, decision: TuningDecision, one: Standing) -> Row:
    high = "no limit" if one.p99_high_ms is None else f"{one.p99_high_ms:.1f}"
    low = "" if one.p99_low_ms is None else f"{one.p99_low_ms:.1f} to {high}"
    return (
        f"{mark(decision, one)}{describe(evidence, one.candidate)}",
        f"{evidence.candidates[one.candidate].num_cpus:g}",
        "" if one.p50_ms is None else f"{one.p50_ms:.1f}",
        "failed" if one.p99_ms is None else f"{one.p99_ms:.1f}",
        low,
        "" if one.good_per_s is None else f"{one.good_per_s:.1f}",
        f"{one.num_failed} of {one.num_requests}",
        "" if one.rows_per_s is None else f"{one.rows_per_s:,.0f} rows/s",
        one.status.value,
    )


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000.0:.3g} ms"
