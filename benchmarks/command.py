"""What the command lines of these scripts have in common: mistakes end in one line with code 2, --tiny keeps away from
real results, sizes and data are asked for by the same words."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from noisette.errors import UserError, nearest

RESULTS = Path(__file__).parent / "results"
SIDES = ("28", "32", "64")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog.removesuffix('.py')}: {message}\n")


def parser(doc: str | None) -> Parser:
    return Parser(description=(doc or "").split("\n")[0], allow_abbrev=False)


def ends_in_one_line(main: Callable[..., None]) -> Callable[..., None]:
    """A UserError of `main` becomes a line on stderr and code 2."""

    @functools.wraps(main)
    def guarded(*arguments: list[str] | None) -> None:
        try:
            main(*arguments)
        except UserError as error:
            print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
            sys.exit(2)

    return guarded


def some_of(known: Iterable[str], separator: str = ",") -> Callable[[str], list[str]]:
    """For add_argument(type=...): names out of `known`."""
    there = list(known)

    def parse(text: str) -> list[str]:
        names = [part.strip() for part in text.split(separator)]
        for name in names:
            if name not in there:
                raise argparse.ArgumentTypeError(f'no "{name}"{nearest(name, there)}')
        return names

    return parse


def positive(text: str) -> int:
    """For add_argument(type=...): a whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 1 up')
    return int(text)


def add_results(parser: argparse.ArgumentParser, what: str, tiny: str = "very small nets: shows that it works") -> None:
    """--out and --tiny."""
    parser.add_argument("--out", type=Path, help=f"{what} (default: results/ beside this script; --tiny: a new one)")
    parser.add_argument("--tiny", action="store_true", help=f"{tiny}; what it measures means nothing")


def results(args: argparse.Namespace) -> Path:
    """--out; where nothing is said results/, or for --tiny a new folder in the system's place for such."""
    if args.out:
        return Path(args.out)
    return Path(tempfile.mkdtemp(prefix="noisette-tiny-")) if args.tiny else RESULTS


def add_sizes(parser: argparse.ArgumentParser, default: Iterable[str] = SIDES) -> None:
    parser.add_argument(
        "--sizes", type=some_of(SIDES), default=list(default), help=f"of {', '.join(SIDES)} (default: {default})"
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data32 and --data64, see sizes.data_for."""
    for side in (32, 64):
        parser.add_argument(
            f"--data{side}",
            help=f"{side}x{side} images: anything that noisette trains on (default: CIFAR-10 where it lies in "
            "NOISETTE_DATA, else made-up images)",
        )
