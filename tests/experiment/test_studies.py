"""Studies as data: what is read, what is refused, and what settings and runs it comes to."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from noisette.errors import UserError
from noisette.experiment import studies, ways
from noisette.experiment.jobs import Folder, going_on, jobs, settings
from noisette.experiment.studies import Study, parse

SMALL: dict[str, Any] = {
    "name": "small",
    "title": "A small one",
    "question": "Is it so?",
    "factors": [{"label": "T", "key": "schedule.T", "values": [10, 20]}],
    "budgets": {"quick": {"train": {"steps": 5}, "seeds": 2}, "long": {"train": {"minutes": 1.5}}},
    "answers": ["fid"],
}
TABLE = {
    "label": "table",
    "values": [
        {"label": "scaled", "settings": {"schedule.scaled": True}},
        {"label": "raw", "settings": {"schedule": {"scaled": False}}},
    ],
}
SAMPLER = {
    "label": "sampler",
    "kind": "sample",
    "values": [
        {"label": "DDPM", "settings": {"sample.sampler": "ddpm"}},
        {"label": "half", "settings": {"sample.sampler": "ddim", "sample.eta": 0.5}},
    ],
}
STEPS = {"label": "steps", "kind": "sample", "key": "sample.steps", "values": [5, 10]}


def small(**more: Any) -> Study:
    return parse({**SMALL, **more}, "small.toml")


# --- the built-in ones --------------------------------------------------------------------------------------------

NAMES = (
    *("activations", "backbones", "batch-size", "best-of", "datasets", "gan", "image-size", "interpolation"),
    *("learned-variance", "learning-rate", "loss-by-timestep", "losses", "samplers", "schedules", "timesteps"),
)


def test_every_question_is_there() -> None:
    assert tuple(studies.known()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_study_holds_together(name: str) -> None:
    study = studies.known()[name]
    assert study.name == name and study.question.endswith("?") and study.about
    assert parse(tomllib.loads(study.to_toml()), name) == study
    assert set(study.budgets) == {"quick", "standard", "long"}
    if not study.factors:
        assert study.takes == 2
        return
    for budget in study.budgets:
        chosen = studies.chosen(study, budget=budget)
        found = settings(chosen)
        labels = [setting.label for setting in found]
        assert len({*labels}) == len(labels) > 1
        known = {"", *labels, *(value.label for factor in study.factors for value in factor.values)}
        known |= {label.partition("=")[2] for label in labels} | {*labels}
        assert {*study.baseline} <= known, study.baseline
        runs = jobs(chosen)
        assert len({job.name for job in runs}) == len(runs) == chosen.seeds * len({s.trained for s in found})
        for job in runs:
            given = [kind for kind in ("minutes", "steps", "images") if kind in job.settings["train"]]
            assert len(given) == 1 and job.settings["train"]["seed"] == job.seed


def test_what_the_studies_vary() -> None:
    def values(name: str, factor: str) -> list[str]:
        return [v.label for f in studies.known()[name].factors if f.label == factor for v in f.values]

    assert values("timesteps", "T") == ["250", "300", "350", "1000"]
    assert values("image-size", "size") == ["16", "32", "64", "128"]
    assert values("batch-size", "batch") == ["64", "128", "256"]
    assert {"relu", "silu", "gelu", "mish", "leaky_relu"} <= {*values("activations", "activation")}
    assert {"l1", "l2", "huber", "charbonnier"} == {*values("losses", "loss")}
    assert values("samplers", "steps") == ["5", "10", "20", "50", "100", "250", "1000"]
    made = [setting.ways for setting in settings(studies.chosen(studies.known()["samplers"], budget="standard"))]
    assert len(made) == 42 and ("ddim:50:eta=0.5",) in made and ("heun:1000",) in made


# --- settings and runs --------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_and_one_at_a_time_is_not() -> None:
    grid = settings(small(factors=[*SMALL["factors"], TABLE]))
    assert [s.label for s in grid] == ["T=10, scaled", "T=10, raw", "T=20, scaled", "T=20, raw"]
    assert grid[1].values == {"T": "10", "table": "raw"} and grid[1].trained == "T-10-raw"
    assert grid[1].settings["schedule"] == {"T": 10, "scaled": False} and grid[1].settings["train"] == {"steps": 5}
    single = settings(small(factors=[*SMALL["factors"], TABLE], combine="one-at-a-time"))
    assert [s.label for s in single] == ["T=10, scaled", "T=20, scaled", "T=10, raw"]


def test_ways_to_sample_share_their_runs() -> None:
    study = small(factors=[*SMALL["factors"], SAMPLER, STEPS])
    found = settings(study)
    assert len(found) == 8 and found[3].label == "T=10, half, steps=10" and found[3].ways == ("ddim:10:eta=0.5",)
    runs = jobs(study)
    assert [job.name for job in runs] == ["T-10-seed-0", "T-20-seed-0", "T-10-seed-1", "T-20-seed-1"]
    assert runs[0].ways == ("ddpm:5", "ddpm:10", "ddim:5:eta=0.5", "ddim:10:eta=0.5")
    assert "sampler" not in runs[0].settings.get("sample", {})
    assert runs[0].sampling_seed != runs[2].sampling_seed


def test_T_stands_for_all_steps() -> None:
    assert [s.ways for s in settings(small(ways=["ddpm:T", "ddim:4"]))] == [
        ("ddpm:10", "ddim:4"),
        ("ddpm:20", "ddim:4"),
    ]


def test_a_factor_chooses_the_kind_of_budget() -> None:
    at = {"label": "at", "values": [{"label": "images", "budget": "images"}, {"label": "time", "budget": "minutes"}]}
    budgets = {"quick": {"train": {"images": 100, "minutes": 0.5}}}
    study = small(factors=[*SMALL["factors"], at], budgets=budgets)
    assert [s.settings["train"] for s in settings(study)][:2] == [{"images": 100}, {"minutes": 0.5}]
    more = studies.chosen(study, given={"train": {"images": 7}})
    assert [s.settings["train"] for s in settings(more)][:2] == [{"images": 7}, {"minutes": 0.5}]


def test_settings_without_time_are_left_out() -> None:
    budgets = {"quick": {"train": {"steps": 5}, "leave_out": ["T=20*"]}}
    assert [s.label for s in settings(small(budgets=budgets))] == ["T=10"]
    with pytest.raises(UserError, match="leaves out every setting"):
        settings(small(budgets={"quick": {"train": {"steps": 5}, "leave_out": ["*"]}}))


def test_settings_of_any_label_find_their_runs_again() -> None:
    values = [
        {"label": label, "settings": {"schedule.T": k}} for k, label in enumerate(("(2) big", "α 0.5", "线性"), 5)
    ]
    values.append({"label": "余弦" * 200, "settings": {"schedule.T": 9}})
    earlier = small(factors=[{"label": "T", "values": values}])
    names = [setting.trained for setting in settings(earlier)]
    assert len({*names}) == 4 and all(name and name.isascii() and len(name) < 120 for name in names)
    made = going_on(studies.known()["best-of"], Path("earlier"), earlier, settings(earlier))
    assert [setting.trained for setting in settings(made)] == names


def test_two_settings_never_share_a_folder() -> None:
    values = [{"label": "a b", "settings": {"schedule.T": 5}}, {"label": "a-b", "settings": {"schedule.T": 6}}]
    with pytest.raises(UserError, match="share the folder"):
        jobs(small(factors=[{"label": "T", "values": values}]))


# --- a user's choices ---------------------------------------------------------------------------------------------


def test_choices() -> None:
    study = small(factors=[*SMALL["factors"], TABLE])
    given = {"net": {"blocks": 2}}
    found = studies.chosen(study, budget="long", seeds=4, values=["T=7, 8,9"], data=["x.npz"], given=given)
    assert (found.budget, found.seeds, found.data["source"]) == ("long", 4, "x.npz")
    first = settings(found)[0]
    assert first.label == "T=7, scaled" and first.settings["train"] == {"minutes": 1.5}
    assert first.settings["net"] == {"blocks": 2} and len(settings(found)) == 6
    assert settings(studies.chosen(study, given={"train": {"images": 30}}))[0].settings["train"] == {"images": 30}
    losses = studies.chosen(studies.known()["losses"], values=["loss=l2,my_module:my_loss"])
    assert [s.settings["objective"]["distance"] for s in settings(losses)] == ["l2", "my_module:my_loss"]


def test_fewer_of_the_own_values() -> None:
    study = small(factors=[*SMALL["factors"], TABLE])
    found = studies.chosen(study, values=["table=scaled", "T=20"])
    assert [s.label for s in settings(found)] == ["T=20, scaled"]
    with pytest.raises(UserError, match='table: no value "no" here; one of scaled, raw'):
        studies.chosen(study, values=["table=no"])
    with pytest.raises(UserError, match="FACTOR is one of T, table"):
        studies.chosen(study, values=["tabel=raw"])


def test_data_to_compare() -> None:
    study = studies.known()["datasets"]
    found = studies.chosen(study, data=["digits", "some/photos/"])
    assert [s.label for s in settings(found)] == ["digits", "photos"]
    assert settings(found)[1].settings["data"]["source"] == "some/photos/"
    found = studies.chosen(study, data=["a/train", "b/train/"])
    assert [s.label for s in settings(found)] == ["a/train", "b/train"]
    assert settings(studies.chosen(study, data=[".", "digits"]))[0].label == Path.cwd().name
    with pytest.raises(UserError, match="one label"):
        studies.chosen(study, data=["digits", "digits"])
    with pytest.raises(UserError, match="twice or more"):
        studies.chosen(study, data=["digits"])
    with pytest.raises(UserError, match="given once"):
        studies.chosen(small(), data=["a", "b"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 99}, "version 99.*upgrade"),
        ({"titel": "x"}, 'unknown key "titel"; did you mean "title"'),
        ({"factors": [{"label": "T", "vlaues": [1]}]}, "factors.0"),
        ({"budgets": {"quick": {"train": {"steps": 5}, "seed": 1}}}, 'did you mean "seeds"'),
        ({"budgets": {"quick": {"train": {"step": 5}}}}, "budgets.quick.train"),
        ({"budgets": {"fast": {"train": {"steps": 5}}}}, "budgets"),
        ({"budgets": {"quick": {"train": {"steps": 5, "images": 5}}}}, "a factor that chooses"),
        ({"factors": []}, r"needs \[\[factors\]\]"),
        ({"factors": [{"label": "T", "values": [1, 2]}]}, "factor's key"),
        ({"factors": [{"label": "T", "key": "schedule.TT", "values": [1]}]}, 'unknown setting "schedule.TT"'),
        ({"factors": [{"label": "T", "key": "schedule.T", "values": [1, 1]}]}, "have one label"),
        ({"factors": [{"label": "T", "key": "schedule.T", "kind": "sample", "values": [1]}]}, "sample.* or way"),
        ({"factors": [{"label": "w", "key": "way", "values": ["ddim:5"]}]}, 'kind = "sample"'),
        ({"base": {"optim": {"lrr": 1}}}, 'did you mean "optim.lr"'),
        ({"data": {"sorce": "x"}}, 'did you mean "data.source"'),
        ({"ways": ["ddim"]}, "sampler:steps"),
        ({"ways": ["ddim:5:etta=1"]}, 'did you mean "eta"'),
        ({"ways": ["slerp:two"]}, "slerp:17"),
        ({"combine": "all"}, "combine"),
        ({"budget": "standard"}, 'no budget "standard"'),
        ({"figures": ["curve"]}, "figures.0"),
        ({"question": None}, "question"),
    ],
)
def test_mistakes_are_told_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        small(**changes)
    assert "\n" not in str(error.value) and str(error.value).startswith("small.toml: ")


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"budget": "standard"}, 'no budget "standard"'),
        ({"seeds": 0}, "--seeds"),
        ({"values": ["S=1"]}, "FACTOR is one of T"),
        ({"values": ["T"]}, "FACTOR=VALUE"),
        ({"values": ["T=5,5"]}, "one label"),
    ],
)
def test_choices_that_do_not_fit(choices: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        studies.chosen(small(), **choices)


def test_a_study_by_name_or_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='did you mean "schedules"'):
        studies.load("schedule")
    path = tmp_path / "mine.toml"
    path.write_text(small().model_copy(update={"name": ""}).to_toml().replace('name = ""\n', ""))
    assert studies.load(str(path)).name == "mine"
    with pytest.raises(UserError, match="no such file"):
        studies.load(str(tmp_path / "none.toml"))


def test_a_way_needs_a_sampler_and_steps() -> None:
    with pytest.raises(UserError, match=r"sample\.steps"):
        settings(small(factors=[SAMPLER]))
    assert settings(small(factors=[SAMPLER], base={"sample": {"steps": 9}}))[0].ways == ("ddpm:9",)
    for way in ("ddim:50:eta=1", "ddpm:10:variance=large", "dpmpp_2m:20:guidance=2.5"):
        assert ways.named(ways.settings_of(way), "x") == way


# --- the folder ---------------------------------------------------------------------------------------------------


def test_a_folder_goes_on_with_its_study_and_refuses_another(tmp_path: Path) -> None:
    place = Folder(tmp_path / "study")
    study = studies.chosen(small())
    assert place.settle(studies.chosen(small(measure=["kid"]))) != study
    assert place.settle(study) == study == place.read()  # a mistake may be mended until a run has begun
    (place.path / "runs" / "T-10-seed-0").mkdir(parents=True)
    assert place.settle(studies.chosen(small(), seeds=5)).seeds == 5 == place.read().seeds
    assert place.settle(study).seeds == 5  # fewer change nothing
    for other, says in (
        (studies.chosen(small(), budget="long"), "budget: quick there, long here"),
        (studies.chosen(small(), values=["T=10,30"]), "T: 10, 20 there, 10, 30 here"),
        (studies.chosen(small(), given={"net": {"blocks": 2}}), "given.net differs|net"),
        (studies.chosen(small(measure=["kid"])), "measure differs"),
    ):
        with pytest.raises(UserError, match=says) as error:
            place.settle(other)
        assert "\n" not in str(error.value)
    assert place.settle(studies.chosen(small(title="Other words"))).title == "Other words"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a study"):
        Folder(tmp_path / "full").settle(study)


def test_going_on_with_the_fastest(tmp_path: Path) -> None:
    earlier = studies.chosen(small(factors=[*SMALL["factors"], TABLE], recipe="small-grey"))
    study = studies.chosen(studies.known()["best-of"])
    made = going_on(study, tmp_path, earlier, settings(earlier)[1:3])
    assert made.continues == str(tmp_path.resolve()) and made.recipe == "small-grey" and made.seeds == 2
    assert [job.name for job in jobs(made)][:2] == ["T-10-raw-seed-0", "T-20-scaled-seed-0"]
    assert jobs(made)[0].settings["train"] == {"images": 60000, "seed": 0}
    shorter = going_on(studies.chosen(study, given={"train": {"steps": 3}}), tmp_path, earlier, settings(earlier)[:2])
    assert jobs(shorter)[0].settings["train"] == {"steps": 3, "seed": 0}
    assert [s.label for s in settings(made)] == ["T=10, raw", "T=20, scaled"]
    elsewhere = going_on(study, Path(os.path.relpath(tmp_path)), earlier, settings(earlier)[1:3])
    assert studies.differences(made, elsewhere) == []
    assert studies.differences(made, made.model_copy(update={"continues": os.path.relpath(tmp_path)})) == []
    with pytest.raises(UserError, match=r"leave out train\.batch"):
        going_on(studies.chosen(study, given={"train": {"batch": 3}}), tmp_path, earlier, settings(earlier)[:2])
