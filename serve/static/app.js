// The page: where clips come from, what is said meanwhile, where the answer goes.

import { canRecord, closeCamera, openCamera, pictureTaker, recordClip } from "./camera.js";
import { showLive, showPartial, showTime, startLive } from "./live_view.js";
import { streamCamera, streamPoints } from "./live.js";
import { Player } from "./player.js";
import { markRow, showAgain, showAnswer } from "./result.js";
import { getBytes, getJson, Problem, recognise, recogniseLong, useKey } from "./service.js";
import { readPoints } from "./skeleton.js";
import { Timeline } from "./timeline.js";
import { setUpTheme } from "./theme.js";

const element = (name) => document.getElementById(name);
const KEYPOINTS = { npz: "application/x-npz", pose: "application/x-pose", json: "application/json" };
const VIDEOS = { mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime", webm: "video/webm", mkv: "video/x-matroska", avi: "video/x-msvideo" };
// What the camera sends live: what estimates keypoints sees more in larger pictures, networks of pictures make them smaller anyway.
const LIVE_SIZES = { keypoints: [640, 480], frames: [320, 240] };
const LIVE_FPS = 25;
let types = KEYPOINTS; // of what the model takes, by suffix
let card = null; // of the model
const timeline = new Timeline();
const player = new Player((seconds, share) => markRow(timeline.mark(seconds, share)));
let running = null; // AbortController of the request in work
let shown = null; // the answer, to lay it out again when the window changes
let endLive = null; // ends the live session there is

async function start() {
  setUpTheme(element("theme"));
  wire();
  await greet();
}

async function greet() {
  try {
    const [{ models }, { samples }] = await Promise.all([getJson("/v1/models"), getJson("/v1/samples")]);
    const [model] = models;
    card = model;
    const what = model.task === "islr" ? `${model.num_classes} isolated signs` : `${model.num_classes} glosses`;
    element("model").textContent = `${model.system} · ${model.corpus} · ${what}`;
    const video = model.takes.includes("video");
    types = { ...(model.takes.includes("keypoints") ? KEYPOINTS : {}), ...(video ? VIDEOS : {}) };
    element("kinds").textContent = kindsOf(model.takes);
    element("file").accept = Object.keys(types).map((suffix) => `.${suffix}`).join(",");
    element("record").disabled = !video || !canRecord();
    element("live").disabled = element("record").disabled || model.task !== "slr";
    element("camera-note").textContent = video ? "" : "The camera is off: this model reads keypoints, and the service estimates none from pictures.";
    listSamples(samples);
    clearAlert();
  } catch (problem) {
    element("model").textContent = "no model";
    tell(problem);
  }
}

function kindsOf(takes) {
  const kinds = [takes.includes("video") && "Video as MP4, MOV, WebM, MKV or AVI.", takes.includes("keypoints") && "Keypoints as .npz, .pose or .json."];
  return kinds.filter(Boolean).join(" ") || "Nothing: this service can't make what its model reads.";
}

function listSamples(samples) {
  const options = samples.map((sample) => new Option(`${sample.name}${sample.reference ? ` (${sample.reference})` : ""}`, sample.number));
  element("sample").replaceChildren(...(options.length ? options : [new Option("this model carries none", "")]));
  element("sample").disabled = element("try").disabled = !options.length;
}

function wire() {
  element("file").addEventListener("change", (event) => take(event.target.files[0]));
  const drop = element("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => (event.preventDefault(), drop.classList.add("over")));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => (event.preventDefault(), take(event.dataTransfer.files[0])));
  element("try").addEventListener("click", trySample);
  element("record").addEventListener("click", record);
  element("live").addEventListener("click", signLive);
  element("stream").addEventListener("click", streamShown);
  element("live-end").addEventListener("click", () => endLive?.());
  element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(element("key").value);
    element("key-form").hidden = true;
    greet();
  });
  window.addEventListener("resize", () => shown && layOut(shown));
}

async function trySample() {
  const chosen = element("sample").selectedOptions[0];
  let content;
  try {
    content = await getBytes(`/v1/samples/${chosen.value}`);
  } catch (problem) {
    tell(problem);
    return;
  }
  const request = { name: chosen.text.split(" (")[0], type: content.type, onSent: say };
  await work((signal) => recognise(content, { ...request, signal }), content.type === VIDEOS.mp4 && content);
}

async function take(file) {
  if (!file) return;
  const kind = file.name.split(".").pop().toLowerCase();
  await work((signal) => {
    if (!types[kind]) throw new Problem({ code: "unsupported-media-type", title: "Not a file for this model", detail: `${file.name}: ${kindsOf(Object.values(types).includes(VIDEOS.mp4) ? ["keypoints", "video"] : ["keypoints"])}` });
    return recogniseAny(file, { name: file.name, type: types[kind], signal });
  }, VIDEOS[kind] && file);
  element("file").value = ""; // the same file can be chosen again
}

