"""Tables of a sweep say everything about each setting, in lines that fit a wide terminal."""

from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import Spending
from raymi.sweep.verdicts import Finding
from raymi.sweep.view.columns import Column, text_table
from raymi.sweep.view.facts import Facts, list_swept
from raymi.sweep.view.spending import read_books, spending_sentence
from raymi.sweep.view.table import format_decision, format_front, format_probe

TRAINED = {"qualities": {"fp32": 0.9, "bf16": 0.9}, "confirmations": {"fp32": 0.9, "bf16": 0.9}}


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_columns_line_up_with_numbers_to_the_right():
    table = text_table([Column("n", ["1", "1,000", "-"]), Column("text", ["a", "bc", ""])])

    assert table.splitlines() == ["    n  text", "    1  a", "1,000  bc", "    -"]


def test_a_long_last_column_is_wrapped_below_itself():
    table = text_table([Column("n", ["1"]), Column("why", ["word " * 20])], width=40)

    first, *others = table.splitlines()[1:]
    assert first.startswith("1  word")
    assert others and all(line.startswith("   word") for line in others)
    assert max(map(len, table.splitlines())) <= 40


def test_a_column_that_says_nothing_is_left_out_if_it_may_be():
    columns = [
        Column("kept", ["-"]),
        Column("gone", ["-"], is_optional=True),
        Column("", ["x"]),
    ]

    assert text_table(columns).splitlines()[0] == "kept"


def test_an_extra_column_gives_way_where_the_table_is_too_wide():
    columns = [Column("a" * 30, ["1"]), Column("b" * 30, ["2"], is_extra=True), Column("c", ["x"])]

    assert "b" in text_table(columns, width=80)
    assert "b" not in text_table(columns, width=50)


def test_settings_are_told_by_their_swept_values(make_evidence):
    evidence = make_evidence(
        space={"precision": ["fp32", "bf16"], "batch.global_batch_size": [64, 128]},
        spec={"batch_mode": "scaled"},
    )

    swept = {one.header: one.values for one in list_swept(evidence)}

    assert swept["precision"] == ("fp32", "fp32", "bf16", "bf16")
    assert swept["global batch"] == ("64", "128", "64", "128")
    # It follows the batch by a rule, so it is told, too.
    assert len(set(swept["learning rate"])) == 2


def test_a_reference_outside_of_the_space_has_its_values_all_the_same(make_evidence):
    evidence = make_evidence(space={"precision": ["bf16"], "optimizer.weight_decay": [0.5]})

    precision, decay = list_swept(evidence)

    assert precision.values == ("bf16", "fp32")
    assert decay.values[0] == "0.5" != decay.values[1]


def test_after_the_probe_the_fastest_comes_first_and_what_was_dropped_last(make_evidence):
    evidence = make_evidence(refused={3: "no bf16 here"})

    header, *lines, last = format_probe(evidence).splitlines()

    assert header.split()[:3] == ["precision", "micro-batch", "samples/s"]
    assert lines[0].split()[:2] == ["bf16", "8"]
    assert lines[-1].split()[:2] == ["bf16", "32"]
    assert lines[-1].endswith("no bf16 here")
    assert "the reference" in next(line for line in lines if line.split()[:2] == ["fp32", "32"])
    assert last.startswith("3 of 4 settings are left; speeds closer than")


def test_the_front_has_only_what_nothing_beats(make_evidence):
    evidence = make_evidence(**TRAINED)
    decision = decide(evidence)

    shown = {tuple(row[:2]) for row in rows(format_front(evidence, decision))[1:]}

    expected = {
        (setting.precision.value, str(setting.micro_batch_size))
        for setting in evidence.settings
        if Facts(evidence, decision).is_on_front(setting.index)
    }
    assert shown == expected


def test_an_empty_front_says_so(make_evidence):
    evidence = make_evidence(rounds=0)

    assert "empty" in format_front(evidence, decide(evidence))


def test_the_decision_shows_every_setting_the_winner_first(make_evidence):
    evidence = make_evidence(**TRAINED)
    decision = decide(evidence)

    text = format_decision(evidence, decision)

    header, first = rows(text)[:2]
    assert header[:4] == ["precision", "micro-batch", "samples/s", "95%"]
    assert first[:3] == ["*", "bf16", "32"]
    assert "winner" in first
    assert decision.sentence in text.splitlines()
    for verdict in decision.verdicts:
        assert verdict.standing.value in text
    assert max(len(line) for line in text.split("\n\n")[0].splitlines()) <= 150


def test_columns_of_energy_and_money_are_there_only_with_data(make_evidence):
    without = make_evidence(**TRAINED, price_per_hour=None)
    metered = make_evidence(**TRAINED, watts={"fp32": 100.0, "bf16": 90.0})

    bare, full = (format_decision(e, decide(e)).splitlines()[0] for e in (without, metered))

    assert "J a run" not in bare and "money" not in bare
    assert "J a run" in full and "money" in full


def test_the_cost_to_a_target_is_shown_to_whoever_asked_for_it(make_evidence):
    asked = make_evidence(**TRAINED, spec={"objective": "cost_to_target"})

    assert "s to target" in format_decision(asked, decide(asked)).splitlines()[0]
    plain = make_evidence(**TRAINED)
    assert "s to target" not in format_decision(plain, decide(plain))


def test_what_was_spent_is_held_against_the_budget(make_evidence):
    evidence = make_evidence(
        spec={"budget": {"accelerator_s": 600.0, "wall_clock_s": 120.0}},
        price_per_hour=3.6,
        spending=Spending(probe_s=50.0, quality_s=450.0, confirmation_s=110.0, wall_clock_s=90.0,
                          stopped_by="budget.accelerator_s"),
    )  # fmt: skip

    assert spending_sentence(read_books(evidence)) == (
        "spent 610 of 600 accelerator-s (probe 50, quality 450, confirmation 110), 102% of the "
        "budget, 10.0 over it; 1m30s by the clock of 2m00s; 0.61 at 3.6 a worker-hour; "
        "a phase ended early: budget.accelerator_s was used up"
    )


def test_without_a_budget_only_what_was_spent_is_told(make_evidence):
    evidence = make_evidence(spending=Spending(probe_s=5.0, wall_clock_s=5.0), price_per_hour=None)

    assert spending_sentence(read_books(evidence)) == (
        "spent 5 accelerator-s (probe 5, quality 0, confirmation 0); 5s by the clock"
    )


def test_only_findings_that_chance_does_not_explain_are_told(make_evidence):
    evidence = make_evidence(**TRAINED)
    finding = Finding(numerics="bf16", what="ece", reference=0.02, candidate=0.06, difference=0.04,
                      low=0.01, high=0.07, is_notable=True)  # fmt: skip
    minor = finding.model_copy(update={"what": "brier", "is_notable": False})
    decision = decide(evidence).model_copy(update={"findings": (finding, minor)})

    text = format_decision(evidence, decision)

    assert "bf16: calibration error changes from 0.0200 to 0.0600" in text
    assert "Brier" not in text
