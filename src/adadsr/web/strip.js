/** The row of pictures. */

import { percent } from "./text.js";

const SAID = { loading: "loading", ready: "ready", waiting: "waiting", running: "running", done: "done", failed: "failed" };

function badge(item) {
  if (item.state === "running" || item.state === "loading") return item.share > 0 ? percent(item.share) : "…";
  return { waiting: "waiting", done: "✓", failed: "!" }[item.state] ?? "";
}

/** show, remove: called with an item. */
export class Strip {
  #rows = new Map();

  constructor(list, { show, remove }) {
    Object.assign(this, { list, show, remove });
  }

  update(items, current) {
    for (const [item, row] of this.#rows) {
      if (items.includes(item)) continue;
      row.remove();
      this.#rows.delete(item);
    }
    for (const item of items) {
      if (!this.#rows.has(item)) {
        this.#rows.set(item, this.#row(item));
        this.list.append(this.#rows.get(item));
      }
      this.#fill(item, this.#rows.get(item), item === current);
    }
  }

  #row(item) {
    const row = document.createElement("li");
    row.className = "item";
    const show = document.createElement("button");
    Object.assign(show, { type: "button", className: "show" });
    show.addEventListener("click", () => this.show(item));
    const image = document.createElement("img");
    image.alt = "";
    image.hidden = true;
    show.append(image);
    const state = document.createElement("span");
    state.className = "badge";
    state.ariaHidden = "true";
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", className: "remove" });
    remove.append(cross());
    remove.addEventListener("click", () => this.remove(item));
    row.append(show, state, remove);
    return row;
  }

  #fill(item, row, isCurrent) {
    const [show, state, remove] = row.children;
    const image = show.firstElementChild;
    if (item.thumbnail && image.hidden) {
      image.src = item.thumbnail;
      image.hidden = false;
    }
    show.ariaLabel = `${item.name}, ${SAID[item.state]}`;
    show.title = item.name;
    if (isCurrent) show.setAttribute("aria-current", "true");
    else show.removeAttribute("aria-current");
    remove.ariaLabel = `Remove ${item.name}`;
    state.textContent = badge(item);
    state.dataset.state = item.state;
  }
}

function cross() {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", "M5 5l14 14M19 5 5 19");
  path.setAttribute("class", "line");
  icon.append(path);
  return icon;
}
