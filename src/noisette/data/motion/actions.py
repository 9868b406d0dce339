"""The seven actions of the bundled set: (body, times, draw) -> positions (F, 20, 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from noisette.data.motion.body import Arm, Array, Body, Foot, Trunk, pose
from noisette.data.motion.curves import Draw, bump, drift, quintic, rise, through

Step = tuple[float, float, tuple[float, float], float]
"""(when the foot leaves, when it lands, where (x, z), turned how far)."""


def _trunk(t: Array, draw: Draw, **parts: Array) -> Trunk:
    """A trunk that stands and sways a little, but for the parts that are given."""
    zero = np.zeros(len(t))
    still = dict.fromkeys(("height", "yaw", "tilt", "roll", "lean", "bow", "twist", "nod"), zero)
    sway = {"lean": drift(t, draw, 0.015), "bow": drift(t, draw, 0.015), "nod": drift(t, draw, 0.04)}
    sway |= {"yaw": drift(t, draw, 0.02), "twist": drift(t, draw, 0.03)}
    at = np.stack((drift(t, draw, 0.008), drift(t, draw, 0.006)), axis=1)
    summed = {k: still[k] + sway.get(k, zero) + parts.get(k, zero) for k in still}
    return Trunk(at=at + parts.get("at", np.zeros((len(t), 2))), **summed)


def _arm(t: Array, draw: Draw, **parts: Array) -> Arm:
    """An arm that hangs, a little bent, but for what is added to it."""
    rest = {"forward": 0.05, "side": draw.between(0.08, 0.16), "out": 0.0, "bend": draw.between(0.15, 0.35)}
    return Arm(**{k: v + drift(t, draw, 0.02) + parts.get(k, np.zeros(len(t))) for k, v in rest.items()})


def _foot(t: Array, at: tuple[float, float], yaw: float, steps: Sequence[Step] = (), *, lift: float = 0.06,
          heel: float = 0.5, toes: float = 0.25, lead: float = 0.2, lag: float = 0.12) -> Foot:  # fmt: skip
    """A foot that stands, and goes step by step. It rolls over its toes from `lead` seconds before it leaves, and lands
    on its heel, flat `lag` seconds later; lift is in metres, heel and toes in radians."""
    place = np.repeat([[at[0], 0.0, at[1]]], len(t), axis=0)
    turned, up, down = np.full(len(t), yaw), np.zeros(len(t)), np.zeros(len(t))
    before, angle = np.array(at), yaw
    for leaves, lands, to, to_yaw in steps:
        swing, long = rise(t, leaves, lands), lands - leaves
        place[:, [0, 2]] += swing[:, None] * (np.array(to) - before)
        place[:, 1] += lift * bump(t, leaves, leaves + 0.45 * long, lands)
        turned += swing * (to_yaw - angle)
        up += heel * bump(t, leaves - lead, leaves + 0.1 * long, leaves + 0.7 * long)
        down += toes * bump(t, leaves + 0.5 * long, lands, lands + lag)
        before, angle = np.array(to), to_yaw
    return Foot(place, turned, up, down)


def _stance(body: Body, draw: Draw, wide: float = 1.0) -> tuple[tuple[float, float], tuple[float, float], float]:
    """((x, z) of the left and right foot of one who stands, how far both are turned outwards)."""
    half, ahead = wide * body.hip * draw.between(0.9, 1.3), draw.between(-0.03, 0.03)
    return (half, ahead), (-half, -ahead), draw.between(0.05, 0.25)


def _standing(t: Array) -> Array:
    return np.ones((len(t), 2))


def walk(body: Body, t: Array, draw: Draw) -> Array:
    speed = draw.between(0.5, 0.95) * body.height
    step = (0.23 + 0.13 * speed / body.height) * body.height * draw.between(0.94, 1.06)
    return _gait(body, t, draw, speed, step, duty=draw.between(0.6, 0.65), running=False)


def run(body: Body, t: Array, draw: Draw) -> Array:
    speed = draw.between(1.3, 2.1) * body.height
    step = speed * draw.between(0.33, 0.38)
    return _gait(body, t, draw, speed, step, duty=draw.between(0.28, 0.34), running=True)


def _gait(body: Body, t: Array, draw: Draw, speed: float, step: float, duty: float, running: bool) -> Array:
    """Steps along an arc: a foot stands for `duty` of a cycle of two steps, while the hips pass over it."""
    cycle, phase = 2 * step / speed, draw.unit()
    bend = draw.between(-0.25, 0.25) if draw.unit() < 0.5 else 1e-6  # turned per metre of the way
    half = body.hip * (0.35 if running else draw.between(0.6, 0.9))

    def path(s: Array, side: Array | float = 0.0) -> Array:
        """(..., 2) the point s metres along the way, and so far to its left."""
        return np.stack(
            (
                (1 - np.cos(bend * s)) / bend + side * np.cos(bend * s),
                np.sin(bend * s) / bend - side * np.sin(bend * s),
            ),
            axis=-1,
        )

    shift = (0.06 if running else 0.012) * body.height  # so far behind the hips it is, half-way through its stand
    feet, standing = [], np.zeros((len(t), 2))
    for k, side in enumerate((1.0, -1.0)):
        first = -(2 + phase + 0.5 * k) * cycle  # a landing of this foot, before the clip begins
        spots = []
        for n in range(int((t[-1] - first) / cycle) + 3):
            lands = first + n * cycle
            s = speed * (lands + duty * cycle / 2) - shift
            spots.append((lands, path(np.array(s), side * half), bend * s))
            standing[:, k] += (t >= lands) & (t <= lands + duty * cycle)
        steps = [(a[0] + duty * cycle, b[0], (float(b[1][0]), float(b[1][1])), float(b[2])) for a, b in pairwise(spots)]
        lead, lag = (0.5, 0.25) if running else (0.45, 0.2)
        feet.append(
            _foot(t, (float(spots[0][1][0]), float(spots[0][1][1])), float(spots[0][2]), steps,
                  lift=body.height * (draw.between(0.1, 0.16) if running else draw.between(0.025, 0.05)),
                  heel=draw.between(0.8, 1.1) if running else draw.between(0.5, 0.75),
                  toes=0.12 if running else draw.between(0.2, 0.35),
                  lead=lead * duty * cycle, lag=lag * duty * cycle)
        )  # fmt: skip

    beat = 2 * np.pi * (t / cycle + phase)  # 0 where the left foot lands
    middle = 2 * beat - 2 * np.pi * duty  # 0 half-way through the time that a foot stands
    high = body.height * (-draw.between(0.018, 0.028) if running else draw.between(0.014, 0.018))
    swing = draw.between(0.06, 0.12)
    sway = 0.012 * body.height * (0.4 if running else 1.0)
    way = speed * t
    yaw = bend * way - swing * np.cos(beat)
    lean = draw.between(0.12, 0.25) if running else draw.between(0.0, 0.08)
    trunk = _trunk(
        t, draw, at=path(way, sway * np.cos(beat - np.pi * duty)), height=high * np.cos(middle), yaw=yaw,
        tilt=np.full(len(t), 0.05), lean=np.full(len(t), lean), twist=2 * swing * np.cos(beat),
        roll=-0.04 * np.cos(beat - np.pi * duty),
    )  # fmt: skip
    wide = draw.between(0.5, 0.8) if running else draw.between(0.25, 0.5)
    elbow = draw.between(1.2, 1.6) if running else draw.between(0.15, 0.5)
    arms = []
    for k in (0, 1):
        ahead = -np.cos(beat - np.pi * k)
        arms.append(_arm(t, draw, forward=wide * ahead - 0.1, bend=elbow + (0.25 if running else 0.3 * wide) * ahead))
    return pose(body, trunk, (feet[0], feet[1]), (arms[0], arms[1]), standing)


def wave(body: Body, t: Array, draw: Draw) -> Array:
    left, right, out = _stance(body, draw)
    end = t[-1]
    begin, stop = draw.between(0.1, 0.5), end - draw.between(0.1, 0.5)
    up = bump(t, begin, begin + draw.between(0.5, 0.8), stop, stop - draw.between(0.5, 0.8))
    beat = np.sin(2 * np.pi * (draw.between(1.2, 2.2) * t + draw.unit()))
    size = draw.between(0.25, 0.5)
    raised = _arm(
        t, draw, side=up * draw.between(1.0, 1.7), out=up * draw.between(1.3, 1.6),
        bend=up * (draw.between(1.0, 1.5) + size * beat), forward=up * draw.between(0.0, 0.25),
    )  # fmt: skip
    arms, which = (raised, _arm(t, draw)), draw.sign()
    trunk = _trunk(t, draw, bow=-0.06 * which * up, twist=0.06 * which * up)
    feet = (_foot(t, left, out), _foot(t, right, -out))
    return pose(body, trunk, feet, arms if which > 0 else (arms[1], arms[0]), _standing(t))


def jump(body: Body, t: Array, draw: Draw) -> Array:
    count = max(1, int(t[-1] / 1.9))
    left, right, out = _stance(body, draw)
    flight = draw.between(0.36, 0.56)  # seconds in the air: 0.16 to 0.38 m high
    start = 9.81 * flight / 2
    crouch, absorb = draw.between(0.1, 0.17) * body.height, draw.between(0.08, 0.14) * body.height
    toes, far = 0.04 * body.height, draw.between(0.0, 0.45)
    room = t[-1] / count
    knots = [(0.0, 0.0, 0.0, 0.0)]
    feet_at, heel, air, swing = (np.zeros(len(t)) for _ in range(4))
    lean, forward, hips = np.zeros(len(t)), np.zeros(len(t)), np.zeros(len(t))
    reach, lean_by = draw.between(1.2, 2.5), draw.between(0.35, 0.6)
    aloft = np.zeros(len(t), dtype=bool)
    for k in range(count):
        leave = k * room + draw.between(0.4, 0.55) * (room - flight)
        land = leave + flight
        low, rest = leave - draw.between(0.28, 0.36), min(land + draw.between(0.5, 0.7), (k + 1) * room - 0.05)
        knots += [
            (max(low - 0.6, k * room + 0.02), 0.0, 0.0, 0.0),
            (low, -crouch, 0.0, 0.0),
            (leave, toes, start, -9.81),
            (land, toes, -start, -9.81),
            (land + 0.22, -absorb, 0.0, 0.0),
            (rest, 0.0, 0.0, 0.0),
        ]
        since = np.clip(t - leave, 0, flight)
        air += start * since - 9.81 / 2 * since**2
        feet_at += far * np.clip(since / flight, 0, 1)
        hips += far * rise(t, low - 0.1, land + 0.2)
        heel += 0.75 * bump(t, leave - 0.2, leave + 0.02, land + 0.12, land - 0.06)
        swing += bump(t, leave, leave + flight / 2, land)
        aloft |= (t > leave) & (t < land)
        lean += lean_by * (bump(t, low - 0.6, low, leave) + 0.8 * bump(t, land - 0.1, land + 0.22, rest))
        forward += through(t, [(low - 0.6, 0), (low, -0.7), (leave, 0.6 * reach), (leave + 0.15, reach), (land, 0.9),
                               (land + 0.25, 0.2), (rest, 0)])  # fmt: skip
    times, values, slopes, bends = (np.array(v) for v in zip(*sorted(knots), strict=True))
    if values[-1] or times[-1] < t[-1]:
        times, values = np.append(times, t[-1] + 0.1), np.append(values, 0.0)
        slopes, bends = np.append(slopes, 0.0), np.append(bends, 0.0)
    height = quintic(t, times, values, slopes, bends)
    tuck = draw.between(0.0, 0.12) * body.height * swing
    feet = []
    for at, yaw in ((left, out), (right, -out)):
        foot = _foot(t, at, yaw)
        foot.at[:, 1] += air + tuck
        foot.at[:, 2] += feet_at
        foot.heel += heel
        feet.append(foot)
    spread = np.full(len(t), 0.1)
    arms = [_arm(t, draw, forward=forward, side=spread, bend=0.25 * np.abs(np.tanh(forward))) for _ in (0, 1)]
    back = np.stack((np.zeros(len(t)), hips + 0.25 * np.minimum(height, 0)), axis=1)
    trunk = _trunk(t, draw, at=back, height=height, lean=lean, tilt=0.4 * lean, nod=-0.3 * lean)
    standing = np.repeat(~aloft[:, None], 2, axis=1).astype(np.float64)
    return pose(body, trunk, (feet[0], feet[1]), (arms[0], arms[1]), standing)


def kick(body: Body, t: Array, draw: Draw) -> Array:
    side = draw.sign()  # which leg kicks: 1 the left one
    left, right, out = _stance(body, draw)
    wind_up, strike, down = draw.between(0.4, 0.55), draw.between(0.3, 0.4), draw.between(0.6, 0.85)
    period = wind_up + strike + down + draw.between(0.15, 0.4)
    begin, angle, backwards = draw.between(0.05, 0.3), draw.between(0.8, 1.6), draw.between(0.25, 0.45)
    first, then, short, over = (np.zeros(len(t)) for _ in range(4))
    standing = np.ones((len(t), 2))
    leg = 0 if side > 0 else 1
    for k in range(int(np.ceil((t[-1] - begin - 0.5) / period))):  # the last one may be cut off
        start = begin + k * period
        back, hit = start + wind_up, start + wind_up + strike
        home = hit + down
        first += bump(t, start, back, hit)
        then += bump(t, back, hit, home)
        short += bump(t, back - 0.1, (back + hit) / 2, hit)
        over += bump(t, start - 0.15, start + 0.3, home + 0.15, home - 0.25)
        standing[:, leg] *= (t < start) | (t > home)
    # The leg as a pendulum from the hip: how far it is swung out, and how long it is, knees bending on the way.
    swung = angle * then - backwards * first
    long = body.leg * (1 - 0.03 * then - 0.22 * first - 0.2 * short)
    feet = [_foot(t, left, out), _foot(t, right, -out)]
    feet[leg].at[:, 1] += body.leg - long * np.cos(swung)
    feet[leg].at[:, 2] += long * np.sin(swung)
    feet[leg].toes += 0.8 * swung * then - 0.5 * first
    at = over[:, None] * 0.75 * np.array(right if side > 0 else left)
    at[:, 1] += 0.04 * body.height * then
    trunk = _trunk(
        t, draw, at=at, height=-0.012 * body.height * over, yaw=-0.2 * side * then, tilt=-0.25 * then,
        lean=0.12 * first - 0.1 * then, twist=0.35 * side * then, roll=-0.06 * side * over,
    )  # fmt: skip
    arms = []
    for k in (1, -1):  # the arm of the leg that kicks goes back when the leg goes forward
        swing = (1.0 if k == side else -1.0) * (0.5 * first - 0.6 * then)
        arms.append(_arm(t, draw, forward=swing, side=0.5 * over, bend=0.5 * over))
    return pose(body, trunk, (feet[0], feet[1]), (arms[0], arms[1]), standing)


def squat(body: Body, t: Array, draw: Draw) -> Array:
    wide = draw.between(1.5, 2.4)
    left, right, out = _stance(body, draw, wide)
    out += draw.between(0.1, 0.3)
    deep, period = draw.between(0.13, 0.27) * body.height, draw.between(1.7, 2.4)
    begin, hold = draw.between(0.05, 0.3), draw.between(0.02, 0.2)
    down = np.zeros(len(t))
    for k in range(int((t[-1] - begin) / period) + 1):
        a = begin + k * period
        middle = a + 0.47 * period
        down += bump(t, a, middle, a + period, middle + hold)
    lean = draw.between(0.35, 0.65) * down
    at = np.stack((np.zeros(len(t)), -0.35 * deep * down), axis=1)
    trunk = _trunk(t, draw, at=at, height=-deep * down, tilt=0.5 * lean, lean=lean, nod=-0.35 * lean)
    raised = draw.between(0.9, 1.5)
    arms = [_arm(t, draw, forward=raised * down, bend=0.1 * down) for _ in (0, 1)]
    feet = (_foot(t, left, out), _foot(t, right, -out))
    return pose(body, trunk, feet, (arms[0], arms[1]), _standing(t))


def turn(body: Body, t: Array, draw: Draw) -> Array:
    side = draw.sign()
    left, right, out = _stance(body, draw)
    long, begin = draw.between(0.36, 0.48), draw.between(0.1, 0.4)
    count = int((t[-1] - begin) / (2 * long))
    total = count * draw.between(0.45, 0.95)
    steps: list[list[Step]] = [[], []]
    standing = np.ones((len(t), 2))
    shift = np.zeros((len(t), 2))
    for n in range(2 * count):
        k = (0 if side > 0 else 1) ^ (n % 2)  # the foot on the side that is turned to goes first
        angle = side * total * (n // 2 + 1) / count
        at = left if k == 0 else right
        to = (at[0] * np.cos(angle) + at[1] * np.sin(angle), at[1] * np.cos(angle) - at[0] * np.sin(angle))
        leaves = begin + n * long
        steps[k].append((leaves, leaves + 0.92 * long, to, angle + (out if k == 0 else -out)))
        standing[:, k] *= (t < leaves) | (t > leaves + 0.92 * long)
    end = begin + 2 * count * long
    yaw = side * total * rise(t, begin - 0.1, end + 0.05)
    feet = (
        _foot(t, left, out, steps[0], lift=0.05, heel=0.3, toes=0.05, lead=0.1, lag=0.05),
        _foot(t, right, -out, steps[1], lift=0.05, heel=0.3, toes=0.05, lead=0.1, lag=0.05),
    )
    for k in (0, 1):
        for leaves, lands, _, _ in steps[k]:
            over = bump(t, leaves - 0.25, leaves + 0.1, lands + 0.2, lands - 0.1)
            shift += 0.35 * over[:, None] * feet[1 - k].at[:, [0, 2]]
    look = side * 0.35 * bump(t, begin - 0.4, begin + 0.2, end + 0.2, end - 0.5)
    trunk = _trunk(t, draw, at=shift, height=np.full(len(t), -0.01), yaw=yaw, twist=look)
    swing = 0.15 * np.sin(np.pi * (t - begin) / long) * bump(t, begin, begin + 0.3, end + 0.3, end)
    arms = [_arm(t, draw, forward=s * swing) for s in (1, -1)]
    return pose(body, trunk, feet, (arms[0], arms[1]), standing)


ACTIONS: dict[str, Callable[[Body, Array, Draw], Array]] = {
    "walk": walk, "run": run, "wave": wave, "jump": jump, "kick": kick, "squat": squat, "turn": turn,
}  # fmt: skip
