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

async function get(path) {
  let response;
  try {
    response = await fetch(path, { headers: keyHeader() });
  } catch {
    throw new Problem({ detail: "It is stopped, or the network is away. Try again in a moment." });
  }
  if (!response.ok) throw problemOf(response.status, await response.text());
  return response;
}

// onSent: called with the share of the body that has been sent. signal: aborts it.
export function recognise(content, { name, type, onSent, signal, query = {} }) {
  const parameters = new URLSearchParams({ name, heads: "true", keypoints: "true", n_best: "5", ...query });
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
