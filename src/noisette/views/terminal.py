"""What a verb shows on a terminal while it works; standard output is left to results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisette.tasks.train import TrainStep


def watch(steps: Iterator[TrainStep], many: str = "images") -> None:
    """A bar on a terminal; a line now and then elsewhere. many: what is trained on, as the medium calls it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    said, average = -1, None
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=console, transient=False, disable=not console.is_terminal) as bar:
        task = bar.add_task("Training", total=1.0, text="")
        for step in steps:
            average = step.loss if average is None else 0.95 * average + 0.05 * step.loss
            left = step.seconds * (1 - step.progress) / max(step.progress, 1e-9)
            text = f"step {step.step:,}  loss {average:.4f}  {step.images_per_second:,.0f} {many}/s  {clock(left)} left"
            bar.update(task, completed=step.progress, text=text)
            if not console.is_terminal and int(step.progress * 10) > said:
                said = int(step.progress * 10)
                print(f"{step.progress:4.0%}  {text}", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for (done, all), on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """Bars for (stage, done, all), one below the other, with the time that is left; a line a stage elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
                if not console.is_terminal:
                    print(f"{stage} ...", file=sys.stderr, flush=True)
            bar.update(tasks[stage], completed=done, total=total)

        yield show


@contextmanager
def doing() -> Iterator[Callable[[str, float], None]]:
    """One bar for (what is being done, the share of it that is done), on a terminal only; printed lines stay above."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn())
    more = {"transient": True, "disable": not console.is_terminal, "redirect_stdout": sys.stdout.isatty()}
    with Progress(*columns, console=console, **more) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
