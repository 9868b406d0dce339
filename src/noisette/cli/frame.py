"""What every verb of the command line stands on: the app, its errors, and the options that several verbs share."""

from __future__ import annotations

import os
import re
import sys
import warnings
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter

from noisette import __version__
from noisette.errors import UserError

USER_ERROR = 2
SETTING = re.compile(r"--([a-z][a-z_0-9]*\.[A-Za-z_0-9.]+)(=.*)?")
SET_VERBS = ("train", "check", "demo", "study")


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raises UserError for 1.5 where a whole number is asked for: cyclopts would round it to 2 without a word."""
    for argument in arguments:
        if int in (argument.hint, *get_args(argument.hint)):
            for token in argument.tokens:
                if "." in token.value:
                    raise UserError(f"{token.keyword or argument.name}: {token.value} is no whole number")


app = App(
    name="noisette",
    help="Train, sample, measure and explain small diffusion models.",
    version=__version__,
    config=whole_numbers,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
data_group, budget_group = Group("Data", sort_key=1), Group("Budget (one of them; 2 minutes by default)", sort_key=0)
motion_group = Group("Motion (more by --motion.KEY VALUE)", sort_key=2)

Classes = Annotated[str | None, Parameter(group=data_group, help="Only these classes, separated by commas.")]
PerClass = Annotated[int | None, Parameter(group=data_group, help="At most this many images of each class.")]
ImageSize = Annotated[int | None, Parameter(group=data_group, help="Resize and crop to squares of this many pixels.")]
Grayscale = Annotated[
    bool | None,
    Parameter(
        group=data_group, name="--grayscale", negative="--rgb", help="Force the colours; read from the data otherwise."
    ),
]
Flip = Annotated[
    bool | None,
    Parameter(group=data_group, help="Mirror half of the images while training; for motion there is --mirror."),
]
Recipe = Annotated[str | None, Parameter(help="A recipe's name or .toml file; chosen by the data's shape otherwise.")]
Kind = Annotated[
    Literal["diffusion", "gan"] | None,
    Parameter(help="What to train: a diffusion model (the default), or a GAN of as many weights to compare it with."),
]
Settings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative=(),
        help="Any setting of the run as section.key=value. --section.key value is the same: --optim.lr 0.001",
    ),
]


@Parameter(name="*", group=motion_group)
@dataclass(frozen=True)
class Clips:
    """How clips are cut from motion: options of the verbs that read data, keys of the section [motion]."""

    frames: Annotated[int | None, Parameter(help="Frames of a clip; 64 by default.")] = None
    fps: Annotated[float | None, Parameter(help="Resample to so many frames a second.")] = None
    skeleton: Annotated[
        str | None, Parameter(help="A JSON file with the names of the joints, parents or edges, left and right, unit.")
    ] = None
    stride: Annotated[
        int | None, Parameter(help="Frames from the start of one clip to the next; an eighth of a clip by default.")
    ] = None
    columns: Annotated[
        str | None, Parameter(help="Of a table: the coordinate columns joint by joint, separated by commas.")
    ] = None
    centre: Annotated[
        Literal["start", "root", "world"] | None,
        Parameter(help="A clip begins at the origin (start, the default), every pose lies there, or all as recorded."),
    ] = None
    mirror: Annotated[bool | None, Parameter(help="Exchange left and right in half of the clips while training.")] = (
        None
    )
    rotate: Annotated[
        float | None, Parameter(help="Turn clips by up to so many degrees about the vertical while training.")
    ] = None
    speed: Annotated[
        float | None, Parameter(help="Play clips up to this share faster or slower while training: 0.1.")
    ] = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that were given, as settings."""
        given = {**asdict(self), "columns": names(self.columns)}
        return {f"motion.{key}": value for key, value in given.items() if value is not None}


Cut = Annotated[Clips | None, Parameter(name="*", group=motion_group)]


def main(argv: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 2 something the user can mend (one line on stderr), 128 + n a signal n."""
    warnings.showwarning = _warn
    try:
        app(dotted(sys.argv[1:] if argv is None else argv), exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (UserError, CycloptsError) as error:
        fail(str(error), USER_ERROR)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except OSError as error:
        if error.errno is None:
            raise
        fail(f"{error.filename or 'a file'}: {error.strerror}", USER_ERROR)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        fail("not enough memory: try a smaller --train.batch, --image-size or --frames", USER_ERROR)


def fail(message: str, code: int) -> None:
    print(f"noisette: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"noisette: note: {' '.join(str(message).split())}", file=sys.stderr)


def dotted(tokens: list[str]) -> list[str]:
    """`--section.key value` or `=value` as `--set section.key=value`, for the verbs that take settings."""
    if not tokens or tokens[0] not in SET_VERBS:
        return tokens
    out: list[str] = []
    rest = iter(tokens)
    for token in rest:
        if token == "--":
            return [*out, token, *rest]
        if (match := SETTING.fullmatch(token)) is None:
            out.append(token)
            continue
        key, value = match[1], match[2]
        if value is None and (value := next(rest, None)) is None:
            raise UserError(f"--{key}: a value is missing: --{key} VALUE")
        out += ["--set", f"{key}={value.removeprefix('=') if match[2] else value}"]
    return out


def names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def as_settings(
    settings: list[str] | None,
    classes: str | None = None,
    per_class: int | None = None,
    image_size: int | None = None,
    grayscale: bool | None = None,
    flip: bool | None = None,
    kind: str | None = None,
    clips: Clips | None = None,
    **train: Any,
) -> dict[str, Any]:
    """The options of a verb as settings; those not given are left out."""
    from noisette.experiment import config

    data = {
        "classes": names(classes),
        "per_class": per_class,
        "image_size": image_size,
        "color": None if grayscale is None else "grayscale" if grayscale else "rgb",
        "flip": flip,
    }
    given = {f"data.{k}": v for k, v in data.items() if v is not None}
    given |= {f"train.{k}": v for k, v in train.items() if v is not None}
    given |= clips.settings if clips else {}
    asked = config.overrides(settings or [])
    twice = [k for k in config.BUDGETS if k in asked.get("train", {})] + [k for k in config.BUDGETS if train.get(k)]
    if len(twice) > 1:
        raise UserError(f"give one budget, not {' and '.join(twice)}")
    given |= {"kind": kind} if kind else {}
    return config.merge(asked, given)
