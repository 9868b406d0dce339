"use strict";
// Clips that move. Each .stage holds its clips as JSON, a canvas for each, and one row of controls for all of them.
for (const stage of document.querySelectorAll(".stage")) start(stage);

function start(stage) {
  const scene = JSON.parse(stage.querySelector("script").textContent);
  const clips = scene.clips.map((clip) => ({
    frames: clip.frames,
    joints: summed(clip.joints, clip.frames),
    path: summed(clip.path, clip.frames),
  }));
  const canvases = [...stage.querySelectorAll("canvas")];
  const [button, time, clock, turn] = ["button", ".time", "output", ".turn"].map((name) => stage.querySelector(name));
  const frames = Math.max(...clips.map((clip) => clip.frames));
  const length = frames + scene.rest * scene.fps;
  const camera = { turn: 0, tilt: scene.tilt };
  let at = 0, shown = -1, playing = false, visible = true, before = 0;

  function draw() {
    const style = getComputedStyle(stage);
    const paint = (name) => style.getPropertyValue("--" + name).trim();
    shown = Math.min(frames - 1, Math.floor(at));
    canvases.forEach((canvas, k) => figure(canvas, scene, clips[k], Math.min(shown, clips[k].frames - 1), camera, paint));
    time.value = shown;
    clock.textContent = scene.timed ? (shown / scene.fps).toFixed(2) + " s" : "frame " + shown;
  }

  function tick(now) {
    if (!playing || !visible) return;
    at = (at + (Math.max(0, Math.min(now - before, 250)) / 1000) * scene.fps) % length;
    before = now;
    if (Math.min(frames - 1, Math.floor(at)) !== shown) draw();
    requestAnimationFrame(tick);
  }

  function play(on) {
    const idle = !playing || !visible;
    playing = on;
    button.textContent = on ? "Pause" : "Play";
    if (on && idle) resume();
  }

  function resume() {
    before = performance.now();
    requestAnimationFrame(tick);
  }

  button.addEventListener("click", () => play(!playing));
  time.max = frames - 1;
  time.addEventListener("input", () => { play(false); at = +time.value; draw(); });
  turn.addEventListener("input", () => { camera.turn = (+turn.value * Math.PI) / 180; draw(); });
  for (const canvas of scene.flat ? [] : canvases) {
    let last = [0, 0];
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      last = [e.clientX, e.clientY];
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!canvas.hasPointerCapture(e.pointerId)) return;
      const [right, down] = [e.clientX - last[0], e.clientY - last[1]];
      last = [e.clientX, e.clientY];
      turn.value = ((+turn.value + Math.round(0.6 * right) + 540) % 360) - 180;
      camera.turn = (+turn.value * Math.PI) / 180;
      camera.tilt = Math.min(1.5, Math.max(0, camera.tilt + 0.01 * down));
      draw();
    });
    canvas.addEventListener("dblclick", () => { turn.value = camera.turn = 0; camera.tilt = scene.tilt; draw(); });
  }

  stage.classList.add("live");
  new ResizeObserver(draw).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new IntersectionObserver(([entry]) => {
    const again = entry.isIntersecting && !visible;
    visible = entry.isIntersecting;
    if (again && playing) resume();
  }).observe(stage);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  still.addEventListener("change", () => { if (still.matches) play(false); });
  if (still.matches) at = Math.floor(frames / 2);
  draw();
  play(!still.matches);
}

// Changes since the frame before, channel after channel -> the values themselves; null is a joint that is missing.
function summed(changes, frames) {
  let last = 0;
  return Float32Array.from(changes, (change, k) => {
    if (k % frames === 0) last = 0;
    return change === null ? NaN : (last += change);
  });
}

