// The camera: a recording of it, or its pictures one by one.

import { Problem } from "./service.js";

const LONGEST_S = 60;

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

export async function openCamera(video) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, frameRate: 25 }, audio: false });
    video.srcObject = stream;
    await video.play();
    return stream;
  } catch (error) {
    throw new Problem({ code: "no-camera", title: "No camera", detail: `the browser gives none (${error.name}): allow it for this page, or choose a file` });
  }
}

// What `streamCamera` takes: the camera's picture of now as JPEG, drawn on the canvas that shows it.
export function pictureTaker(video, canvas, [width, height]) {
  Object.assign(canvas, { width, height });
  return (quality) => {
    canvas.getContext("2d").drawImage(video, 0, 0, width, height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  };
}

export function closeCamera(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

// Records until the button is pressed again, a minute at most. Returns the clip as a Blob.
export async function recordClip(button, video, view) {
  const label = button.textContent;
  button.disabled = true;
  try {
    const stream = await openCamera(video);
    view.hidden = false;
    const recorder = new MediaRecorder(stream, { mimeType: "video/webm" });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const ended = new Promise((resolve) => (recorder.onstop = resolve));
    const stop = (event) => {
      event?.stopImmediatePropagation(); // the same press must not begin the next recording
      if (recorder.state !== "inactive") recorder.stop();
    };
    recorder.start();
    Object.assign(button, { textContent: "Stop and recognise", disabled: false });
    button.addEventListener("click", stop, { capture: true });
    const timer = setTimeout(stop, 1000 * LONGEST_S);
    await ended;
    clearTimeout(timer);
    button.removeEventListener("click", stop, { capture: true });
    return new Blob(parts, { type: "video/webm" });
  } finally {
    Object.assign(button, { textContent: label, disabled: false });
    closeCamera(video);
    view.hidden = true;
  }
}
