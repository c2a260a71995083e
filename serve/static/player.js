// Playing a clip: its own clock for keypoints alone, the video element's where there is a video. One answer at a time.

import { drawFrame, frameOf } from "./skeleton.js";

const element = (name) => document.getElementById(name);

export class Player {
  #points = null;
  #duration = 0;
  #fps = 25;
  #position = 0; // seconds
  #playing = false;
  #last = 0;
  #video = element("video");
  #onTime;

  constructor(onTime) {
    this.#onTime = onTime;
    element("play").addEventListener("click", () => this.toggle());
    element("seek").addEventListener("input", (event) => this.seek((event.target.value / 1000) * this.#duration));
    element("speed").addEventListener("change", () => (this.#video.playbackRate = Number(element("speed").value)));
    element("player").addEventListener("keydown", (event) => this.#key(event));
    element("canvas").addEventListener("click", () => this.toggle());
  }

  get duration() {
    return this.#duration;
  }

  get position() {
    return this.#position;
  }

  // points: of `readPoints`, or null; fps: of the clip, or null; video: URL of the clip's own pictures, or null.
  load({ points, fps, video, numFrames }) {
    this.pause();
    this.#points = points;
    this.#fps = fps ?? 25;
    this.#duration = numFrames / this.#fps;
    if (this.#video.src) URL.revokeObjectURL(this.#video.src);
    this.#video.hidden = !video;
    if (video) this.#video.src = video;
    else this.#video.removeAttribute("src");
    element("canvas").hidden = !points;
    this.seek(0);
  }

  toggle() {
    if (this.#playing) this.pause();
    else this.play();
  }

  play() {
    if (!this.#duration || this.#playing) return;
    if (this.#position >= this.#duration - 0.5 / this.#fps) this.seek(0);
    this.#playing = true;
    this.#last = performance.now();
    if (!this.#video.hidden) this.#video.play().catch(() => this.pause());
    element("play").textContent = "Pause";
    requestAnimationFrame((now) => this.#tick(now));
  }

  pause() {
    this.#playing = false;
    this.#video.pause();
    element("play").textContent = "Play";
  }

  seek(seconds) {
    this.#position = Math.min(Math.max(seconds, 0), this.#duration);
    if (!this.#video.hidden) this.#video.currentTime = this.#position;
    this.#show();
  }

  #tick(now) {
    if (!this.#playing) return;
    const elapsed = ((now - this.#last) / 1000) * Number(element("speed").value);
    this.#last = now;
    this.#position = Math.min(this.#video.hidden ? this.#position + elapsed : this.#video.currentTime, this.#duration);
    this.#show();
    if (this.#position >= this.#duration || (!this.#video.hidden && this.#video.ended)) this.pause();
    else requestAnimationFrame((next) => this.#tick(next));
  }

  #show() {
    if (this.#points) drawFrame(element("canvas"), frameOf(this.#points, Math.floor(this.#position * this.#fps + 1e-6)), this.#points.size);
    const share = this.#duration ? this.#position / this.#duration : 0;
    element("seek").value = Math.round(1000 * share);
    element("seek").setAttribute("aria-valuetext", `${this.#position.toFixed(1)} of ${this.#duration.toFixed(1)} seconds`);
    element("time").textContent = `${this.#position.toFixed(1)} s`;
    this.#onTime(this.#position, share);
  }

  #key(event) {
    if (event.target.matches("button, select, input")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) this.seek(this.#position + step / this.#fps);
    else if (event.key === " ") this.toggle();
    else return;
    event.preventDefault();
  }
}
