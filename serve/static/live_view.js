// A live session on the page: what is signed now, what of it is certain.

import { make } from "./result.js";
import { drawFrame } from "./skeleton.js";

const element = (name) => document.getElementById(name);

export function startLive() {
  element("empty").hidden = element("answer").hidden = true;
  element("live-view").hidden = false;
  element("live-sentence").replaceChildren("…");
  element("live-note").textContent = "Upright: certain. Slanted: may still change.";
  element("live-end").focus();
}

export function showLive(values, size, seconds) {
  drawFrame(element("live-canvas"), values, size);
  showTime(seconds);
}

export function showTime(seconds) {
  element("live-time").textContent = `${seconds.toFixed(1)} s`;
}

export function showPartial(message) {
  const words = (glosses) => glosses.map((gloss) => gloss.gloss).join(" ");
  const tentative = make("span", ` ${words(message.tentative)}`, { className: "tentative" });
  element("live-sentence").replaceChildren(words(message.stable), tentative);
}
