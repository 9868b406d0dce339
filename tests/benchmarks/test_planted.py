"""What planted.py counts: the differences that a study claims between trainings that lie before it."""

import digit_toys
import numpy as np

import planted  # isort: skip
from noisette.experiment.studies import parse
from noisette.tasks.study import Result


def results(truth: float, seed: int) -> list[Result]:
    values = truth * np.exp(0.05 * np.random.default_rng(seed).normal(size=3))
    return [
        Result("x", {"x": "x"}, k, "", digit_toys.BENCHMARKS / f"{seed}-{k}", "finished", numbers={"fid": float(v)})
        for k, v in enumerate(values)
    ]


def test_its_studies_are_studies():
    study = parse(planted.asked("slow", 0.5, 4, 640, 36), "planted")
    assert study.chosen.seeds == 4 and study.chosen.train == {"images": 640}
    assert study.factors[0].values[0].settings["optim.lr"] == 0.0015


def test_a_difference_is_claimed_where_there_is_one():
    assert planted.claimed(results(5.0, 1), results(5.0, 2)) == []
    (claim,) = planted.claimed(results(5.0, 1), results(9.0, 2))
    assert claim.key == "fid" and claim.a.name == "a" and planted.told(claim).startswith("fid: ")
