// An answer as text and tables. Everything is set as text, never as HTML: names and glosses come from files.

const element = (name) => document.getElementById(name);

export function make(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text, ...properties });
}

export function showAnswer(answer, seek) {
  element("empty").hidden = element("live-view").hidden = true;
  element("answer").hidden = false;
  element("sentence").textContent = answer.sentence ?? answer.label ?? "";
  if (!element("sentence").textContent) element("sentence").textContent = "—";
  element("remark").textContent = remarkOf(answer);
  if (answer.candidates) showSigns(answer);
  else showGlosses(answer, seek);
  showMembers(answer);
  element("translation").hidden = !answer.text;
  element("translation").querySelector("p").textContent = answer.text ?? "";
  showFacts(answer);
}

// As before there was a live view: the answer of before, or none.
export function showAgain(answer) {
  element("live-view").hidden = true;
  element("answer").hidden = !answer;
  element("empty").hidden = Boolean(answer);
}

export function markRow(position) {
  element("glosses").querySelectorAll("tbody tr").forEach((row, index) => row.setAttribute("aria-current", String(index === position)));
}

function remarkOf(answer) {
  if (answer.glosses && !answer.glosses.length) return "Nothing was recognised in this clip.";
  if (answer.low_confidence) return "Low confidence: don't rely on this.";
  return answer.members_failed?.length ? `Answered without ${answer.members_failed.join(", ")}, which failed.` : "";
}

function showGlosses(answer, seek) {
  element("glosses-title").textContent = "Glosses";
  const rows = answer.glosses.map((gloss) => {
    const go = make("button", place(gloss), { type: "button" });
    go.setAttribute("aria-label", `go to ${gloss.gloss}`);
    go.addEventListener("click", () => seek(gloss.start_frame / (answer.fps ?? 25)));
    return [gloss.gloss, go, confidence(gloss.confidence)];
  });
  fill("glosses", ["gloss", "from – to", "confidence"], rows);
  const others = (answer.n_best ?? []).map((entry) => [entry.sentence || "(nothing)", number(entry.score, 2), confidence(entry.confidence)]);
  element("n-best-title").textContent = "Likeliest sentences";
  fill("n-best", ["sentence", "log-probability", "confidence"], others);
}

function showSigns(answer) {
  element("glosses-title").textContent = "Likeliest signs";
  fill("glosses", ["sign", "probability"], answer.candidates.map((entry) => [entry.label, confidence(entry.probability)]));
  fill("n-best", [], []);
}

function showMembers(answer) {
  const heads = Object.entries(answer.heads ?? {});
  fill("members", ["part", "saw", "confidence"], heads.map(([name, head]) => [name, (head.sentence ?? head.label) || "(nothing)", confidence(head.confidence)]));
}

function showFacts(answer) {
  const { model, timings } = answer;
  const facts = {
    Clip: `${answer.name}, ${answer.num_frames} frames${answer.fps ? ` at ${answer.fps} per second` : ", frames per second not known: 25 are shown"}`,
    Model: `${model.name}: ${model.system}, ${model.corpus}, ${model.num_classes} classes`,
    "Answered by": answer.members ? `${answer.head} of ${answer.members.join(", ")}` : answer.head,
    Weights: model.checksum,
    ...(timings ? { Timings: `${timings.total_ms.toFixed(0)} ms in all, ${timings.network_ms.toFixed(0)} ms network and search` } : {}),
  };
  element("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}

function fill(section, columns, rows) {
  element(section).hidden = !rows.length;
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  columns.forEach((name) => head.append(make("th", name, { scope: "col" })));
  const body = table.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((cell) => {
      const place = row.insertCell();
      place.append(cell);
      if (cell instanceof HTMLElement && cell.className === "amount") place.className = "number";
    });
  }
  [...(body.rows[0]?.cells ?? [])].forEach((cell, column) => (head.cells[column].className = cell.className));
  element(section).querySelector(".scroll").replaceChildren(table);
}

function confidence(value) {
  const cell = make("span", "", { className: "amount" });
  const meter = make("meter", "", { min: 0, max: 1, value });
  meter.setAttribute("aria-hidden", "true"); // the number beside it says the same
  cell.append(meter, ` ${value.toFixed(2)}`);
  return cell;
}

function place(gloss) {
  if (gloss.start_s === null) return `frame ${gloss.start_frame} – ${gloss.end_frame}`;
  return `${gloss.start_s.toFixed(2)} – ${gloss.end_s.toFixed(2)} s`;
}

const number = (value, digits) => make("span", value.toFixed(digits), { className: "amount" });
