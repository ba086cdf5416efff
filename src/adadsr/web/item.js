/** One picture: its file, what is prepared of it, its plan and its result. */

import { paint } from "./depth.js";

const LONGEST_THUMBNAIL = 160;

/** changed: called with the item whenever something about it has changed. */
export class Item {
  state = "loading"; // loading, ready, waiting, running, done, failed
  share = 0;
  message = "";
  notes = [];
  prepared = null;
  before = null; // ImageBitmap
  result = null; // {file, name, image, choice}
  plan = null;
  depth = null; // canvas
  thumbnail = "";
  #planned = null; // the choice of the latest plan asked for
  #busy = false;
  #abort = new AbortController();
  #dropped = new AbortController();

  constructor(file, engine, changed) {
    Object.assign(this, { file, engine, changed });
    this.name = file.name || "pasted picture";
  }

  /** Upload and show. */
  async load() {
    const early = this.#decode(this.file).catch(() => null);
    early.then((image) => image && !this.before && this.#shown(image));
    try {
      const watch = { signal: this.#abort.signal, progress: (share) => this.#set({ share }) };
      this.prepared = await this.engine.prepare(this.file, watch);
      if (!(await early)) this.#shown(await this.#decode(await this.engine.picture(this.prepared)));
      this.#set({ state: "ready", notes: this.prepared.warnings });
    } catch (error) {
      this.fail(error);
    }
  }

  /** Plan a choice. While one is under way only the latest further one is kept. */
  async planFor(choice) {
    this.#planned = choice;
    if (this.#busy || !this.prepared) return;
    this.#busy = true;
    try {
      while (this.#planned) {
        const next = this.#planned;
        this.#planned = null;
        const plan = await this.engine.plan(this.prepared, next, { signal: this.#dropped.signal });
        this.#set({ plan, depth: plan.depth_map ? paint(plan.depth_map) : null });
      }
    } catch (error) {
      if (error.needsKey) throw error;
      if (error.name !== "AbortError") this.#set({ message: error.message });
    } finally {
      this.#busy = false;
    }
  }

  async run(choice) {
    this.#abort = new AbortController();
    this.#set({ state: "running", share: 0, message: "" });
    try {
      const watch = { signal: this.#abort.signal, progress: (share) => this.#set({ share }) };
      const { file, shown, name, notes } = await this.engine.run(this.prepared, choice, watch);
      const image = await this.#decode(shown).catch(() => null);
      if (!image) notes.push("The result cannot be shown here; it can still be downloaded.");
      this.#set({ state: "done", result: { file, name, image, choice }, notes });
    } catch (error) {
      if (error.name === "AbortError") this.#set({ state: this.result ? "done" : "ready" });
      else this.fail(error);
    }
  }

  cancel() {
    this.#abort.abort();
  }

  wait() {
    this.#set({ state: "waiting", share: 0 });
  }

  fail(error) {
    this.error = error;
    this.#set({ state: "failed", message: error.message });
  }

  /** Free what it holds. */
  drop() {
    this.cancel();
    this.#dropped.abort();
    this.before?.close?.();
    this.result?.image?.close?.();
    if (this.prepared) this.engine.forget(this.prepared);
  }

  get canRun() {
    return Boolean(this.prepared) && !["running", "waiting", "loading"].includes(this.state);
  }

  #set(values) {
    if (values.result && this.result?.image) this.result.image.close?.();
    Object.assign(this, values);
    this.changed(this);
  }

  #decode(blob) {
    return createImageBitmap(blob);
  }

  #shown(image) {
    const canvas = document.createElement("canvas");
    const factor = LONGEST_THUMBNAIL / Math.max(image.width, image.height);
    canvas.width = Math.max(1, Math.round(image.width * factor));
    canvas.height = Math.max(1, Math.round(image.height * factor));
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    this.#set({ before: image, thumbnail: canvas.toDataURL("image/jpeg", 0.8) });
  }
}
