// Glosses in time: buttons that go to their place, in as many rows as their texts need; the one that is signed now is marked.

const ROW = 1.9; // rem
const LETTER = 8; // pixels of a letter, about

export class Timeline {
  #box = document.getElementById("timeline");
  #entries = [];
  #now = document.createElement("div");

  constructor() {
    this.#now.className = "now";
  }

  // glosses: of an answer; duration in seconds; seek: called with seconds.
  show(glosses, duration, fps, seek) {
    this.#entries = glosses.map((gloss) => ({ start: gloss.start_frame / fps, end: gloss.end_frame / fps, button: this.#button(gloss, fps, seek) }));
    const ends = []; // of each row, as a share
    for (const { start, end, button } of this.#entries) {
      const width = Math.max((end - start) / duration, (button.textContent.length * LETTER + 16) / this.#box.clientWidth);
      const left = Math.max(0, Math.min(start / duration, 1 - width));
      let row = ends.findIndex((taken) => taken <= left + 1e-6);
      if (row < 0) row = ends.push(0) - 1;
      ends[row] = left + width;
      Object.assign(button.style, { left: `${100 * left}%`, width: `${100 * width}%`, top: `${row * ROW + 0.1}rem` });
    }
    this.#box.style.height = `calc(${Math.max(ends.length, 1) * ROW}rem + 2px)`; // and its border
    this.#box.replaceChildren(...this.#entries.map((entry) => entry.button), this.#now);
    this.#box.hidden = !glosses.length;
  }

  // Returns the position of the gloss that is signed now, or -1.
  mark(seconds, share) {
    this.#now.style.left = `${100 * share}%`;
    let current = -1;
    this.#entries.forEach(({ start, end, button }, position) => {
      const inside = start <= seconds && seconds < end;
      if (inside) current = position;
      button.setAttribute("aria-current", String(inside));
    });
    return current;
  }

  #button(gloss, fps, seek) {
    const button = document.createElement("button");
    const seconds = gloss.start_frame / fps;
    button.type = "button";
    button.textContent = gloss.gloss;
    button.title = `${gloss.gloss}: ${seconds.toFixed(2)} s, confidence ${gloss.confidence.toFixed(2)}`;
    button.setAttribute("aria-label", `${gloss.gloss}, at ${seconds.toFixed(1)} seconds, confidence ${Math.round(100 * gloss.confidence)} percent: go there`);
    button.style.setProperty("--confidence", gloss.confidence);
    button.addEventListener("click", () => seek(seconds));
    return button;
  }
}
