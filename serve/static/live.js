// Live signing over a socket: frames go out as they come, what is certain and what may still change comes back.

import { frameOf } from "./skeleton.js";
import { currentKey, Problem } from "./service.js";

// opening: of `schemas.LiveStart`; on: { ready, partial, final, problem } are called with messages of the service.
export class LiveSocket {
  #socket;
  #over = false;

  constructor(opening, on) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.#socket = new WebSocket(`${scheme}://${location.host}/v1/live`);
    this.#socket.onopen = () => this.#socket.send(JSON.stringify({ ...opening, ...(currentKey() ? { api_key: currentKey() } : {}) }));
    this.#socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      this.#over ||= ["final", "problem"].includes(message.type);
      if (message.type === "problem") on.problem(new Problem(message));
      else on[message.type](message);
    };
    this.#socket.onclose = () => {
      if (!this.#over) on.problem(new Problem({ detail: "The live session was cut off. Try again in a moment." }));
      this.#over = true;
    };
  }

  get open() {
    return this.#socket.readyState === WebSocket.OPEN && !this.#over;
  }

  get waiting() {
    return this.#socket.bufferedAmount;
  }

  send(frame) {
    if (this.open) this.#socket.send(frame);
  }

  end() {
    this.send('{"type": "end"}');
  }

  close() {
    this.#over = true;
    this.#socket.close();
  }
}

// Sends frames at their pace: `frames(socket, from, to)` is called for those that are due, of `count` in all.
function stream(opening, count, frames, on) {
  let next = 0;
  let timer = null;
  const socket = new LiveSocket(opening, { ...on, ready, problem });
  function ready(message) {
    const begun = performance.now();
    timer = setInterval(() => {
      const due = Math.min(count, Math.floor(((performance.now() - begun) / 1000) * opening.fps) + 1);
      if (due > next) frames(socket, next, due);
      next = due;
      if (next === count) finish();
    }, 1000 / opening.fps);
    on.ready(message);
  }
  function finish() {
    clearInterval(timer);
    socket.end();
  }
  function problem(found) {
    clearInterval(timer);
    socket.close();
    on.problem(found);
  }
  return { finish, problem };
}

// Plays keypoints into a live session as if they were just being signed. Returns a function that ends it.
export function streamPoints(points, fps, on) {
  const opening = { num_points: points.numPoints, frame_size: points.size, fps };
  const frames = (socket, from, to) => {
    socket.send(new Float32Array(points.values.subarray(3 * points.numPoints * from, 3 * points.numPoints * to)));
    on.frame(frameOf(points, to - 1), points.size, to / fps);
  };
  return stream(opening, points.numFrames, frames, on).finish;
}

const QUALITY = 0.85; // of JPEG
const BEHIND = 4 << 20; // bytes that wait in the browser: what is signed now would be answered much too late
const TOO_SLOW = { code: "too-slow", title: "The service is too slow for this", detail: "It can't keep up with the camera: record a clip instead." };

// Sends the camera's pictures: `take` is called with a JPEG quality and promises one. Returns a function that ends it.
export function streamCamera(take, size, fps, on) {
  let turn = Promise.resolve(); // pictures are encoded one after the other, and go in their order
  const frames = (socket, from, to) => {
    turn = turn.then(async () => {
      const picture = await take(QUALITY);
      for (let frame = from; frame < to; frame += 1) socket.send(picture); // frames that the browser was late for are the same picture
      on.frame(to / fps);
      if (socket.open && socket.waiting > BEHIND) session.problem(new Problem(TOO_SLOW));
    });
  };
  const session = stream({ frames: "jpeg", frame_size: size, fps }, Infinity, frames, on);
  return () => turn.then(session.finish);
}
