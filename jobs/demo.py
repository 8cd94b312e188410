"""The main job on one page: sweep, register, promote, serve the digits, then check every answer.

`make demo` runs it. Everything it makes is under `.raymi/`; everything it starts it stops,
unless `--keep`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import requests

from raymi.control import local_head
from raymi.control.local_head import HeadState
from raymi.data.library import open_dataset
from raymi.data.loading import load_split
from raymi.driver import JobOutcome
from raymi.errors import RaymiError, TrainingError
from raymi.evaluate.result import PREDICTIONS_FILE
from raymi.registry.store import open_store
from raymi.registry.version import ModelVersion
from raymi.serve import stage as serve_stage
from raymi.serve.applications import ServeClient
from raymi.serve.parity import Parity, compare, fetch_predictions, json_rows
from raymi.serve.stage import Deployment
from raymi.serve.tokens import bearer
from raymi.settings import settings
from raymi.specs.data import Split
from raymi.specs.deploy import DeploySpec
from raymi.store.record import write_atomically
from raymi.sweep.receipt import Receipt
from raymi.sweep.result import SWEEP_FILE, SweepResult
from raymi.sweep.view.table import format_decision
from raymi.sweep.workspace import RECEIPT_FILE
from raymi.train.result import TrainResult

ROOT = Path(__file__).resolve().parents[1]
SPEC = "jobs/digits/sweep.yaml"
JSON = {"content-type": "application/json"}


def main() -> None:
    """Run the demo; exit 1 if a served answer differs from the measured one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the endpoint up")
    arguments = parser.parse_args()
    # The demo's state stays in the checkout, unless the caller has a place for it.
    os.environ.setdefault("RAYMI_HOME", str(ROOT / ".raymi"))
    os.chdir(ROOT)
    home = settings().home_dir
    head, is_ours = local_head.up(local_head.HeadRequest(), home=home, say=step)
    try:
        parity = run(head)
    except RaymiError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    finally:
        if is_ours and not arguments.keep:
            step("stopping what the demo started (`make demo KEEP=1` leaves it up)")
            local_head.down(home=home)
    if arguments.keep or not is_ours:
        say(f"\nStill up. To look around: export RAYMI_HOME={home} PATH={ROOT}/.venv/bin:$PATH")
        say("then `raymi status`, `raymi models`, `raymi deployments`; `raymi down` stops it.")
    sys.exit(0 if parity.mismatches == 0 else 1)


def run(head: HeadState) -> Parity:
    """Everything from an empty directory to a checked endpoint."""
    began_at = time.monotonic()
    say(f"dashboard {head.dashboard_url}, token in {head.token_path}")

    step(f"submitting {SPEC} through the Ray job API")
    sweep_began_at = time.monotonic()
    job_id, outcome = submit_and_follow(head)
    sweep = SweepResult.load(Path(outcome.path) / SWEEP_FILE)
    sweep_s = time.monotonic() - sweep_began_at

    step("promoting and deploying the winner")
    deploy_began_at = time.monotonic()
    store = open_store()
    candidate = store.resolve(outcome.model)
    store.promote(candidate.name, candidate.version, by="demo", reason=sweep.sentence)
    deployment = deploy(head, f"{candidate.name}@champion")
    deploy_s = time.monotonic() - deploy_began_at

    step("sending every test row to the endpoint")
    rows, parity = check_every_row(sweep, deployment)
    say(
        f"{parity.num_rows} rows: offline accuracy {parity.offline_accuracy:.4f}, "
        f"served accuracy {parity.served_accuracy:.4f}, {parity.mismatches} mismatches"
    )
    seconds = {"sweep": sweep_s, "deploy": deploy_s, "total": time.monotonic() - began_at}
    summary = summarise(job_id, sweep, candidate, deployment, parity, seconds)
    report(summary, sweep, deployment, example=rows[0])
    return parity


def submit_and_follow(head: HeadState) -> tuple[str, JobOutcome]:
    """Submit the sweep as any user would, print its log as it grows, return what it left.

    Raises:
        TrainingError: The job did not succeed.
    """
    # Ray reads these when it is imported.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(head.token_path)
    from ray.job_submission import JobStatus, JobSubmissionClient

    logging.disable(logging.WARNING)  # Ray's notes on packaging and closed sockets.
    outcome_file = settings().home_dir / "demo" / f"outcome-{secrets.token_hex(4)}.json"
    outcome_file.parent.mkdir(parents=True, exist_ok=True)
    client = JobSubmissionClient(head.dashboard_url)
    job_id = client.submit_job(
        entrypoint=f"{shlex.quote(sys.executable)} jobs/sweep.py {SPEC} --outcome {outcome_file}",
        runtime_env={"working_dir": str(ROOT)},
    )
    say(f"job {job_id}")

    async def follow() -> None:
        async for text in client.tail_job_logs(job_id):
            sys.stdout.write(text)
            sys.stdout.flush()

    asyncio.run(follow())
    status = client.get_job_status(job_id)
    if status != JobStatus.SUCCEEDED or not outcome_file.is_file():
        raise TrainingError(
            f"job {job_id} ended as {status.value}",
            reason="error",
            why=client.get_job_info(job_id).message or "see its log above",
            fix="correct what the log names, then run the demo again",
        )
    return job_id, JobOutcome.load(outcome_file)


