"""Commands that measure Raymi against other people's software on this machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raymi.cli.bench_serve import serve
from raymi.cli.output import Json, print_json, print_line, print_table
from raymi.cli.targets import Set
from raymi.errors import SpecError

if TYPE_CHECKING:
    from raymi.bench.data_speed import DataSpeed
    from raymi.bench.sweep_cost import SweepCost
    from raymi.bench.train_result import TrainSpeed
    from raymi.significance.interval import Interval
    from raymi.specs.train import TrainSpec

_FILE = Path("jobs/digits/train.yaml")
_SWEEP_FILE = Path("jobs/adult/sweep.yaml")

app = typer.Typer(help="Compare with other people's software, in turns, on this machine.")


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(serve)
    root.add_typer(app, name="bench", rich_help_panel="Measurements")


@app.callback()
def bench() -> None:
    """Compare with other people's software, in turns, on this machine.

    `make bench` installs it first.
    """


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="A train spec (YAML).")] = _FILE,
    overrides: Set = [],  # noqa: B006 - typer copies it
    *,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each contestant.")] = 30,
    window_s: Annotated[float, typer.Option(min=0.01, help="Seconds of a turn.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Training samples/s of Raymi on Ray Train, torchrun, Lightning Fabric and Accelerate."""
    from raymi.bench.train_speed import Request, measure
    from raymi.settings import settings

    request = Request(
        spec=_train_spec(file, overrides),
        num_rounds=rounds,
        window_s=window_s,
        store_dir=settings().store_dir,
    )
    with _progress(as_json) as say:
        speed = measure(request, say=say)
    if as_json:
        print_json(speed.to_document())
        return
    _print_train(speed)


@app.command()
def data(
    file: Annotated[Path, typer.Argument(help="A train spec (YAML).")] = _FILE,
    overrides: Set = [],  # noqa: B006 - typer copies it
    *,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of each side.")] = 15,
    window_s: Annotated[float, typer.Option(min=0.01, help="Seconds of a turn.")] = 0.3,
    as_json: Json = False,
) -> None:
    """Shuffled training batches against reading the same files in order, one thread each."""
    from raymi.bench.data_speed import measure
    from raymi.settings import settings
    from raymi.train.planning import make_plan

    plan = make_plan(
        _train_spec(file, overrides),
        run_id="bench",
        accelerator="cpu",
        store_dir=settings().store_dir,
    )
    speed = measure(
        Path(plan.dataset_dir),
        plan.dataset,
        plan.preprocessing,
        repeats=rounds,
        seconds=window_s,
    )
    if as_json:
        print_json(speed.to_document())
        return
    _print_data(speed)


@app.command()
def teacher(
    file: Annotated[Path, typer.Argument(help="A train spec with `distillation`.")],
    overrides: Set = [],  # noqa: B006 - typer copies it
    *,
    seeds: Annotated[int, typer.Option(min=3, max=30, help="Pairs of runs.")] = 10,
    as_json: Json = False,
) -> None:
    """Test metric of a student with and without its teacher, in pairs of the same seed."""
    from raymi.bench.teacher_gain import mean_interval, measure
    from raymi.registry.store import open_store
    from raymi.registry.teacher import teach
    from raymi.settings import settings

    store = open_store()
    with _progress(as_json) as say:
        gain = measure(
            _train_spec(file, overrides),
            num_seeds=seeds,
            store_dir=settings().store_dir,
            teach=lambda plans: teach(plans, store),
            say=say,
        )
    if as_json:
        print_json(gain.to_document())
        return
    average, low, high = mean_interval(gain.gains)
    print_line(
        f"{gain.teacher} is worth {average:+.4f} {gain.metric} to this student, on average over "
        f"{seeds} seeds (95% interval {low:+.4f} to {high:+.4f})"
    )


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep spec (YAML).")] = _SWEEP_FILE,
    overrides: Set = [],  # noqa: B006 - typer copies it
    *,
    seeds: Annotated[
        int, typer.Option(min=0, max=30, help="Of the exhaustive search; 0: leave it out.")
    ] = 3,
    as_json: Json = False,
) -> None:
    """Accelerator-seconds to the best setting: a Ray Tune grid, ASHA, Raymi; and who is right.

    The default file and three seeds take about an hour on two cores.
    """
    from raymi.bench.sweep_cost import measure
    from raymi.settings import settings
    from raymi.specs.loading import load_spec
    from raymi.specs.sweep import SweepSpec

    spec = load_spec(file, overrides)
    if not isinstance(spec, SweepSpec):
        raise SpecError(
            f"{file}: a {spec.kind} spec",
            why="this bench searches, so it takes `kind: sweep`",
            fix=f"for example {_SWEEP_FILE}",
        )
    with _progress(as_json) as say:
        cost = measure(spec, num_seeds=seeds, store_dir=settings().store_dir, say=say)
    if as_json:
        print_json(cost.to_document())
        return
    _print_sweep(cost)


