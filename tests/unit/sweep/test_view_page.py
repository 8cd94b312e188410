"""A sweep's page is one file that shows the choice, what it rests on, and how to check it."""

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from raymi.charts.page import render
from raymi.sweep.evidence import MemoryPoint, ProbeEvidence, Spending
from raymi.sweep.receipt import Receipt
from raymi.sweep.verdicts import MemoryModel
from raymi.sweep.view.page import sweep_page, write_page

SVG = "{http://www.w3.org/2000/svg}"
TRAINED = {"qualities": {"fp32": 0.9, "bf16": 0.9}, "confirmations": {"fp32": 0.9, "bf16": 0.9}}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def receipt_of(evidence) -> Receipt:
    return Receipt.seal(evidence, created_at=NOW)


def parsed(receipt: Receipt) -> ET.Element:
    return ET.fromstring(render(sweep_page(receipt)))  # noqa: S314 - our own text


def text_of(root: ET.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


def charts(root: ET.Element) -> dict[str, ET.Element]:
    return {one.findtext(f"{SVG}title") or "": one for one in root.iter(f"{SVG}svg")}


def sections(root: ET.Element) -> dict[str, str]:
    return {section.findtext("h2") or "": text_of(section) for section in root.iter("section")}


def labels(drawing: ET.Element) -> list[str]:
    return [element.text or "" for element in drawing.iter(f"{SVG}text")]


def test_the_page_is_one_file_without_scripts_or_requests(make_evidence, tmp_path):
    path = tmp_path / "report.html"

    write_page(receipt_of(make_evidence(**TRAINED)), path)

    text = path.read_text()
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in root.iter()}
    assert not {"src", "href"} & {name for element in root.iter() for name in element.attrib}
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "").replace(
        'http-equiv="Content-Security-Policy"', ""
    )
    assert list(tmp_path.iterdir()) == [path]


def test_it_says_who_won_and_why_before_anything_else(make_evidence):
    receipt = receipt_of(make_evidence(**TRAINED))

    root = parsed(receipt)

    assert root.findtext(".//h1") == "precision=bf16 micro_batch_size=32 wins"
    (lead,) = [p for p in root.iter("p") if p.get("class") == "lead"]
    assert lead.text == receipt.decision.sentence.split("; ")[0] + "."
    assert receipt.decision.sentence in text_of(root)


def test_it_says_that_nobody_won(make_evidence):
    receipt = receipt_of(make_evidence(refused=dict.fromkeys(range(4), "no such device")))

    root = parsed(receipt)

    assert root.findtext(".//h1") == "Nobody wins"
    assert receipt.decision.sentence in text_of(root)
    assert "no such device" in sections(root)["What could not win, and why"]


def test_every_part_of_the_decision_has_its_chart(make_evidence):
    evidence = make_evidence(**TRAINED, watts={"fp32": 100.0, "bf16": 90.0})

    drawn = charts(parsed(receipt_of(evidence)))

    assert {
        "Quality against speed", "Memory against speed", "Energy against speed",
        "Samples per second", "As a share of the fastest, round by round",
        "Peak memory of one worker", "On validation rows",
        "Confirmation: fresh seeds, test rows", "Validation while training",
        "Accelerator-seconds by phase",
    } == set(drawn)  # fmt: skip


def test_the_winner_and_the_reference_are_named_in_the_plot(make_evidence):
    drawn = charts(parsed(receipt_of(make_evidence(**TRAINED))))

    shown = labels(drawn["Quality against speed"])
    assert "bf16 · 32 (winner)" in shown
    assert "fp32 · 32 (reference)" in shown


def test_of_many_settings_only_those_that_stand_out_are_named(make_evidence):
    space = {"precision": ["fp32", "bf16", "fp16"],
             "batch.micro_batch_size": [1, 2, 4, 8, 16, 32, 64],
             "optimizer.learning_rate": [0.001, 0.002, 0.003]}  # fmt: skip
    evidence = make_evidence(space=space, train={"optimizer": {"learning_rate": 0.003}})

    drawn = charts(parsed(receipt_of(evidence)))

    named = [text for text in labels(drawn["Memory against speed"]) if " · " in text]
    assert any(text.endswith("(reference)") for text in named)
    assert len(named) < 20
    rows = [t for t in labels(drawn["Samples per second, the fastest 20 and the reference"])
            if " · " in t]  # fmt: skip
    assert 20 <= len(rows) <= 22


def test_a_sweep_that_trained_nothing_has_no_plot_of_quality(make_evidence):
    root = parsed(receipt_of(make_evidence()))

    assert "Quality against speed" not in charts(root)
    assert "Memory against speed" in charts(root)