def deploy(head: HeadState, model: str) -> Deployment:
    """Put a model behind the head's HTTP port."""
    return serve_stage.run(
        DeploySpec(model=model),
        client=ServeClient(head.dashboard_url, head.token()),
        store=open_store(),
        http_options={"host": "127.0.0.1", "port": head.serve_port},
    )


def check_every_row(
    sweep: SweepResult, deployment: Deployment
) -> tuple[list[dict[str, Any]], Parity]:
    """Send the test split row by row and compare with the evaluation's own predictions."""
    winner = winning_run(sweep)
    dataset, directory = open_dataset(
        settings().store_dir, winner.dataset["name"], winner.dataset["fingerprint"]
    )
    rows = json_rows(load_split(directory, dataset, Split.TEST), winner.preprocessing)
    offline = pq.read_table(Path(winner.run_dir) / PREDICTIONS_FILE)
    parity = compare(
        fetch_predictions(f"{deployment.endpoint}/predict", rows, headers=token_of(deployment)),
        offline.column("prediction").to_pylist(),
        offline.column("target").to_pylist(),
    )
    return rows, parity


def token_of(deployment: Deployment) -> dict[str, str]:
    """The header that requests carry."""
    return bearer(Path(deployment.token_path)) if deployment.token_path else {}


def winning_run(sweep: SweepResult) -> TrainResult:
    """The run behind the winner; a sweep without one would not have succeeded as a job."""
    if sweep.winner is None:
        raise RaymiError("the sweep has no winner", why=sweep.sentence, fix="see its log")
    return sweep.winner


def summarise(
    job_id: str,
    sweep: SweepResult,
    model: ModelVersion,
    deployment: Deployment,
    parity: Parity,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Everything that happened, for programs."""
    receipt = Receipt.load(Path(sweep.sweep_dir) / RECEIPT_FILE)
    trials = [
        {
            "precision": setting.precision.value,
            "micro_batch_size": setting.micro_batch_size,
            "samples_per_s": costs.samples_per_s,
            "accuracy": costs.quality,
            "status": verdict.standing.value,
            "reason": verdict.why,
        }
        for setting, costs, verdict in zip(
            receipt.evidence.settings,
            receipt.decision.costs,
            receipt.decision.verdicts,
            strict=True,
        )
    ]
    return {
        "job_submission_id": job_id,
        "job_status": "SUCCEEDED",
        "trials": trials,
        "winner": {**trials[receipt.decision.winner or 0], "why": sweep.sentence},
        "model": {"name": model.name, "version": model.version, "fingerprint": model.fingerprint},
        "endpoint": deployment.endpoint,
        "num_test_rows": parity.num_rows,
        "offline_accuracy": parity.offline_accuracy,
        "served_accuracy": parity.served_accuracy,
        "mismatches": parity.mismatches,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def report(
    summary: dict[str, Any],
    sweep: SweepResult,
    deployment: Deployment,
    *,
    example: dict[str, Any],
) -> None:
    """Write the summary, and say where everything is and how to call the endpoint."""
    path = settings().home_dir / "demo" / "summary.json"
    write_atomically(path, json.dumps(summary, indent=2) + "\n")
    step("done")
    receipt = Receipt.load(Path(sweep.sweep_dir) / RECEIPT_FILE)
    say(format_decision(receipt.evidence, receipt.decision))
    model = summary["model"]
    say(f"\nmodel     {model['name']}@{model['version']} ({model['fingerprint'][:12]}), champion")
    say(f"sweep     {sweep.sweep_dir}")
    say(f"summary   {path}")
    say(f"endpoint  {summary['endpoint']}")
    body = json.dumps({"rows": [example]}, separators=(",", ":"))
    say("\nCall it (the first test row):\n")
    say(f"  curl -s {summary['endpoint']}/predict -H 'content-type: application/json' \\")
    say(f'    -H "authorization: Bearer $(cat {deployment.token_path})" \\')
    say(f"    -d {shlex.quote(body)}\n")
    headers = {**JSON, **token_of(deployment)}
    answer = requests.post(f"{summary['endpoint']}/predict", data=body, headers=headers, timeout=30)
    say(answer.text)


def step(text: str) -> None:
    """Announce the next part."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
