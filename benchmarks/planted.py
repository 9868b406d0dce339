"""Does a study claim what is not there? Real trainings of one setting under two names, and of a worse one.

    python benchmarks/planted.py [--repeats 20] [--seeds 3] [--out runs/planted] [--tiny]

A training of the same setting with the same seed is the same training, so that two names for it would differ in nothing
at all. So every training here has a seed of its own: 2 x repeats x seeds of one setting, and repeats x seeds of one
that learns at a hundredth of its rate. Each repetition is a study by the package's own findings: `seeds` trainings
called "a" against as many others called "b", which are alike, and against as many of the slow one. It prints in how
many studies of two equal settings a difference is claimed in any number, of the quality or of the time (2 of 20 may),
and in how many studies the slow one is found to be worse. What was interrupted goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from command import ends_in_one_line, parser, positive

import noisette
from noisette.errors import UserError
from noisette.experiment.config import OptimConfig
from noisette.experiment.files import write_json
from noisette.experiment.studies import parse
from noisette.tasks.study import Result
from noisette.tasks.study import results as read
from noisette.views.study.claims import Claim
from noisette.views.study.findings import findings
from noisette.views.study.units import units

ANSWERS = ("fid", "kid", "precision", "recall", "clear", "val_loss")
IMAGES, SAMPLES, SLOWER = 3200, 144, 100


def asked(name: str, share: float, seeds: int, images: int, samples: int) -> dict[str, Any]:
    """A study of one setting, which learns at this share of the usual rate."""
    usual = OptimConfig()
    rates = {"optim.lr": share * usual.lr, "optim.muon_lr": share * usual.muon_lr}
    return {
        "title": name,
        "question": "Is there anything to find?",
        "base": {"sample": {"guidance": 1.0}},
        "factors": [{"label": "setting", "values": [{"label": name, "settings": rates}]}],
        "measure": ["fid", "kid", "prdc", "clear"],
        "ways": ["dpmpp_2m:12"],
        "answers": list(ANSWERS),
        "budgets": {"quick": {"train": {"images": images}, "samples": samples, "seeds": seeds}},
    }


def trained(name: str, share: float, seeds: int, images: int, samples: int, out: Path) -> list[Result]:
    """The trainings of one setting."""
    file = out / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(parse(asked(name, share, seeds, images, samples), name).to_toml())
    noisette.study(file, out=out / name)
    return [r for r in read(out / name) if r.state == "finished"]


def called(found: Sequence[Result], name: str) -> list[Result]:
    """The same results as those of a setting with this name."""
    return [replace(r, setting=name, values={"setting": name}, seed=k) for k, r in enumerate(found)]


def claimed(one: Sequence[Result], other: Sequence[Result]) -> list[Claim]:
    """The differences that a study of two settings calls real."""
    made = findings(units([*called(one, "a"), *called(other, "b")]), ANSWERS)
    return [claim for claim in made.claims.found if claim.real]


@ends_in_one_line
def main(arguments: list[str] | None = None) -> None:
    ask = parser(__doc__)
    ask.add_argument("--repeats", type=positive, default=20, help="studies of each kind (default: 20)")
    ask.add_argument("--seeds", type=positive, default=3, help="trainings of a setting in each (default: 3)")
    ask.add_argument("--out", type=Path, default=Path("runs/planted"), help="folder (default: runs/planted)")
    ask.add_argument("--tiny", action="store_true", help="few and short trainings: shows that it works")
    args = ask.parse_args(arguments)
    each = args.repeats * args.seeds
    size = (640, 36) if args.tiny else (IMAGES, SAMPLES)
    alike = trained("usual", 1.0, 2 * each, *size, args.out)
    slow = trained("slow", 1 / SLOWER, each, *size, args.out)
    if len(alike) < 2 * each or len(slow) < each:
        raise UserError(f"{args.out}: some trainings failed: look at the report there, and run it again")
    false: list[list[str]] = []
    found = 0
    for k in range(args.repeats):
        part = slice(k * args.seeds, (k + 1) * args.seeds)
        usual = alike[part]
        false.append([told(claim) for claim in claimed(usual, alike[each:][part])])
        found += any(claim.key == "fid" and claim.a.name == "a" for claim in claimed(usual, slow[part]))
    wrong = sum(bool(claims) for claims in false)
    print(f"Two names for one setting: {wrong} of {args.repeats} studies claim a difference: {[*filter(None, false)]}")
    print(f"A rate of 1/{SLOWER}: found to be worse in Fr\u00e9chet distance in {found} of {args.repeats} studies")
    figures = {"repeats": args.repeats, "seeds": args.seeds, "claimed": wrong, "claims": false, "found": found}
    write_json(args.out / "planted.json", figures)


def told(claim: Claim) -> str:
    """ "fid: 7.1 against 7.9"."""
    a, b = ([m.value for m in unit.measured(claim.key)] for unit in (claim.a, claim.b))
    return f"{claim.key}: {sum(a) / len(a):.4g} against {sum(b) / len(b):.4g}"


if __name__ == "__main__":
    main()
