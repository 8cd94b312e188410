"""Stage 3: turn a SweepSpec into a SweepResult, and its evidence into a receipt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from raymi.specs.sweep import SweepSpec
from raymi.sweep.accounts import Accounts
from raymi.sweep.conductor import Conductor
from raymi.sweep.ground import Ground, pin_data, survey
from raymi.sweep.monitor import Monitor
from raymi.sweep.receipt import Receipt
from raymi.sweep.result import SWEEP_FILE, SweepResult
from raymi.sweep.training import Training
from raymi.sweep.view.live import SweepProgress
from raymi.sweep.view.page import write_page
from raymi.sweep.view.table import format_decision, format_probe
from raymi.sweep.workspace import Workspace, open_workspace
from raymi.train import cluster
from raymi.train.events import EVENTS_FILE, EventLog
from raymi.train.result import TrainResult
from raymi.train.run_files import RESULT_FILE
from raymi.train.teaching import Teach

PAGE_FILE = "report.html"


def run(
    spec: SweepSpec,
    *,
    store_dir: Path,
    say: Callable[[str], None],
    teach: Teach | None = None,
    starts_anew: bool = False,
) -> SweepResult:
    """Probe, train, compare, confirm; or go on where an interrupted driver has left the same.

    Args:
        spec: What to search.
        store_dir: Where datasets, runs and sweeps are kept; every worker must reach it.
        say: Receives progress, a line at a time.
        teach: Asks the teachers of runs; needed if any has one.
        starts_anew: Leave an interrupted sweep of the same spec alone.

    Raises:
        SpecError, DataError: No setting can be measured here as asked.
        ConflictError: The same sweep is running at this moment.
    """
    spec = pin_data(spec, store_dir)
    cluster.join()
    with open_workspace(spec, store_dir=store_dir, starts_anew=starts_anew) as workspace:
        ground = survey(spec, workspace.sweep_id, store_dir=store_dir)
        return _conduct(ground, workspace, say=say, teach=teach)


def _conduct(
    ground: Ground,
    workspace: Workspace,
    *,
    say: Callable[[str], None],
    teach: Teach | None,
) -> SweepResult:
    accounts = Accounts(
        probe_dir=workspace.probe_dir,
        settings=ground.settings,
        events=workspace.directory / EVENTS_FILE,
    )
    progress = SweepProgress(say)
    monitor = Monitor(
        EventLog(workspace.directory / EVENTS_FILE), accounts, ground.limits, tell=progress
    )
    monitor.begin(
        sweep_id=workspace.sweep_id,
        is_continued=workspace.is_continued,
        num_settings=len(ground.settings),
        num_numerics=len({setting.numerics for setting in ground.settings}),
        budget=ground.spec.budget.to_document(),
    )
    training = Training(ground, workspace, monitor, accounts, say=say, teach=teach)
    conductor = Conductor(ground, workspace, monitor, training, say=say)
    conductor.probe()
    say(format_probe(conductor.evidence()))
    conductor.train()
    conductor.confirm()
    winner = conductor.finish()
    receipt = Receipt.seal(conductor.evidence(), created_at=datetime.now(UTC))
    monitor.say("decided", winner=receipt.decision.winner, sentence=receipt.decision.sentence)
    result = SweepResult(
        sweep_id=workspace.sweep_id,
        sweep_dir=str(workspace.directory),
        sentence=receipt.decision.sentence,
        winner=TrainResult.load(conductor.run_dir(winner) / RESULT_FILE) if winner else None,
        serving_batch_sizes=receipt.decision.serving_batch_sizes,
    )
    result.save(workspace.directory / SWEEP_FILE)
    _publish(receipt, workspace, say)
    return result


def _publish(receipt: Receipt, workspace: Workspace, say: Callable[[str], None]) -> None:
    """The page first: a sweep with a receipt has ended."""
    page = workspace.directory / PAGE_FILE
    write_page(receipt, page)
    receipt.save(workspace.receipt)
    say("")
    say(format_decision(receipt.evidence, receipt.decision))
    say("")
    say(f"receipt {workspace.receipt}, page {page}")
    say(f"check it: raymi receipt verify {workspace.receipt}")
