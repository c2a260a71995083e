// The service's API: every failure becomes a Problem with a code and one line of detail.

export class Problem extends Error {
  constructor({ code = "away", title = "The service doesn't answer", detail = "" }) {
    super(detail);
    Object.assign(this, { code, title, detail });
  }
}

let key = ""; // in memory only: nobody else's script, and no later visit, finds it

export function useKey(value) {
  key = value.trim();
}

export function currentKey() {
  return key;
}

export async function getJson(path) {
  return (await get(path)).json();
}

export async function getBytes(path) {
  return (await get(path)).blob();
}

const get = (path) => answered("GET", path);

async function send(method, path, options) {
  const response = await answered(method, path, options);
  return response.status === 204 ? null : response.json();
}

async function answered(method, path, { body, headers = {} } = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, headers: { ...headers, ...keyHeader() } });
  } catch {
    throw new Problem({ detail: "It is stopped, or the network is away. Try again in a moment." });
  }
  if (!response.ok) throw problemOf(response.status, await response.text());
  return response;
}

const POLL_MS = 500;
const WHAT = { heads: "true", keypoints: "true", n_best: "5" }; // what the page shows

// A clip that is too long to be answered at once. onProgress: called with the share that is done.
export async function recogniseLong(content, { name, type, onProgress, signal }) {
  const submitted = await send("POST", `/v1/jobs?${new URLSearchParams({ name, ...WHAT })}`, { body: content, headers: { "Content-Type": type } });
  const path = `/v1/jobs/${submitted.id}`;
  signal.addEventListener("abort", () => send("DELETE", path).catch(() => {}));
  for (let state = submitted; ; state = await send("GET", path)) {
    if (state.status === "done") return state.answer;
    if (state.status === "failed") throw new Problem(state.problem);
    if (signal.aborted || state.status === "cancelled") throw new Problem({ code: "cancelled", title: "Cancelled", detail: "The job was given up." });
    onProgress(state.progress);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

// onSent: called with the share of the body that has been sent. signal: aborts it.
export function recognise(content, { name, type, onSent, signal }) {
  const parameters = new URLSearchParams({ name, ...WHAT });
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch doesn't tell how much it has sent
    request.open("POST", `/v1/recognize?${parameters}`);
    request.setRequestHeader("Content-Type", type);
    for (const [header, value] of Object.entries(keyHeader())) request.setRequestHeader(header, value);
    request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
    request.onload = () => (request.status === 200 ? resolve(JSON.parse(request.responseText)) : reject(problemOf(request.status, request.responseText)));
    request.onerror = () => reject(new Problem({ detail: "It is stopped, or the network is away. Try again in a moment." }));
    request.onabort = () => reject(new Problem({ code: "cancelled", title: "Cancelled", detail: "The request was given up." }));
    signal?.addEventListener("abort", () => request.abort());
    request.send(content);
  });
}

export function problemOf(status, text) {
  try {
    return new Problem(JSON.parse(text));
  } catch {
    return new Problem({ code: "no-service", title: "Not the service", detail: `what answers here is no signray service (status ${status})` });
  }
}

function keyHeader() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}
