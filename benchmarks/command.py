"""What the command lines of these scripts have in common: mistakes end in one line with code 2, --tiny keeps away from
real results, sizes and data are asked for by the same words."""

from __future__ import annotations

import argparse
import functools
import os
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
    """What a user can mend becomes a line on stderr and code 2, an interruption one and code 130."""

    @functools.wraps(main)
    def guarded(*arguments: list[str] | None) -> None:
        try:
            main(*arguments)
        except UserError as error:
            fail(str(error), 2)
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except OSError as error:
            if error.errno is None:
                raise
            fail(f"{error.filename or 'a file'}: {error.strerror}", 2)

    return guarded


def fail(message: str, code: int) -> NoReturn:
    print(f"{Path(sys.argv[0]).stem}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


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


def whole(text: str) -> int:
    """For add_argument(type=...): a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 0 up')
    return int(text)


MOST = 1e9
"""Of seconds and minutes: beyond, the system's timers overflow."""


def amount(text: str) -> float:
    """For add_argument(type=...): a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST:  # nan is not, either
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0 and up to {MOST:g}')
    return value


def new_file(text: str) -> Path:
    """For add_argument(type=...): a file that can be written, as far as can be seen before the work."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f'"{text}" is a folder or lies in none')
    return path


def add_results(parser: argparse.ArgumentParser, what: str, tiny: str = "very small nets: shows that it works") -> None:
    """--out and --tiny."""
    parser.add_argument("--out", type=Path, help=f"{what} (default: results/ beside this script; --tiny: a new one)")
    parser.add_argument("--tiny", action="store_true", help=f"{tiny}; what it measures means nothing")


def results(args: argparse.Namespace) -> Path:
    """--out; where nothing is said results/, or for --tiny a new folder in the system's place for such.

    It is there when this returns, which is to be before the work. Raises UserError where it cannot be.
    """
    if args.tiny and not args.out:
        return new_folder()
    folder = Path(args.out or RESULTS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder}: {error.strerror}; it should be a folder") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--out {folder}: nothing can be written there")
    return folder


def new_folder() -> Path:
    """Where --tiny leaves what it makes."""
    return Path(tempfile.mkdtemp(prefix="noisette-tiny-"))


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