// One clip at one frame on its canvas: floor, shadow, then bones, the far ones first.
function figure(canvas, scene, clip, frame, camera, paint) {
  const fine = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = Math.round(width * fine);
  canvas.height = Math.round(height * fine);
  const pen = canvas.getContext("2d");
  pen.scale(fine, fine);
  pen.lineCap = "round";
  const scale = width / (2.1 * scene.half), middle = scene.tall / 2, tall = scene.tall * scale;
  const [ct, st, cu, su] = [Math.cos(camera.turn), Math.sin(camera.turn), Math.cos(camera.tilt), Math.sin(camera.tilt)];
  const see = (x, y, z) => {
    const right = x * ct + z * st, near = z * ct - x * st, up = y - middle;
    return [width / 2 + right * scale, height / 2 - (up * cu - near * su) * scale, (near * cu + up * su) / scene.tall];
  };
  const axes = scene.flat ? 2 : 3, n = scene.sides.length;
  const joint = (j, axis) => (axis < axes ? clip.joints[(j * axes + axis) * clip.frames + frame] : 0);
  const joints = scene.sides.map((_, j) => see(joint(j, 0), joint(j, 1), joint(j, 2)));
  const shadows = scene.sides.map((_, j) => see(joint(j, 0), 0 * joint(j, 1), joint(j, 2)));
  const colours = ["left", "right", "middle"].map((_, k) => paint(["accent", "second", "ink"][k]));

  const line = (a, b, colour, thick) => {
    if (Number.isNaN(a[0] + a[1] + b[0] + b[1])) return;
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.beginPath();
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    pen.stroke();
  };
  const dot = (a, colour, radius) => {
    if (Number.isNaN(a[0] + a[1])) return;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(a[0], a[1], radius, 0, 2 * Math.PI);
    pen.fill();
  };

  const spot = clip.path.length / clip.frames > 1 ? [clip.path[frame], clip.path[clip.frames + frame]] : [clip.path[frame], 0];
  const marks = (middle) => {
    const found = [];
    for (let m = Math.ceil((middle - scene.half) / scene.every) * scene.every; m <= middle + scene.half; m += scene.every) {
      found.push(m - middle);
    }
    return found;
  };
  if (scene.flat) {
    line(see(-scene.half, 0, 0), see(scene.half, 0, 0), paint("line"), 1);
    for (const x of marks(spot[0])) line(see(x, 0, 0), see(x, -0.03 * scene.tall, 0), paint("line"), 1);
  } else {
    for (const x of marks(spot[0])) for (const z of marks(spot[1])) {
      if (Math.hypot(x, z) <= scene.half) dot(see(x, 0, z), paint("line"), 1.2);
    }
    for (const [a, b] of scene.bones) line(shadows[a], shadows[b], paint("line"), 0.8 * scene.thick * tall);
    if (!scene.bones.length) for (const a of shadows) dot(a, paint("line"), 0.4 * scene.thick * tall);
  }

  if (!scene.bones.length) {
    joints.forEach((a, j) => dot(a, scene.paired ? colours[scene.sides[j]] : colours[0], 0.8 * scene.thick * tall));
    return;
  }
  const depths = joints.map((a) => a[2]).filter((depth) => !Number.isNaN(depth)).sort((a, b) => a - b);
  const deep = depths[depths.length >> 1] || 0;
  const bones = scene.bones.map(([a, b, side]) => {
    const depth = (joints[a][2] + joints[b][2]) / 2 - deep;
    const near = Math.min(1, Math.max(-1, depth / scene.deep));
    const layer = depth < -scene.middle ? 0 : depth < scene.middle ? 1 : 2;
    return { ends: [joints[a], joints[b]], side, layer, thick: scene.thick * tall * (1 + scene.near * near) };
  });
  for (const layer of [0, 1, 2]) {
    const here = bones.filter((bone) => bone.layer === layer);
    pen.lineCap = "butt";
    if (layer) for (const { ends, thick } of here) line(...shrunk(...ends, thick), paint("paper"), scene.halo * thick);
    pen.lineCap = "round";
    for (const side of [2, 1, 0]) {
      for (const bone of here) if (bone.side === side) line(...bone.ends, colours[side], bone.thick);
    }
  }
  if (scene.head !== null) dot(joints[scene.head], colours[2], scene.skull * tall);
}

// A line shortened at both ends, so that the rim of a bone does not cut the one that it hangs on.
function shrunk(a, b, by) {
  const part = Math.min(by / Math.max(Math.hypot(b[0] - a[0], b[1] - a[1]), 1e-9), 0.5);
  const [x, y] = [(b[0] - a[0]) * part, (b[1] - a[1]) * part];
  return [[a[0] + x, a[1] + y], [b[0] - x, b[1] - y]];
}
