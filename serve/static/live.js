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

// Plays keypoints into a live session as if they were just being signed. Returns a function that ends it.
export function streamPoints(points, fps, on) {
  let next = 0;
  let timer = null;
  const socket = new LiveSocket({ num_points: points.numPoints, frame_size: points.size, fps }, { ...on, ready, problem });
  function ready(message) {
    const begun = performance.now();
    timer = setInterval(() => {
      const due = Math.min(points.numFrames, Math.floor(((performance.now() - begun) / 1000) * fps) + 1);
      if (due > next) socket.send(new Float32Array(points.values.subarray(3 * points.numPoints * next, 3 * points.numPoints * due)));
      if (due > next) on.frame(frameOf(points, due - 1), points.size, due / fps);
      next = due;
      if (next === points.numFrames) finish();
    }, 1000 / fps);
    on.ready(message);
  }
  function finish() {
    clearInterval(timer);
    socket.end();
  }
  function problem(found) {
    clearInterval(timer);
    on.problem(found);
  }
  return finish;
}
