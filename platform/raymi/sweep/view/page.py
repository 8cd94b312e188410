"""A sweep on one page: who won and why, what that rests on, what it cost, how to check it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from raymi.charts.markup import Svg
from raymi.charts.page import Block, Charts, Details, Page, Prose, Section, Table, Tile, render
from raymi.charts.quantities import quantity
from raymi.store.record import write_atomically
from raymi.sweep.decision.contest import enter
from raymi.sweep.evidence import Purpose
from raymi.sweep.receipt import Receipt
from raymi.sweep.verdicts import Outcome
from raymi.sweep.view import page_tables, plots
from raymi.sweep.view.budget_bar import budget_bar
from raymi.sweep.view.facts import OBJECTIVES, Facts
from raymi.sweep.view.spending import Books, read_books, spending_sentence
from raymi.sweep.view.table import amount, notes


def write_page(receipt: Receipt, path: Path) -> None:
    """Write the page of a sweep: one file, without scripts or outside requests.

    Args:
        receipt: Of the sweep, with its decision.
        path: Such as `<sweep_dir>/report.html`; replaced in one step.
    """
    write_atomically(path, render(sweep_page(receipt)))


def sweep_page(receipt: Receipt) -> Page:
    """Lay the page out."""
    facts = Facts(receipt.evidence, receipt.decision)
    books = read_books(receipt.evidence)
    sections = [
        _worth_knowing(receipt, facts),
        _choice(facts),
        Section("Every setting", [page_tables.standings(facts)]),
        _speed(facts),
        _memory(facts),
        _quality(facts),
        _confirmation(facts),
        _left_out(facts),
        _cost(facts, books),
        _check(receipt),
        _surroundings(receipt),
        Section("How to do it again", [
            Prose("Submitting this spec with the same data and code repeats the sweep."),
            Details("The resolved spec", yaml.safe_dump(receipt.evidence.spec, sort_keys=False)),
        ]),
    ]  # fmt: skip
    return Page(
        title=_headline(facts),
        lead=_clauses(receipt)[0],
        subtitle=_subtitle(facts),
        tiles=_tiles(facts, books),
        sections=[section for section in sections if section.blocks],
    )


def _clauses(receipt: Receipt) -> list[str]:
    """The parts of the sentence: who won and why, then what else is to be said of it."""
    return [_sentence(part) for part in receipt.decision.sentence.split("; ")]


def _worth_knowing(receipt: Receipt, facts: Facts) -> Section:
    lines = [*_clauses(receipt)[1:], *(_sentence(note) for note in notes(facts))]
    return Section("Worth knowing", [Prose(line) for line in lines])


def _sentence(clause: str) -> str:
    """With a capital, unless it begins with a name such as `bf16`, and a full stop."""
    is_word = clause.partition(" ")[0].isalpha()
    return f"{clause[:1].upper() if is_word else clause[:1]}{clause[1:]}."


def _headline(facts: Facts) -> str:
    return "Nobody wins" if facts.winner is None else f"{facts.winner.label} wins"


def _subtitle(facts: Facts) -> str:
    evidence = facts.evidence
    return " · ".join(
        [
            f"sweep {evidence.sweep_id}",
            f"data {evidence.dataset.get('name', '')}",
            f"best at {OBJECTIVES[facts.spec.objective]}",
            f"{len(evidence.settings)} settings on {evidence.accelerator}",
            f"began {evidence.started_at:%Y-%m-%d %H:%M} UTC",
        ]
    )


def _tiles(facts: Facts, books: Books) -> list[Tile]:
    limit_s = books.limits.accelerator_s
    budget = "without a limit" if limit_s is None else f"of {limit_s:,.0f} allowed"
    if books.over_s:
        budget += f", {books.over_s:,.1f} over"
    spent = Tile("accelerator-seconds", f"{books.spent_s:,.0f}", budget,
                 is_alarm=books.over_s > 0.0)  # fmt: skip
    floor = facts.decision.noise_floor
    noise = Tile("speeds are equal within", None if floor is None else f"{floor:.1%}",
                 "of an identical twin" if floor is not None else "no twin was timed")  # fmt: skip
    if facts.winner is None:
        return [Tile("winner", None, "nobody wins"), spent, noise]
    return [*_winner_tiles(facts, facts.winner.index), spent, noise]


def _winner_tiles(facts: Facts, winner: int) -> list[Tile]:
    costs, reference = facts.costs_of(winner), facts.costs_of(facts.evidence.reference)
    tiles = [
        Tile("samples per second", _or_none(amount(costs.samples_per_s)),
             _speed_note(facts, winner)),
        Tile(facts.evidence.metric, _or_none(facts.metric_text(costs.quality)),
             _quality_note(facts, winner)),
        Tile("peak memory", f"{costs.peak_memory_gib:.2f} GiB" if costs.peak_memory_gib else None,
             _times(costs.peak_memory_gib, reference.peak_memory_gib) or "not measured"),
    ]  # fmt: skip
    if costs.energy_j is not None:
        note = _times(costs.energy_j, reference.energy_j)
        tiles.append(Tile("energy of a run", quantity(costs.energy_j, "J"), note))
    if facts.wants_target and costs.cost_to_target_s is not None:
        note = _times(costs.cost_to_target_s, reference.cost_to_target_s)
        tiles.append(Tile("accelerator-s to the target", amount(costs.cost_to_target_s), note))
    if costs.money is not None:
        tiles.append(Tile("price of a run", amount(costs.money),
                          facts.evidence.price_source or ""))  # fmt: skip
    return [*tiles, *_confirmation_tiles(facts, winner)]


def _confirmation_tiles(facts: Facts, winner: int) -> list[Tile]:
    settings, reference = facts.evidence.settings, facts.evidence.reference
    if winner == reference:
        return []
    if settings[winner].numerics == settings[reference].numerics:
        return [Tile("confirmed", "not needed", "computes as the reference does")]
    confirmed = [one for one in facts.decision.confirmations if one.is_confirmed]
    note = f"{confirmed[-1].num_rows:,} fresh rows" if confirmed else "not compared again"
    is_alarm = not confirmed
    return [Tile("confirmed", "yes" if confirmed else "no", note, is_alarm=is_alarm)]


def _or_none(text: str) -> str | None:
    return None if text == "-" else text


def _speed_note(facts: Facts, winner: int) -> str:
    """By pairs of windows, as in the sentence: medians themselves may have another ratio."""
    ratio = enter(facts.evidence).speeds.ratio(winner, facts.evidence.reference)
    return "" if ratio is None else f"{ratio.median:.3g}x the reference"


def _times(value: float | None, reference: float | None) -> str:
    if not value or not reference:
        return ""
    return f"{value / reference:.3g}x the reference"


def _quality_note(facts: Facts, winner: int) -> str:
    test = facts.tests.get(facts.evidence.settings[winner].numerics)
    if test is None or test.outcome is Outcome.REFERENCE:
        return "computes as the reference does"
    if test.difference is None:
        return test.outcome.value.replace("_", " ")
    unit = " points" if facts.evidence.metric == "accuracy" else "%"
    side = "better" if test.difference > 0.0 else "worse"
    return f"{abs(100.0 * test.difference):.3g}{unit} {side} than the reference"


def _choice(facts: Facts) -> Section:
    """The trade-offs among which the winner was chosen."""
    charts = _drawn(
        plots.quality_against_speed(facts),
        plots.memory_against_speed(facts),
        plots.energy_against_speed(facts),
        plots.money_against_speed(facts),
    )
    if not charts:
        return Section("The choice", [])
    swept = " · ".join(one.header for one in facts.swept)
    timed = [costs for costs in facts.decision.costs if costs.samples_per_s is not None]
    untrained = sum(costs.quality is None for costs in timed)
    text = (
        f"Labels: {swept}. Thin lines across: 95% intervals of speed; upwards: from the lowest "
        "seed to the highest. Hollow: could not win, for the reasons below."
    )
    if untrained:
        text += f" {untrained} of {len(timed)} timed settings were not trained, so that their "
        text += f"{facts.evidence.metric} is not known; the table says why."
    return Section("The choice", [Charts(charts), Prose(text)])


def _speed(facts: Facts) -> Section:
    windows = [one for one in facts.evidence.probe.windows if not one.is_control]
    blocks: list[Block] = []
    if charts := plots.speed_charts(facts):
        seconds = sum(window.duration_s for window in windows)
        blocks += [
            Charts(charts),
            Prose(
                f"{len(windows)} windows of optimizer steps, {seconds:,.0f} s in all, in random "
                "order round by round. Bars: 95% intervals of the median."
            ),
        ]
    return Section("Speed", [*blocks, page_tables.probe(facts)])


def _memory(facts: Facts) -> Section:
    blocks: list[Block] = []
    if chart := plots.memory_chart(facts):
        failed = [one for one in facts.evidence.probe.memory if one.peak_gib is None]
        text = "Dots: measured, each in a fresh process."
        if facts.decision.memory_models:
            text += " Lines: a fixed part and one for each sample, fitted."
        if failed:
            text += f" Measurements that ran out of memory: {len(failed)}."
        blocks += [Charts([chart]), Prose(text)]
    if table := page_tables.memory_models(facts):
        blocks.append(table)
    return Section("Memory", blocks)


def _quality(facts: Facts) -> Section:
    quality, constraints = facts.spec.quality, facts.spec.constraints
    blocks: list[Block] = []
    if charts := _drawn(*plots.difference_charts(facts), plots.curve_chart(facts)):
        blocks += [
            Charts(charts),
            Prose(
                "To the right of the margin: shown to be not worse than the reference by more "
                f"than {constraints.max_quality_loss:g}. Bars: from the lower to the upper bound, "
                f"each at {quality.confidence:.0%} confidence, over pairs of seeds, row by row."
            ),
        ]
    tables = [page_tables.quality_tests(facts), page_tables.findings(facts)]
    return Section("Quality", [*blocks, *(table for table in tables if table)])


def _confirmation(facts: Facts) -> Section:
    blocks: list[Block] = [
        Prose(f"{one.numerics}: {'confirmed' if one.is_confirmed else 'refuted'}. {one.why}.")
        for one in facts.decision.confirmations
    ]
    return Section("Confirmation", blocks)


def _left_out(facts: Facts) -> Section:
    table = page_tables.left_out(facts)
    return Section("What could not win, and why", [table] if table else [])


def _cost(facts: Facts, books: Books) -> Section:
    blocks: list[Block] = [
        Charts([budget_bar(books)]),
        Prose(_sentence(spending_sentence(books))),
        page_tables.spending(facts, books),
    ]
    if table := page_tables.runs(facts):
        blocks.append(table)
    return Section("What it cost", blocks)


def _check(receipt: Receipt) -> Section:
    blocks: list[Block] = [
        Prose(
            "The receipt beside this page holds every raw number that was measured: each timed "
            "window, each peak of memory, what each model got right and wrong on each row."
        ),
        Prose("It is checked, on any machine, without torch, Ray or the data, with:"),
        Details("raymi receipt verify receipt.json", _CHECK),
        Table(
            ("fact", "value"),
            [("sentence", receipt.decision.sentence),
             ("sha256 of all but itself", receipt.sha256),
             ("format", str(receipt.format)),
             ("written by", f"raymi {receipt.raymi}, {receipt.created_at:%Y-%m-%d %H:%M} UTC")],
        ),
    ]  # fmt: skip
    return Section("How to check it", blocks)


_CHECK = (
    "It takes the decision once more from the raw numbers, and compares everything on this page\n"
    "that was derived: speeds and their intervals, memory models, tests, the front, the winner,\n"
    "and the sentence. It exits with 0 when all holds, and names each difference when not."
)


def _surroundings(receipt: Receipt) -> Section:
    evidence = receipt.evidence
    facts: dict[str, Any] = {
        "accelerator": evidence.accelerator,
        **evidence.hardware,
        "price of a worker-hour": evidence.price_per_hour,
        "price from": evidence.price_source,
        "energy from": evidence.probe.meter,
        **{f"data: {name}": value for name, value in evidence.dataset.items()},
        **{f"seeds for {purpose.value}": _seeds(receipt, purpose) for purpose in Purpose},
        "spec fingerprint": evidence.spec_fingerprint,
        "git commit": evidence.git_commit,
    }
    rows = [
        (name.replace("_", " "), _written(value))
        for name, value in facts.items()
        if value not in (None, "", {})
    ]
    blocks: list[Block] = [Table(("fact", "value"), rows)]
    if evidence.environment:
        text = "\n".join(f"{name} {version}" for name, version in evidence.environment.items())
        blocks.append(Details(f"All {len(evidence.environment)} installed distributions", text))
    return Section("Hardware, data and environment", blocks)


def _seeds(receipt: Receipt, purpose: Purpose) -> str:
    seeds = {run.seed for run in receipt.evidence.runs if run.purpose is purpose}
    return ", ".join(map(str, sorted(seeds)))


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _drawn(*charts: Svg | None) -> Sequence[Svg]:
    return [chart for chart in charts if chart is not None]
