"""What of a study is refused before anything is trained, and what a study measures itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from study_maker import ACTIVATION, study_of, unseen
from tiny import TINY, tiny

from noisette.diffusion.schedules import make_schedule
from noisette.errors import UserError
from noisette.experiment.runs import Run
from noisette.tasks import study_measures, study_run

# --- before anything is trained ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"measure": ["fidd"]}, 'did you mean "fid"'),
        ({"answers": ["fids"]}, 'did you mean "fid'),
        ({"ways": ["dimm:5"]}, 'did you mean "ddim"'),
        ({"ways": ["ddim:5000"]}, "at most 1000"),
        ({"ways": ["ddpm:10:eta=0"]}, "ddpm has no eta"),
        ({"ways": ["ddpm:10:variance=learned"]}, "not learned a variance"),
        ({"features": "inception"}, "100 samples are too few for fid"),
        ({"factors": [{**ACTIVATION, "values": ["silu", "sulu"]}]}, "sulu"),
        ({"budgets": {"quick": {"train": {"steps": 6}, "samples": 20}}}, "20 samples are too few for fid"),
        ({"data": {"source": "nowhere.npz"}}, "nowhere.npz"),
        ({"features": "pixel"}, 'did you mean "pixels"'),
        ({"features": "nowhere.pt", "measure": ["prdc"]}, "nowhere.pt: no such file"),
        ({"recipe": "small-gray"}, 'did you mean "small-grey"'),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    source: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        study_run.check(study_of(source, **changes))


def test_data_that_cannot_be_measured_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    few = tmp_path / "few.npz"
    for count, changes, says in (
        (1, {}, "1 training images are too few"),
        (120, {"base": {**TINY, "train": {**TINY["train"], "eval_every": 2}}}, "set --train.eval_every 0"),
        (120, {"features": "classifier", "data": {"source": str(few), "classes": ["1"]}}, "no classifier: "),
    ):
        np.savez(few, x=np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8, 1), y=np.arange(count) % 2)
        with pytest.raises(UserError, match=says):
            study_run.check(study_of(few, **changes))


def test_what_of_a_study_means_nothing_is_refused(source: Path, tmp_path: Path) -> None:
    from noisette.tasks import study_start

    sampler = {"label": "sampler", "kind": "sample", "key": "way", "values": ["ddim:2", "ddim:3"]}
    budget = {"train": {"steps": 6}, "leave_out": ["rely*"]}
    for changes, says in (
        ({"baseline": "sillu"}, 'baseline: .*"sillu"; did you mean "silu"'),
        ({"budgets": {"quick": budget}}, 'leave_out: .*"rely[*]"'),
        ({"factors": [sampler]}, "ways say nothing beside"),
    ):
        (tmp_path / "mine.toml").write_text(study_of(source, **changes).to_toml())
        with pytest.raises(UserError, match=says):
            study_start.asked(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(study_of(source, baseline="silu").to_toml())
    study_start.asked(str(tmp_path / "mine.toml"), values=["activation=relu,gelu"])


def test_colour_data_are_compared_by_what_the_samples_suffice_for(
    trained: Run, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SimpleNamespace(train=np.arange(2000), x=np.zeros((1, 8, 8, 3), np.uint8))
    looked: list[str] = []
    judge = lambda data, settings, features, progress: SimpleNamespace(reads_well=looked.append(features) is None)  # noqa: E731
    monkeypatch.setattr(study_run, "Judge", SimpleNamespace(of=judge))

    def chosen(samples: int, **changes: Any) -> tuple[str, str]:
        budgets = {"quick": {"train": {"steps": 6}, "samples": samples}}
        return study_run.features_of(trained, study_of(source, budgets=budgets, **changes), data, unseen)  # type: ignore[arg-type]

    name, why = chosen(144, features="auto")
    assert name == "classifier" and "144 samples are too few for the Inception network: 512 or more" in why
    assert chosen(2000, features="auto") == ("auto", "") and chosen(144) == ("pixels", "") and len(looked) == 1
    assert chosen(144, features="auto", measure=["prdc"]) == ("auto", "")
    data.train = np.arange(700)
    assert "350 real images" in chosen(600, features="auto")[1]
    data.x = data.x[..., :1]  # Inception is not for grey pictures anyway
    assert chosen(144, features="auto") == ("auto", "")


def test_every_built_in_study_can_be_run(tmp_path: Path) -> None:
    """Its settings and ways build, on a few images of each colour in the place of its data."""
    from noisette.experiment import studies

    rng = np.random.default_rng(0)
    for name, channels in (("grey", 1), ("colour", 3)):
        x = rng.integers(0, 255, (300, 28, 28, channels), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(300) % 4)
    for name, found in studies.known().items():
        if not found.factors:
            continue
        data = [str(tmp_path / "grey.npz"), *([str(tmp_path / "colour.npz")] if name == "datasets" else [])]
        study_run.check(studies.chosen(found, data=data, budget="long"))


# --- what a study measures itself ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::noisette.diffusion.schedules.TerminalSignalWarning")
def test_the_forward_process_arrives_where_the_formula_says() -> None:
    schedule = make_schedule("linear", 250, scaled=False)
    seconds, x = study_measures.forward(schedule, torch.full((64, 1, 16, 16), 0.5))
    assert seconds > 0 and float(x.mean()) == pytest.approx(0.5 * schedule.terminal_signal, abs=0.03)
    assert float(x.std()) == pytest.approx(float(schedule.sigma(1.0)), rel=0.03)


def test_bits_of_a_chain_depend_on_its_steps(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_measures, "BITS_IMAGES", 16)
    settings = {"objective__learn_variance": True, "sample__sampler": "ddpm", "sample__variance": "learned"}
    run = tiny(source, tmp_path / "run", train__steps=40, **settings)
    from noisette.experiment import build

    model, _ = build.trained(run)
    data = build.data(run)
    bits = {}
    for steps in (2, 50):
        found = study_measures.of_way(run, model, data, None, f"ddpm:{steps}", ["chain_bits"], lambda *a: None)
        bits[steps] = found.numbers["chain_bits"]
        assert found.errors["chain_bits"] > 0
    assert bits[2] > bits[50] > 0
    none = study_measures.of_way(run, model, data, None, "ddim:5", ["chain_bits"], lambda *a: None)
    assert none.numbers == {}