async function recogniseAny(content, request) {
  try {
    return await recognise(content, { ...request, onSent: say });
  } catch (problem) {
    if (problem.code !== "too-large") throw problem;
    return recogniseLong(content, { ...request, onProgress: sayProgress });
  }
}

function sayProgress(share) {
  element("progress").hidden = false;
  element("progress").value = share;
  element("status").textContent = `A long clip: recognising it piece by piece, ${Math.round(100 * share)} % done …`;
}

// The clip that is shown once more, as if it were just being signed.
function streamShown() {
  const answer = shown;
  const points = readPoints(answer.keypoints);
  player.pause();
  clearAlert();
  startLive();
  endLive = streamPoints(points, answer.fps ?? 25, {
    ready: sayReady,
    frame: showLive,
    partial: showPartial,
    final: (message) => finishLive(answer, message),
    problem: (problem) => (finishLive(answer, null), tell(problem)),
  });
}

function finishLive(answer, message) {
  endLive = null;
  if (!message) show(answer);
  else show({ ...answer, sentence: message.sentence, glosses: message.stable, n_best: [], heads: {}, low_confidence: false });
  element("status").textContent = message ? `Done, live: ${message.sentence}` : "";
}

const sayReady = (message) => (element("status").textContent = `Live: a gloss is certain ${message.depth_s} s after it was signed, or a little later.`);

// The camera's pictures as they come. The page keeps none of them: in the end there are glosses, and nothing to play.
async function signLive() {
  clearAlert();
  element("live").disabled = true;
  const camera = element("camera");
  const size = LIVE_SIZES[card.modalities.includes("frames") ? "frames" : "keypoints"];
  const over = () => {
    endLive = null;
    closeCamera(camera);
    element("live").disabled = false;
    element("status").textContent = "";
  };
  const problem = (found) => (over(), showAgain(shown), tell(found));
  try {
    await openCamera(camera);
    startLive();
    const final = (message) => (over(), show(answerOfLive(message)), (element("status").textContent = `Done, live: ${message.sentence}`));
    const take = pictureTaker(camera, element("live-canvas"), size);
    endLive = streamCamera(take, size, LIVE_FPS, { ready: sayReady, frame: showTime, partial: showPartial, final, problem });
  } catch (found) {
    problem(found);
  }
}

function answerOfLive({ head, sentence, stable: glosses, num_frames }) {
  return { name: "live", head, sentence, glosses, num_frames, fps: LIVE_FPS, model: card, low_confidence: false };
}

async function record() {
  clearAlert();
  try {
    const clip = await recordClip(element("record"), element("camera"), element("camera-view"));
    await work((signal) => recogniseAny(clip, { name: "recording.webm", type: VIDEOS.webm, signal }), clip);
  } catch (problem) {
    tell(problem);
  }
}

// One request at a time: a new one gives up the one before. video: the clip's own pictures, to be shown with the answer.
async function work(ask, video = null) {
  running?.abort();
  const mine = (running = new AbortController());
  clearAlert();
  say(0);
  try {
    const answer = await ask(mine.signal);
    if (running !== mine) return;
    show(answer, video);
    element("status").textContent = `Done: ${answer.sentence ?? answer.label ?? ""}`;
    element("result").focus({ preventScroll: true });
  } catch (problem) {
    if (running !== mine || problem.code === "cancelled") return;
    element("status").textContent = "";
    tell(problem);
  } finally {
    if (running === mine) {
      running = null;
      element("progress").hidden = true;
    }
  }
}

function say(share) {
  const progress = element("progress");
  progress.hidden = false;
  if (share < 1) progress.value = share;
  else progress.removeAttribute("value"); // how long the network takes isn't known
  element("status").textContent = share < 1 ? "Sending the clip …" : "Recognising …";
}

function show(answer, video = null) {
  shown = answer;
  showAnswer(answer, (seconds) => player.seek(seconds));
  const points = answer.keypoints && answer.keypoints.shape[1] ? readPoints(answer.keypoints) : null;
  player.load({ points, fps: answer.fps, video: video && URL.createObjectURL(video), numFrames: answer.num_frames });
  element("stream").hidden = !points || !answer.glosses;
  layOut(answer);
}

function layOut(answer) {
  timeline.show(answer.glosses ?? [], player.duration, answer.fps ?? 25, (seconds) => player.seek(seconds));
  player.seek(player.position);
}

function tell(problem) {
  const { title, detail, code } = problem instanceof Problem ? problem : { title: "The page has a fault", detail: String(problem), code: "page" };
  element("alert").textContent = `${title}: ${detail} (${code})`;
  element("key-form").hidden = code !== "unauthorized";
  if (!(problem instanceof Problem)) console.error(problem);
}

function clearAlert() {
  element("alert").textContent = "";
}

start();
