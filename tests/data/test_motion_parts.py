"""Which joints a leg, an arm or a half of the body has, by structure and by name."""

from __future__ import annotations

import pytest

from noisette.data.motion import read
from noisette.data.motion.parts import joints, parts
from noisette.data.motion.skeleton import Skeleton, numbered, pairs_by_name
from noisette.errors import UserError

COCO = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
]


def bundled() -> Skeleton:
    skeleton = read("motion").skeleton
    assert skeleton is not None
    return skeleton


def named(skeleton: Skeleton, part: str) -> set[str]:
    return {skeleton.names[j] for j in parts(skeleton)[part]}


def test_the_parts_of_a_whole_body() -> None:
    body = bundled()
    leg, arm = ("hip", "knee", "ankle", "toe"), ("shoulder", "elbow", "wrist", "hand")
    for side in ("left", "right"):
        assert named(body, f"{side}_leg") == {f"{side}_{part}" for part in leg}
        assert named(body, f"{side}_arm") == {f"{side}_{part}" for part in arm}
        assert named(body, side) == named(body, f"{side}_leg") | named(body, f"{side}_arm")
    assert named(body, "legs") == named(body, "left_leg") | named(body, "right_leg")
    assert named(body, "head") == {"neck", "head"}
    assert named(body, "lower") == named(body, "legs") | {"hips"}
    assert named(body, "upper") == set(body.names) - named(body, "lower")


def test_without_names_the_structure_says_the_same() -> None:
    body = bundled()
    plain = Skeleton(tuple(numbered(len(body))), body.parents, body.pairs)
    assert parts(plain) == parts(body)


def test_without_structure_the_names_say_it() -> None:
    body = Skeleton(tuple(COCO), (), pairs_by_name(COCO))
    assert named(body, "head") == set(COCO[:5]) and named(body, "arms") == set(COCO[5:11])
    assert named(body, "legs") == set(COCO[11:]) and named(body, "left_arm") == set(COCO[5:11:2])


def test_points_have_no_parts() -> None:
    assert parts(Skeleton(tuple(numbered(4)))) == {}
    with pytest.raises(UserError, match='no joints "legs" here: there are the joints joint0, joint1'):
        joints(Skeleton(tuple(numbered(4))), "legs")


def test_joints_are_chosen_by_part_and_by_name() -> None:
    body = bundled()
    at = body.names.index
    assert joints(body, "head, LeftKnee") == tuple(sorted((at("neck"), at("head"), at("left_knee"))))
    assert set(joints(body, "left arm")) == set(parts(body)["left_arm"])
    assert joints(body, "head") != (at("head"),), "a part goes before a joint of its name"
    with pytest.raises(UserError, match=r'no joints "tail" here: there are legs, arms, head, .* or the joints hips'):
        joints(body, "legs,tail")