def _train_spec(file: Path, overrides: list[str]) -> TrainSpec:
    from raymi.specs.loading import load_spec
    from raymi.specs.train import TrainSpec

    spec = load_spec(file, overrides)
    if not isinstance(spec, TrainSpec):
        raise SpecError(
            f"{file}: a {spec.kind} spec",
            why="the bench trains, so it takes `kind: train`",
            fix=f"for example {_FILE}",
        )
    return spec


def _print_train(speed: TrainSpeed) -> None:
    from raymi.bench.contestants import contestants
    from raymi.bench.train_result import BARS, verdict

    print_line()
    titles = {one.name: one.title for one in contestants(1)}
    print_table(
        ("contestant", "samples/s", "Raymi on Ray Train is", "95% interval", "note"),
        [
            (
                title,
                _speed_text(speed.samples_per_s.get(name)),
                *_ratio_texts(speed.ratios.get(name)),
                speed.lost.get(name, ""),
            )
            for name, title in titles.items()
        ],
    )
    print_line()
    for name, bar in BARS.items():
        if ratio := speed.ratios.get(name):
            said = verdict(ratio, bar, noise_floor=speed.noise_floor)
            print_line(
                f"{titles[name]}: {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}), "
                f"at least {bar:.2f} is claimed: {said}"
            )
    if speed.noise_floor is not None:
        print_line(f"noise: two identical contestants differ by up to {speed.noise_floor:.1%}")
    if scaling := speed.scaling:
        efficiency, limit = scaling.efficiency, scaling.limit_speedup
        print_line(
            f"scaling: {scaling.num_workers} workers do {scaling.speedup.median:.2f}x one process, "
            f"{efficiency.median:.1%} ({efficiency.low:.1%} to {efficiency.high:.1%}) of what "
            f"{scaling.num_workers} independent processes do here ({limit.median:.2f}x)"
        )


def _print_sweep(cost: SweepCost) -> None:
    print_line()
    verdicts = {True: "yes", False: "no", None: "not known"}
    print_table(
        ("search", "accelerator-s", "of the grid", "winner", "is it the best?"),
        [
            (
                name,
                f"{cost.accelerator_seconds[name]:,.0f}",
                f"{cost.accelerator_seconds[name] / cost.accelerator_seconds['grid']:.3f}x",
                cost.label(cost.winner[name]) or "nobody",
                verdicts[cost.is_right(name)],
            )
            for name in ("grid", "asha", "raymi")
        ],
    )
    if cost.truth is not None:
        ties = [cost.label(i) for i in cost.truth.best if i != cost.truth.winner]
        print_line(
            f"best, by every setting with every seed: {cost.label(cost.truth.winner)}"
            + (f"; not told apart from it: {', '.join(map(str, ties))}" if ties else "")
        )
    if cost.noise_floor is not None:
        print_line(f"noise: two identical settings differ by up to {cost.noise_floor:.1%}")


def _print_data(speed: DataSpeed) -> None:
    print_line(
        f"{speed.num_rows:,} rows of {speed.row_bytes:,} bytes in {speed.num_shards} files of "
        f"{speed.file_bytes / 1e6:,.1f} MB; reading them in order does "
        f"{speed.reading_gb_per_s:.2f} GB/s into memory, "
        f"{speed.cached_reading_gb_per_s:.2f} GB/s into a buffer in the cache"
    )
    print_table(
        ("micro-batch", "rows/s", "GB/s", "of reading", "95% interval", "of cached reading"),
        [
            (
                one.micro_batch_size,
                f"{one.rows_per_s:,.0f}",
                f"{one.gb_per_s:.2f}",
                *_ratio_texts(one.of_reading),
                f"{one.of_cached_reading.median:.3f}x",
            )
            for one in speed.deliveries
        ],
    )


def _speed_text(samples_per_s: float | None) -> str:
    return "" if samples_per_s is None else f"{samples_per_s:,.0f}"


def _ratio_texts(ratio: Interval | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    return f"{ratio.median:.3f}x", f"{ratio.low:.3f} to {ratio.high:.3f}"


@contextlib.contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[str], None]]:
    """Where progress goes: to standard error, with whatever Ray prints, if a program reads the
    result."""
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        yield print_line
