"""Find out how a model is best served: TuneServingSpec -> Tuning, cheap measurements first.

1. What runs here at all, and fits the free CPUs.
2. How long forward passes take; what these alone make too slow is not deployed.
3. What the rest answers to test rows, against the model as it was evaluated.
4. The most promising, deployed for real and put under load, the cheapest first.
5. A decision that follows from all of it.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from raymi.accelerators.catalog import CPU, Accelerator
from raymi.accelerators.detect import detect
from raymi.data.preprocessing import ClassTarget, NumberTarget
from raymi.errors import DeploymentError, RaymiError, UnreachableError
from raymi.registry.bundle import Bundle, load_bundle
from raymi.registry.protocol import ModelStore
from raymi.registry.version import ModelVersion
from raymi.serve.applications import ServeClient
from raymi.serve.backends.catalog import available, probe
from raymi.serve.batching import sizes_up_to
from raymi.serve.export.sample_rows import made_up_rows, rows_of_test_split
from raymi.serve.load.arrivals import poisson, read_trace, replay
from raymi.serve.tuning.endpoint import Place, deploy_spec, measure, request_bodies, take_away
from raymi.serve.tuning.evidence import Evidence, Forecast, PassTime
from raymi.serve.tuning.gate import judge
from raymi.serve.tuning.instrument import Instrument, Subject
from raymi.serve.tuning.left_behind import TUNINGS, claim, find_left_behind
from raymi.serve.tuning.queueing import capacity_rows_per_s, simulate
from raymi.serve.tuning.receipt import TuningReceipt
from raymi.serve.tuning.shortlist import next_round, order, server_of, why_not
from raymi.serve.tuning.view import progress_words
from raymi.serve.tuning.ways import batch_sizes, list_candidates, list_ways
from raymi.serve.tuning.words import describe
from raymi.settings import settings
from raymi.specs.loading import resolved_yaml
from raymi.specs.tune_serving import TuneServingSpec
from raymi.store.record import write_atomically
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.provenance import collect_provenance
from raymi.train.run_files import SPEC_FILE, new_run_id

RECEIPT_FILE = "receipt.json"
_LOG_FILE = "workbench.log"
_NUM_BODIES = 200
_FORECAST_REQUESTS = 4000
_FEWEST_REQUESTS = 2000
_LOAD_S = (10.0, 60.0)
_CPU_TRIES = 4
_CPU_WAIT_S = 5.5
_HOPELESS = 0.5
"""A way whose best configuration carries less than this share of what arrives, at the first
glance, is not timed further."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Work:
    """What every step of one tuning needs."""

    spec: TuneServingSpec
    version: ModelVersion
    bundle: Bundle
    directory: Path
    log: EventLog
    say: Say
    began_s: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a tuning leaves."""

    directory: Path
    """With everything in it."""

    receipt: TuningReceipt
    """What it found, and what follows."""

    ended_by: UnreachableError | KeyboardInterrupt | None
    """Why it ended before it was done; the receipt has what was known by then."""


def run(
    spec: TuneServingSpec,
    *,
    client: ServeClient,
    store: ModelStore,
    http_options: Mapping[str, Any],
    say: Say,
) -> Tuned:
    """Measure, decide, and leave a directory with all of it.

    Args:
        spec: What is asked.
        client: The cluster that candidates are deployed on.
        store: Where the model is.
        http_options: `host` and `port` for Serve, if it is not running yet.
        say: Told what is going on.

    Raises:
        NotFoundError: There is no such model, version or alias.
        IntegrityError: Its bundle is damaged.
        UnreachableError: No cluster answers.
        RaymiError: The model does not answer as it was evaluated.
    """
    version = store.resolve(spec.model)
    spec = _settled(spec, version)
    directory = settings().store_dir / TUNINGS / new_run_id(version.name)
    directory.mkdir(parents=True)
    write_atomically(directory / SPEC_FILE, resolved_yaml(spec))
    bundle = load_bundle(Path(version.path), fingerprint=version.fingerprint)
    log = EventLog(directory / EVENTS_FILE)
    work = _Work(spec, version, bundle, directory, log, say, time.monotonic())
    place = Place(client, store, http_options, f"tuning-{secrets.token_hex(4)}")
    claim(directory, place.application)
    clear_left_behind(place, directory.parent, say)
    evidence = _begin(work, _free_cpus(client), client)
    log.append("began", model=version.reference, candidates=len(evidence.candidates))
    say(f"tuning {evidence.tuning_id}: {len(evidence.ways)} ways to compute, "
        f"{len(evidence.candidates)} configurations")  # fmt: skip
    evidence = _compute(work, evidence)
    evidence, ended_by = _deploy(work, evidence, place)
    evidence = _changed(evidence, duration_s=round(time.monotonic() - work.began_s, 3))
    receipt = TuningReceipt.seal(evidence, created_at=datetime.now(UTC))
    receipt.save(directory / RECEIPT_FILE)
    log.append("decided", winner=receipt.decision.winner, sentence=receipt.decision.sentence)
    return Tuned(directory, receipt, ended_by)


def clear_left_behind(place: Place, tunings_dir: Path, say: Say) -> None:
    """Take away what killed tunings have left: it has CPUs, and would disturb what is measured."""
    deployed = place.client.status().get("applications", {})
    for name in find_left_behind(tunings_dir, deployed):
        take_away(replace(place, application=name))
        say(f"took away {name}, which a tuning that was killed had left")


def _settled(spec: TuneServingSpec, version: ModelVersion) -> TuneServingSpec:
    """Pinned to a version, and with loads of a certain length."""
    asked = spec.measurement
    wanted_s = _FEWEST_REQUESTS / (spec.objective.rate_per_s * asked.repeats)
    duration_s = asked.duration_s or min(max(wanted_s, _LOAD_S[0]), _LOAD_S[1])
    measurement = asked.model_copy(update={"duration_s": duration_s})
    return spec.model_copy(update={"model": version.reference, "measurement": measurement})


def _free_cpus(client: ServeClient) -> float | None:
    """What a cluster says of itself is some seconds old: ask until it says the same twice."""
    found = client.free_cpus()
    for _ in range(_CPU_TRIES):
        time.sleep(_CPU_WAIT_S)
        before, found = found, client.free_cpus()
        if found is not None and found == before:
            break
    return found


def _begin(work: _Work, free_cpus: float | None, client: ServeClient) -> Evidence:
    spec, bundle = work.spec, work.bundle
    accelerator = _accelerator(client)
    free_accelerators = client.free_accelerators() if accelerator.is_gpu else None
    provenance = collect_provenance(accelerator, code_package=None)
    ways = list_ways(spec.space, bundle.precision)
    reasons = {(a.backend, a.precision): a.reason for a in available(probe(accelerator))}
    refused = {
        index: reason
        for index, way in enumerate(ways)
        if (reason := reasons[way.backend, way.precision]) is not None
    }
    sizes = batch_sizes(spec.space, bundle)
    return Evidence(
        tuning_id=work.directory.name,
        spec=spec.to_document(),
        spec_fingerprint=spec.fingerprint(),
        model=work.version.reference,
        bundle=bundle.fingerprint,
        metric=_metric(bundle),
        accelerator=accelerator.name,
        hardware=provenance.hardware,
        environment=provenance.environment,
        dataset="",
        has_test_rows=False,
        free_cpus=free_cpus,
        ways=ways,
        accelerators_per_replica=1.0 if accelerator.is_gpu else 0.0,
        free_accelerators=free_accelerators,
        candidates=list_candidates(spec.space, len(ways), sizes, free_cpus, free_accelerators),
        refused=refused,
        started_at=provenance.started_at,
    )


def _accelerator(client: ServeClient) -> Accelerator:
    """What endpoints would run on: a device of this machine if Ray can reserve it, else the CPU."""
    found = detect()
    return found if found.is_gpu and (client.most_accelerators() or 0.0) >= 1.0 else CPU


def _compute(work: _Work, evidence: Evidence) -> Evidence:
    """Time passes, forecast, and compare the answers of ways that could be fast enough."""
    spec = work.spec
    subject = Subject(
        bundle=Path(work.version.path),
        fingerprint=work.version.fingerprint,
        store_dir=settings().store_dir,
        cache_dir=settings().store_dir / "converted",
        num_threads=max(1, int(spec.space.cpus_per_replica)),
        uses_accelerator=evidence.accelerators_per_replica > 0.0,
        log=work.directory / _LOG_FILE,
    )
    able = [way for way in range(len(evidence.ways)) if way not in evidence.refused]
    largest = max(candidate.max_batch_size for candidate in evidence.candidates)
    work.say(f"timing forward passes of {len(able)} ways that run here")
    with Instrument(subject, evidence.ways) as instrument:
        passes = instrument.time_passes(
            {way: sizes_up_to(largest) for way in able},
            rounds=spec.measurement.service_rounds,
            seed=spec.measurement.seed,
            say=work.say,
            is_hopeless=lambda way, found: _is_hopeless(spec, evidence, way, found),
        )
        evidence = _changed(evidence, passes=passes, broken=dict(instrument.broken))
        evidence = _changed(evidence, forecasts=_forecast(spec, evidence))
        wanted = _fast_enough(spec, evidence)
        work.say(f"comparing the answers of {len(wanted)} ways")
        found = [instrument.outputs(way, max_batch_size=largest) for way in wanted]
        outputs = tuple(one for one in found if one is not None)
        evidence = _changed(evidence, outputs=outputs, broken=dict(instrument.broken))
    if not outputs or outputs[0].way != 0:
        raise RaymiError(
            f"{work.version.reference}: cannot be computed as it was evaluated",
            why=evidence.broken.get(0, evidence.refused.get(0, "nobody knows")),
            fix=f"read {subject.log}",
        )
    rows = len(outputs[0].scores)
    name = work.bundle.lineage.dataset.get("name", "unknown")
    dataset = f"{rows:,} test rows of {name}" if rows else f"no test rows of {name} in this store"
    evidence = _changed(evidence, dataset=dataset, has_test_rows=rows > 0)
    for gate in judge(evidence, spec.gate):
        work.log.append("judged", **gate.model_dump(mode="json"))
        work.say(f"  {evidence.ways[gate.way].label}: {gate.why}")
    return evidence


def _deploy(
    work: _Work, evidence: Evidence, place: Place
) -> tuple[Evidence, UnreachableError | KeyboardInterrupt | None]:
    """Put the most promising candidates under load until enough is known or the budget is used.

    If the cluster goes away or somebody interrupts it, what was measured stands.
    """
    spec = work.spec
    queue = _queue(spec, evidence)
    bodies = request_bodies(_rows(work.bundle, evidence), spec.objective.rows_per_request)
    draw = random.Random(spec.measurement.seed)  # noqa: S311 - an order, not a secret
    number = 0
    while todo := next_round(evidence, spec, queue):
        arrivals_s = _arrivals(spec, spec.measurement.duration_s or _LOAD_S[0], number)
        draw.shuffle(todo)
        for index in todo:
            if time.monotonic() - work.began_s > spec.measurement.budget_s:
                why = f"the budget of {spec.measurement.budget_s:g} s was used up"
                return _changed(evidence, stopped_by=why), None
            wanted = deploy_spec(evidence, index)
            try:
                load = measure(
                    index, wanted, place, bodies=bodies, arrivals_s=arrivals_s, number=number
                )
            except DeploymentError as error:
                undeployed = {**evidence.undeployed, index: error.why}
                evidence = _changed(evidence, undeployed=undeployed)
                work.say(f"  {describe(evidence, index)}: not deployed: {error.why}")
                continue
            except (UnreachableError, KeyboardInterrupt) as error:
                return _changed(evidence, stopped_by=_why_ended(error)), error
            evidence = _changed(evidence, runs=(*evidence.runs, load))
            work.log.append("loaded", **load.model_dump(mode="json", exclude={"latencies_ms"}))
            work.say(f"  {describe(evidence, index)}: {progress_words(load)}")
        number += 1
    return evidence, None


def _why_ended(error: UnreachableError | KeyboardInterrupt) -> str:
    return "it was interrupted" if isinstance(error, KeyboardInterrupt) else error.what


def _rows(bundle: Bundle, evidence: Evidence) -> list[dict[str, Any]]:
    """What requests ask about: test rows if they are here."""
    if evidence.has_test_rows:
        return rows_of_test_split(bundle, settings().store_dir, num_rows=_NUM_BODIES)
    return made_up_rows(bundle.preprocessing, bundle.signature, num_rows=_NUM_BODIES)


def _queue(spec: TuneServingSpec, evidence: Evidence) -> list[int]:
    gates = {gate.way: gate for gate in judge(evidence, spec.gate)}
    forecasts = {one.candidate: one for one in evidence.forecasts}
    able = [
        index
        for index in range(len(evidence.candidates))
        if why_not(evidence, spec, index, gates, forecasts) is None
    ]
    return order(evidence, able)


def _fast_enough(spec: TuneServingSpec, evidence: Evidence) -> list[int]:
    """Ways with a candidate that speed and room allow, the reference among them always."""
    forecasts = {one.candidate: one for one in evidence.forecasts}
    wanted = {0}
    for index, candidate in enumerate(evidence.candidates):
        reason = why_not(evidence, spec, index, {}, forecasts)
        if reason is not None and reason[0] == "not_good_enough":
            wanted.add(candidate.way)
    return sorted(wanted - set(evidence.refused) - set(evidence.broken))


def _forecast(spec: TuneServingSpec, evidence: Evidence) -> tuple[Forecast, ...]:
    rate = spec.objective.rate_per_s
    arrivals_s = _arrivals(spec, _FORECAST_REQUESTS / rate, 0)
    wanted = rate * spec.objective.rows_per_request
    found = []
    for index in range(len(evidence.candidates)):
        server = server_of(evidence, spec, index)
        if server is None:
            continue
        capacity = capacity_rows_per_s(server)
        p99_ms = None
        if capacity > wanted and len(arrivals_s):
            p99_ms = float(np.percentile(simulate(arrivals_s, server), 99)) * 1000.0
        found.append(Forecast(candidate=index, rows_per_s=capacity, p99_ms=p99_ms))
    return tuple(found)


def _is_hopeless(
    spec: TuneServingSpec, evidence: Evidence, way: int, passes: tuple[PassTime, ...] | Any
) -> bool:
    so_far = _changed(evidence, passes=tuple(passes))
    servers = [
        server_of(so_far, spec, index)
        for index, candidate in enumerate(evidence.candidates)
        if candidate.way == way
    ]
    best = max((capacity_rows_per_s(one) for one in servers if one is not None), default=0.0)
    return best < _HOPELESS * spec.objective.rate_per_s * spec.objective.rows_per_request


def _arrivals(spec: TuneServingSpec, duration_s: float, number: int) -> np.ndarray:
    """When the requests of a round are due; the same for everybody in it."""
    rate = spec.objective.rate_per_s
    if spec.objective.trace is None:
        return poisson(rate, duration_s, seed=spec.measurement.seed + number)
    times_s = np.sort(read_trace(Path(spec.objective.trace)))
    # Every round hears another part of it; what is before goes behind, one mean gap later.
    start = int(number * rate * duration_s) % max(len(times_s), 1)
    span_s = float(np.ptp(times_s)) * len(times_s) / max(len(times_s) - 1, 1)
    turned_s = np.concatenate([times_s[start:], times_s[:start] + span_s])
    return replay(turned_s, rate_per_s=rate, duration_s=duration_s)


def _metric(bundle: Bundle) -> str:
    match bundle.preprocessing.target:
        case ClassTarget():
            return "accuracy"
        case NumberTarget():
            return "rmse"
        case _:
            return "loss"


def _changed(evidence: Evidence, **changes: Any) -> Evidence:
    return evidence.model_copy(update=changes)
