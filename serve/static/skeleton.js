// Keypoints of an answer, and how they are drawn. Layouts are told apart by their number of points.

const chain = (...points) => points.slice(1).map((point, position) => [points[position], point]);
const hand = (wrist) => [0, 4, 8, 12, 16].flatMap((start) => chain(wrist, ...[1, 2, 3, 4].map((step) => wrist + start + step)));

const LINKS = {
  // COCO-WholeBody: body, feet, face, left hand, right hand.
  133: [
    ...chain(5, 7, 9, 91), ...chain(6, 8, 10, 112), [5, 6], ...chain(5, 11, 12, 6), [0, 5], [0, 6],
    ...chain(...Array.from({ length: 17 }, (_, step) => 23 + step)), ...chain(71, 74, 77, 80, 71), ...hand(91), ...hand(112),
  ],
  // SAM-SLR-v2's 27 joints.
  27: [
    [0, 1], [0, 2], [1, 3], [3, 5], [2, 4], [4, 6], [5, 7], [6, 17],
    ...[7, 17].flatMap((wrist) => [[0, 1], [0, 2], [0, 4], [0, 6], [0, 8], [2, 3], [4, 5], [6, 7], [8, 9]].map(([a, b]) => [wrist + a, wrist + b])),
  ],
};
const SURE = 0.2;
const SHARP = 1000; // pixels of the canvas's longer side, at least

export function readPoints({ shape, frame_size: size, data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return { numFrames: shape[0], numPoints: shape[1], size, values: new Float32Array(bytes.buffer) };
}

export function frameOf(points, index) {
  const length = points.numPoints * 3;
  const frame = Math.min(Math.max(index, 0), points.numFrames - 1);
  return points.values.subarray(frame * length, (frame + 1) * length);
}

// values: (points, 3) of one frame, in pixels of a picture of `size`.
export function drawFrame(canvas, values, size) {
  const [width, height] = size;
  const scale = Math.max(1, Math.ceil(SHARP / Math.max(width, height))); // a small source would be a blurred drawing
  if (canvas.width !== width * scale || canvas.height !== height * scale) Object.assign(canvas, { width: width * scale, height: height * scale });
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const unit = Math.max(width, height) / 320;
  const numPoints = values.length / 3;
  const sure = (point) => values[3 * point + 2] > SURE;
  pen.lineWidth = 1.6 * unit;
  pen.lineCap = "round";
  for (const [from, to] of LINKS[numPoints] ?? []) {
    if (!sure(from) || !sure(to)) continue;
    pen.strokeStyle = colour(to, numPoints);
    pen.beginPath();
    pen.moveTo(values[3 * from], values[3 * from + 1]);
    pen.lineTo(values[3 * to], values[3 * to + 1]);
    pen.stroke();
  }
  for (let point = 0; point < numPoints; point += 1) {
    if (!sure(point)) continue;
    pen.fillStyle = colour(point, numPoints);
    pen.beginPath();
    pen.arc(values[3 * point], values[3 * point + 1], (isFace(point, numPoints) ? 0.7 : 1.3) * unit, 0, 2 * Math.PI);
    pen.fill();
  }
}

const isFace = (point, numPoints) => numPoints === 133 && point >= 23 && point < 91;

function colour(point, numPoints) {
  const [left, right] = numPoints === 133 ? [91, 112] : numPoints === 27 ? [7, 17] : [Infinity, Infinity];
  if (point >= right) return "#fbbf24";
  if (point >= left) return "#34d399";
  return "#93c5fd";
}
