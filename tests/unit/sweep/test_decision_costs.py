"""What a setting costs follows from its speed, its memory, its meter and its runs, by hand."""

import pytest

from raymi.sweep.decision.case import Case
from raymi.sweep.decision.costs import list_costs, samples_of_run
from raymi.sweep.decision.memory import list_memory_models
from raymi.sweep.decision.speed import read_speeds
from raymi.sweep.evidence import Latency

ROWS = 4096
FAST = "precision=bf16 micro_batch_size=32"


def costs_of(evidence):
    case = Case(evidence)
    return list_costs(case, read_speeds(case))


def test_a_run_costs_its_samples_at_the_probed_speed(make_evidence):
    costs = costs_of(make_evidence(speeds={FAST: 512.0}, noise=0.0))[3]

    assert costs.samples_per_s == pytest.approx(512.0)
    assert costs.accelerator_s == pytest.approx(2 * ROWS / 512.0)
    assert costs.money == pytest.approx(2 * ROWS / 512.0 / 3600.0 * 0.36)


def test_every_worker_is_paid(make_evidence):
    space = {"resources.num_workers": [1, 2]}
    speeds = {"num_workers=1": 1000.0, "num_workers=2": 1600.0}
    one, two = costs_of(make_evidence(space=space, speeds=speeds, noise=0.0))[:2]

    assert two.accelerator_s / one.accelerator_s == pytest.approx(2 / 1.6)


def test_without_a_price_there_is_no_money(make_evidence):
    assert costs_of(make_evidence(price_per_hour=None))[0].money is None


@pytest.mark.parametrize(
    ("max_steps", "samples"), [(None, 2 * ROWS), (10, 640), (10_000, 2 * ROWS)]
)
def test_a_run_ends_with_its_epochs_or_its_steps(make_evidence, max_steps, samples):
    case = Case(make_evidence(train={"max_steps": max_steps}))

    assert samples_of_run(case, case.reference) == samples


def test_energy_is_joules_per_sample_times_samples(make_evidence):
    watts = {"fp32": 300.0, "bf16": 200.0}
    costs = costs_of(make_evidence(watts=watts, speeds={FAST: 512.0}, noise=0.0))

    assert costs[3].energy_j == pytest.approx(200.0 * 2 * ROWS / 512.0)


def test_without_a_meter_there_is_no_energy(make_evidence):
    assert all(one.energy_j is None for one in costs_of(make_evidence()))


def test_windows_that_do_not_count_use_no_energy(make_evidence):
    evidence = make_evidence(watts={"fp32": 300.0}, noise=0.0)
    windows = tuple(
        w.model_copy(update={"rejected": "busy", "energy_j": 1e9}) if w.round == 0 else w
        for w in evidence.probe.windows
    )
    probe = evidence.probe.model_copy(update={"windows": windows})
    disturbed = costs_of(evidence.model_copy(update={"probe": probe}))

    assert disturbed[0].energy_j == pytest.approx(costs_of(evidence)[0].energy_j)


def test_quality_is_the_mean_over_seeds_of_all_that_compute_alike(make_evidence):
    costs = costs_of(make_evidence(qualities={"bf16": [0.90, 0.94], "fp32": 0.95}))

    assert [one.quality for one in costs] == pytest.approx([0.95, 0.95, 0.92, 0.92])


def test_a_second_run_with_the_same_seed_in_another_cut_adds_nothing(make_evidence):
    evidence = make_evidence(qualities={"fp32": [0.9, 0.9]})
    again = evidence.runs[0].model_copy(update={"setting": 0, "metric": 0.1, "run_id": "again"})

    costs = costs_of(evidence.model_copy(update={"runs": (*evidence.runs, again)}))

    assert costs[0].quality == pytest.approx(0.9)


def test_confirmation_runs_do_not_change_the_quality(make_evidence):
    evidence = make_evidence(qualities={"fp32": 0.9}, confirmations={"fp32": 0.5})

    assert costs_of(evidence)[0].quality == pytest.approx(0.9)


def test_latency_is_that_of_one_row_in_the_same_precision(make_evidence):
    evidence = make_evidence()
    probe = evidence.probe.model_copy(
        update={
            "latencies": (
                Latency(setting=0, num_rows=1, latency_ms=2.0),
                Latency(setting=0, num_rows=64, latency_ms=9.0),
                Latency(setting=3, num_rows=1, latency_ms=3.0),
            )
        }
    )

    costs = costs_of(evidence.model_copy(update={"probe": probe}))

    assert [one.latency_ms for one in costs] == [2.0, 2.0, 3.0, 3.0]


def test_a_measured_point_is_taken_before_a_line_and_before_windows(make_evidence):
    """Windows of one process may see what other settings hold."""
    evidence = make_evidence(peak_gib={FAST: 3.5})
    crooked = tuple(
        point.model_copy(update={"peak_gib": 2.0}) if point.setting == 3 else point
        for point in evidence.probe.memory
    )
    probe = evidence.probe.model_copy(update={"memory": crooked})

    assert costs_of(evidence.model_copy(update={"probe": probe}))[3].peak_memory_gib == 2.0


def test_a_size_that_was_not_measured_is_on_the_line_of_those_that_were(make_evidence):
    space = {"batch.micro_batch_size": [8, 16, 32, 64]}
    evidence = make_evidence(space=space)
    points = tuple(p for p in evidence.probe.memory if p.micro_batch_size < 64)
    probe = evidence.probe.model_copy(update={"memory": points})

    costs = costs_of(evidence.model_copy(update={"probe": probe}))

    assert costs[3].peak_memory_gib == pytest.approx(0.5 + 64 / 100)


def test_learning_rates_share_what_was_measured_of_one(make_evidence):
    evidence = make_evidence(space={"optimizer.learning_rate": [1e-3, 1e-2]})
    probe = evidence.probe.model_copy(update={"memory": evidence.probe.memory[:1]})

    costs = costs_of(evidence.model_copy(update={"probe": probe}))

    assert costs[0].peak_memory_gib == costs[1].peak_memory_gib == pytest.approx(0.82)


def test_without_points_the_device_tells_its_peak_while_it_was_timed(make_evidence):
    evidence = make_evidence(peak_gib={FAST: 3.5})
    probe = evidence.probe.model_copy(update={"memory": ()})

    costs = costs_of(evidence.model_copy(update={"probe": probe}))

    assert [one.peak_memory_gib for one in costs] == [None, None, None, 3.5]


def test_a_memory_model_says_what_fits_here_and_elsewhere(make_evidence):
    case = Case(make_evidence())

    fp32, bf16 = list_memory_models(case)

    assert (fp32.numerics, bf16.numerics) == ("fp32", "bf16")
    assert (fp32.fixed_gib, fp32.per_sample_gib) == pytest.approx((0.5, 0.01))
    assert fp32.largest_micro_batch["this"] == 750
    assert bf16.largest_micro_batch["this"] == 1550
    # 192 GiB less a tenth of headroom.
    assert fp32.largest_micro_batch["AMD-Instinct-MI300X-OAM"] == 17230
