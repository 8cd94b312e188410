"""A run's page tells what happened, however the run ended and whatever its files say."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.accelerators.energy import Energy, EnergyMethod
from raymi.accelerators.inventory import DeviceFacts
from raymi.charts.page import render
from raymi.train.instrument_log import TelemetryPoint
from raymi.train.report import run_page, write_report
from raymi.train.run_files import RunFiles
from raymi.train.step_times import summarize
from raymi.train.telemetry import RankTelemetry, merge

SVG_TITLE = "{http://www.w3.org/2000/svg}title"
PACE = {"num_epochs": 2, "total_steps": 20, "samples_per_s": 900.0, "eta_s": 3.0}
ATTEMPT = {"event": "attempt", "time": 100.0, "step": 0, "total_steps": 20, "num_workers": 2}
PROGRESS = {"event": "progress", "time": 101.0, "epoch": 1, "step": 5, "loss": 2.0, **PACE}
EPOCH = {"event": "epoch", "time": 102.0, "epoch": 1, "step": 10, "train_loss": 1.5, "loss": 1.6,
         "accuracy": 0.75, **PACE}  # fmt: skip
CHECKPOINT = {"event": "checkpoint", "time": 102.5, "step": 10}
LOST = {"event": "failure", "time": 103.0, "reason": "worker_died", "policy": "retry"}
DIVERGED = {"event": "failure", "time": 165.0, "reason": "diverged", "policy": "stop",
            "traceback": "Traceback: <loss> is nan"}  # fmt: skip
FINISHED = {"event": "finished", "time": 110.0, "num_steps": 20}
RESULT = {
    "metrics": {"accuracy": 0.8125, "loss": 0.5},
    "primary_metric": "accuracy",
    "duration_s": 65.0,
    "spec": {"precision": "bf16"},
    "spec_fingerprint": "f00d",
    "dataset": {"name": "digits"},
    "provenance": {
        "git_commit": "abc123",
        "hardware": {"cpu": "EPYC <9654>", "num_cpus": 96},
        "environment": {"torch": "2.13.0", "zlib": "1"},
    },
}


def rank(**fields) -> RankTelemetry:
    told = {
        "rank": 0,
        "host": "host-a",
        "device": DeviceFacts(accelerator="cpu"),
        "meter": "estimate",
        "num_sharing": 1,
        "step_times": summarize([0.010] * 50 + [0.020]),
        "num_samples": 1000,
        "samples_per_s": 900.0,
        "tokens_per_s": None,
        "data_wait_share": 0.25,
        "peak_memory_gib": 1.5,
        "flops_per_sample": 1e9,
        "energy": None,
        "throttled_share": None,
        "series": (),
    }
    return RankTelemetry(**told | fields)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "digits-20260102-030405-abc"
    path.mkdir()
    return path


def write_events(run_dir: Path, *events: dict[str, object]) -> None:
    text = "".join(json.dumps(event) + "\n" for event in events)
    (run_dir / "events.jsonl").write_text(text)


def page(run_dir: Path) -> ET.Element:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return ET.fromstring(path.read_text())  # noqa: S314 - our own text


def text_of(root: ET.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


def tiles(root: ET.Element) -> dict[str, str]:
    return {
        tile.findtext("dt") or "": text_of(value)
        for tile in root.iter("dl")
        if (value := tile.find("dd")) is not None
    }


def chart_titles(root: ET.Element) -> list[str]:
    charts = (element for element in root.iter() if element.get("role") == "img")
    return [chart.findtext(SVG_TITLE) or "" for chart in charts]


def rows(root: ET.Element) -> list[list[str]]:
    return [[cell.text or "" for cell in row] for row in root.iter("tr")]


def test_a_finished_run_shows_what_came_out_and_what_it_cost(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS, EPOCH, CHECKPOINT, FINISHED)
    (run_dir / "result.json").write_text(json.dumps(RESULT))
    (run_dir / "spec.resolved.yaml").write_text("kind: train\nname: <digits>\n")
    merge([rank()], samples_per_s=900.0).save(run_dir / "telemetry.json")

    root = page(run_dir)

    shown = tiles(root)
    assert shown["accuracy"].startswith("0.8125")
    assert shown["samples per second"] == "900"
    assert shown["step time, median"] == "10 ms 99% within 15 ms"
    assert shown["waiting for data"].startswith("25%")
    assert shown["peak memory"].startswith("1.5 GiB")
    assert shown["attempts"] == "1"
    assert chart_titles(root) == [
        "Loss", "Validation accuracy", "Throughput, mean of the attempt so far", "Step time",
    ]  # fmt: skip
    assert {"abc123", "EPYC <9654>", "2.13.0", "f00d"} <= {row[-1] for row in rows(root)}
    assert "name: <digits>" in text_of(root)


def test_what_a_device_does_not_tell_is_said_to_be_unknown(run_dir):
    write_events(run_dir, ATTEMPT, FINISHED)
    merge([rank()]).save(run_dir / "telemetry.json")

    shown = tiles(page(run_dir))

    unknown = ("MFU, of the peak", "MFU, of what is achieved", "energy")
    assert {shown[name] for name in unknown} == {"not known for this device"}


def test_mfu_and_energy_say_what_they_were_held_against_and_how_they_were_told(run_dir):
    write_events(run_dir, ATTEMPT, FINISHED)
    energy = Energy(joules=5000.0, mean_power_w=500.0, method=EnergyMethod.ESTIMATED)
    merge([rank(energy=energy)], samples_per_s=1e5, peak_tflops=1000.0, achieved_tflops=800.0).save(
        run_dir / "telemetry.json"
    )

    shown = tiles(page(run_dir))

    # 1e9 operations x 1e5 rows/s = 100 TFLOPS.
    assert shown["MFU, of the peak"] == "10% 100 of 1,000 TFLOPS per worker"
    assert shown["MFU, of what is achieved"] == "12% 100 of 800 TFLOPS per worker"
    assert shown["energy"].startswith("5.00 kJ 5.00 J per sample, 500 W; assumed power")


def test_a_run_that_failed_half_way_says_why_and_what_to_try(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS, EPOCH, LOST, ATTEMPT | {"time": 130.0}, DIVERGED)

    root = page(run_dir)

    told = text_of(root)
    assert "failed: the loss stopped being a number" in told
    assert "Try: lower optimizer.learning_rate" in told
    assert "Traceback: <loss> is nan" in told
    assert tiles(root)["attempts"] == "2 2 failures"
    assert [row[:2] for row in rows(root)[1:]][:4] == [
        ["+0s", "attempt 1"],
        ["+3s", "failure"],
        ["+30s", "attempt 2"],
        ["+1m05s", "failure"],
    ]


def test_checkpoints_and_failures_are_marked_in_the_loss(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS, EPOCH, CHECKPOINT, LOST)

    marked = {title.text for title in page(run_dir).iter(SVG_TITLE)}

    assert {"checkpoint at step 10", "worker_died after step 10"} <= marked


def test_warnings_of_kinds_nobody_knew_are_listed_with_their_reason(run_dir):
    warning = {"event": "storage_trouble", "time": 104.0, "reason": "disk_full", "why": "no space"}
    silent = {"event": "novelty", "time": 105.0, "depth": 3}
    write_events(run_dir, ATTEMPT, warning, silent)

    told = rows(page(run_dir))

    assert ["+4s", "storage trouble", "disk_full; no space"] in told
    assert not any("novelty" in cell for row in told for cell in row)


def test_parity_shows_its_verdict_and_how_far_losses_differ(run_dir):
    parity = {"event": "parity", "time": 100.5, "agrees": True, "max_loss_difference": 0.004,
              "loss_tolerance": 0.02, "verdict": "bf16 agrees with fp32"}  # fmt: skip
    write_events(run_dir, ATTEMPT, parity)

    told = text_of(page(run_dir))

    assert "bf16 agrees with fp32 (losses within 0.4%, 2.0% allowed)" in told


def test_a_run_under_way_is_not_finished(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS)

    assert "not finished; last heard of 1s after it began" in text_of(page(run_dir))


def test_a_run_under_way_shows_the_newest_live_numbers(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS | {"step_ms": 12.5, "data_wait_share": 0.25})

    shown = tiles(page(run_dir))

    assert shown["step time, median"] == "12.5 ms last heard of"
    assert shown["waiting for data"] == "25% last heard of"
    assert shown["energy"] == "written when a run ends well"


def test_a_run_in_which_nothing_has_happened_yet_has_a_page(run_dir):
    write_events(run_dir)

    assert "Nothing has happened yet." in text_of(page(run_dir))


def test_a_directory_without_events_has_no_page(run_dir):
    assert write_report(run_dir) is None
    assert list(run_dir.iterdir()) == []


def test_damaged_files_do_not_keep_the_page_from_being_written(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS)
    (run_dir / "result.json").write_text('{"metrics": ')
    (run_dir / "telemetry.json").write_text("[]")
    (run_dir / "spec.resolved.yaml").write_bytes(b"\xff\xfe")

    assert "samples per second" in tiles(page(run_dir))


def test_the_page_asks_for_nothing_else(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS, EPOCH)
    path = write_report(run_dir)

    document = path.read_text()
    assert "<script" not in document
    assert (
        re.findall(r"https?://[^\"' <]+", document.replace("http://www.w3.org/2000/svg", "")) == []
    )


def test_power_over_time_comes_from_the_instruments(run_dir):
    write_events(run_dir, ATTEMPT, FINISHED)
    series = tuple(
        TelemetryPoint(time_s=float(t), step=t, power_w=300.0 + t, clock_mhz=1200.0,
                       temperature_c=None, memory_gib=None, step_ms=None)
        for t in range(3)
    )  # fmt: skip
    device = DeviceFacts(accelerator="H100")
    merge([rank(series=series, device=device)]).save(run_dir / "telemetry.json")

    assert {"Power", "Clock"} <= set(chart_titles(page(run_dir)))


def test_power_of_an_unfinished_run_comes_from_its_progress(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS | {"power_w": 400.0}, EPOCH | {"power_w": 410.0})

    assert "Power of worker 0" in chart_titles(page(run_dir))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KINDS = st.sampled_from(
    ["attempt", "progress", "epoch", "checkpoint", "failure", "finished", "parity", "left", "new"]
)
FIELDS = st.sampled_from(
    ["step", "total_steps", "num_workers", "epoch", "loss", "train_loss", "accuracy", "reason",
     "policy", "samples_per_s", "device", "traceback", "why", "verdict", "max_loss_difference",
     "power_w"]
)  # fmt: skip


@given(
    events=st.lists(
        st.builds(
            lambda kind, time, fields: {**fields, "event": kind, "time": time},
            KINDS,
            st.floats(0, 2e9),
            st.dictionaries(FIELDS, JSON, max_size=6),
        ),
        max_size=8,
    ),
    result=st.dictionaries(
        st.sampled_from(["metrics", "dataset", "spec", "provenance", "primary_metric"]), JSON
    ),
)
def test_no_event_and_no_result_whatsoever_breaks_the_page(events, result):
    run = RunFiles("run", events, telemetry=None, result=result, spec_yaml="")

    assert ET.fromstring(render(run_page(run))).tag == "html"  # noqa: S314 - our own text


def test_events_that_are_only_counted_leave_the_page_as_it_is(run_dir):
    write_events(run_dir, ATTEMPT, PROGRESS, EPOCH, FINISHED)
    without = text_of(page(run_dir))
    noise = {"gradient_square": 1.0, "noise_trace": 2.0, "num_estimates": 3}

    write_events(
        run_dir,
        {"event": "starting", "time": ATTEMPT["time"], "num_workers": 2},
        ATTEMPT,
        PROGRESS,
        EPOCH,
        {"event": "noise_scale", "time": 105.0, **noise},
        FINISHED,
        {"event": "ended", "time": FINISHED["time"]},
    )

    assert text_of(page(run_dir)) == without