def test_the_line_of_the_memory_model_and_the_limit_are_drawn(make_evidence):
    evidence = make_evidence()
    probe = evidence.probe.model_copy(update={"memory_limit_gib": 1.0})
    receipt = receipt_of(evidence.model_copy(update={"probe": probe}))
    model = MemoryModel(numerics="fp32", num_workers=1, fixed_gib=0.5, per_sample_gib=0.01,
                        max_error=0.01, largest_micro_batch={"this": 50, "H100": 8000})  # fmt: skip
    decision = receipt.decision.model_copy(update={"memory_models": (model,)})

    root = parsed(receipt.model_copy(update={"decision": decision}))

    drawing = charts(root)["Peak memory of one worker"]
    lines = [p for p in drawing.iter(f"{SVG}path") if "line" in p.get("class", "")]
    assert len(lines) == 2
    assert "what a worker may use" in labels(drawing)
    assert "8,000" in sections(root)["Memory"]


def test_what_ran_out_of_memory_is_counted(make_evidence):
    evidence = make_evidence()
    failed = MemoryPoint(setting=0, micro_batch_size=64, peak_gib=None, duration_s=1.0)
    probe = ProbeEvidence(windows=evidence.probe.windows, memory=(*evidence.probe.memory, failed))

    root = parsed(receipt_of(evidence.model_copy(update={"probe": probe})))

    assert "Measurements that ran out of memory: 1." in sections(root)["Memory"]


def test_the_budget_is_drawn_with_its_reserve(make_evidence):
    evidence = make_evidence(
        spec={"budget": {"accelerator_s": 600.0, "reserve": 0.25}},
        spending=Spending(probe_s=50.0, quality_s=450.0, confirmation_s=110.0),
    )

    root = parsed(receipt_of(evidence))

    drawing = charts(root)["Accelerator-seconds by phase"]
    shown = labels(drawing)
    assert "25% kept for confirmation" in shown
    assert "budget" in shown
    bars = [r for r in drawing.iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[1] > widths[2] > widths[0]
    assert "10.0 over" in text_of(root)


def test_a_budget_that_is_not_limited_is_drawn_without_limits(make_evidence):
    evidence = make_evidence(spending=Spending(probe_s=50.0))

    shown = labels(charts(parsed(receipt_of(evidence)))["Accelerator-seconds by phase"])

    assert "budget" not in shown


def test_differences_are_held_against_the_margin(make_evidence):
    evidence = make_evidence(**TRAINED, spec={"constraints": {"max_quality_loss": 0.02}})

    shown = labels(charts(parsed(receipt_of(evidence)))["On validation rows"])

    assert "margin -2" in shown
    assert "better than the reference by (points of accuracy)" in shown


@pytest.mark.parametrize("metric", ["rmse", "loss"])
def test_errors_and_losses_are_compared_in_shares(make_evidence, metric):
    evidence = make_evidence(metric=metric, qualities={"fp32": 2.0, "bf16": 2.0}, num_rows=500)

    root = parsed(receipt_of(evidence))

    shown = labels(charts(root)["On validation rows"])
    assert f"better than the reference by (% of its {metric})" in shown
    assert f"{metric} (less is better)" in labels(charts(root)["Quality against speed"])


def test_it_says_how_to_check_it_and_how_to_do_it_again(make_evidence):
    receipt = receipt_of(make_evidence(**TRAINED, git_commit="abc123", hardware={"cpu": "EPYC"}))

    parts = sections(parsed(receipt))

    assert "raymi receipt verify receipt.json" in parts["How to check it"]
    assert receipt.sha256 in parts["How to check it"]
    assert "micro_batch_size" in parts["How to do it again"]
    surroundings = parts["Hardware, data and environment"]
    assert all(fact in surroundings for fact in ("EPYC", "abc123", "1000, 1001"))


def test_texts_from_elsewhere_stay_text(make_evidence):
    evidence = make_evidence(**TRAINED, refused={0: "<script>alert(1)</script>"},
                             hardware={"cpu": "<b>EPYC</b>"})  # fmt: skip

    text = render(sweep_page(receipt_of(evidence)))

    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_settings_that_take_the_same_memory_are_one_group(make_evidence):
    space = {"optimizer.learning_rate": [0.001, 0.002], "batch.micro_batch_size": [8, 32]}

    drawing = charts(parsed(receipt_of(make_evidence(space=space))))["Peak memory of one worker"]

    titles = [title.text or "" for title in drawing.iter(f"{SVG}title")][1:]
    assert titles
    assert {title.partition(":")[0] for title in titles} == {"fp32"}
