/** The page: pictures, the settings for them, and what happens when buttons are pressed. */

import { takeFiles } from "./files.js";
import { Item } from "./item.js";
import { Panel } from "./panel.js";
import { Strip } from "./strip.js";
import { percent } from "./text.js";
import { Viewer } from "./viewer.js";

const NOTICE_MILLISECONDS = 8000;
const ZOOM_STEP = 1.4;
const byId = (id) => document.getElementById(id);

/** engine: see http-engine.js for what it has. */
export async function startPage(engine) {
  const page = new Page(engine);
  await page.loadModels();
}

class Page {
  #items = [];
  #current = null;
  #noticeTimer = 0;
  #address = "";

  constructor(engine) {
    this.engine = engine;
    byId("privacy").textContent = engine.privacy ?? "";
    this.panel = new Panel(byId, (reason) => this.#chosen(reason));
    const tags = [byId("tag-before"), byId("tag-after")];
    const parts = { stage: byId("stage"), canvas: byId("canvas"), divider: byId("divider"), tags };
    this.viewer = new Viewer(parts, showZoom);
    this.strip = new Strip(byId("items"), { show: (item) => this.#open(item), remove: (item) => this.#remove(item) });
    const choosers = [byId("choose"), byId("add")];
    const [files, camera, dropping] = [byId("files"), byId("camera"), byId("dropping")];
    takeFiles({ choosers, photographers: [byId("photograph")], files, camera, dropping }, (given) => this.#add(given));
    this.#listen();
    startTheme(byId("theme"));
  }

  async loadModels() {
    await this.#unlocked(async () => this.panel.setModels(await this.engine.models()));
    if (this.#current) this.#chosen("network");
  }

  #listen() {
    const on = (id, kind, action) => byId(id).addEventListener(kind, action);
    on("form", "submit", (event) => {
      event.preventDefault();
      this.#run([this.#current]);
    });
    on("run-all", "click", () => this.#run(this.#items.filter((item) => item.canRun && !isFresh(item, this.panel.choice))));
    on("cancel", "click", () => this.#current?.cancel());
    on("zoom-in", "click", () => this.viewer.zoomBy(ZOOM_STEP));
    on("zoom-out", "click", () => this.viewer.zoomBy(1 / ZOOM_STEP));
    on("fit", "click", () => this.viewer.fit());
    on("pixels", "click", () => this.viewer.pixels());
    on("depth", "click", () => this.#toggleDepth());
    on("opacity", "input", () => this.#showDepth());
    on("copy", "click", () => this.#copy());
    on("download", "click", (event) => this.#current?.result || event.preventDefault());
    on("download", "keydown", (event) => event.key === " " && (event.preventDefault(), byId("download").click()));
    on("stage", "keydown", (event) => event.key.toLowerCase() === "d" && this.#toggleDepth());
    this.#showDepth();
  }

  async #add(files) {
    const items = files.map((file) => new Item(file, this.engine, (item) => this.#changed(item)));
    if (!items.length) return;
    this.#items.push(...items);
    document.body.dataset.state = "open";
    this.#open(items[0]);
    for (const item of items) {
      await this.#unlocked(async () => {
        await item.load();
        if (item.state === "failed") throw item.error;
      });
      if (item.prepared) this.#plan(item);
    }
  }

  #open(item) {
    this.#current = item;
    this.#changed(item);
    this.#chosen("network");
  }

  #remove(item) {
    const at = this.#items.indexOf(item);
    item.drop();
    this.#items.splice(at, 1);
    const next = this.#items[Math.min(at, this.#items.length - 1)];
    if (!next) {
      this.#current = null;
      this.viewer.clear();
      document.body.dataset.state = "empty";
      this.strip.update([], null);
      byId("choose").focus();
    } else if (item === this.#current) {
      this.#open(next);
    } else {
      this.strip.update(this.#items, this.#current);
    }
  }

  /** The user changed the budget, or the network. */
  #chosen(reason) {
    const item = this.#current;
    if (!item) return;
    if (reason === "budget") this.viewer.glimpse();
    this.#plan(item);
    this.#show(item);
  }

  #plan(item) {
    if (item === this.#current && this.panel.choice.family) this.#unlocked(() => item.planFor(this.panel.choice));
  }

  async #run(items) {
    const choice = this.panel.choice;
    const able = items.filter((item) => item?.canRun);
    for (const item of able) item.wait();
    for (const item of able) {
      if (!this.#items.includes(item) || item.state !== "waiting") continue;
      await item.run(choice);
      if (item.state === "failed") this.#notice(`${item.name}: ${item.message}`);
      else if (item.state === "done") this.#say(`${item.name} is enlarged.`);
      if (item === this.#current && item.state === "done" && isWaitingFor(byId("running"))) byId("download").focus();
    }
  }

  #changed(item) {
    this.strip.update(this.#items, this.#current);
    if (item === this.#current) this.#show(item);
    else if (this.#current) this.#showButtons(this.#current);
  }

  #show(item) {
    const { viewer, panel } = this;
    panel.show(item);
    const { before, prepared, result, depth } = item;
    if (before) {
      const { width, height } = prepared ?? before;
      const isSame = viewer.before === before && viewer.after === (result?.image ?? null) && viewer.width === width;
      if (isSame) viewer.setDepth(depth);
      else viewer.show({ before, after: result?.image ?? null, depth, width, height });
      const said = result ? "before and after" : "not enlarged yet";
      byId("canvas").ariaLabel = `${item.name}, ${width} by ${height} pixels, ${said}`;
    }
    this.#showButtons(item);
    this.#showCommand(item);
  }

  #showButtons(item) {
    const isRunning = ["running", "waiting"].includes(item.state);
    const fresh = isFresh(item, this.panel.choice);
    byId("running").hidden = !isRunning;
    byId("run").hidden = isRunning || fresh;
    byId("run").disabled = !item.canRun;
    byId("run").textContent = item.result ? "Enlarge again" : "Enlarge";
    byId("run").className = item.result ? "plain wide" : "primary wide";
    byId("progress").value = item.share;
    byId("progress-text").textContent = item.state === "waiting" ? "waiting" : percent(item.share);
    this.#showDownload(item);
    const left = this.#items.filter((each) => each.canRun && !isFresh(each, this.panel.choice));
    byId("run-all").hidden = this.#items.length < 2 || left.length < 2;
    byId("run-all").textContent = `Enlarge all ${left.length}`;
  }

  #showDownload({ result }) {
    const link = byId("download");
    link.hidden = !result;
    if (!result || link.download === result.name && link.dataset.size === String(result.file.size)) return;
    URL.revokeObjectURL(this.#address);
    this.#address = URL.createObjectURL(result.file);
    link.href = this.#address;
    link.download = result.name;
    link.dataset.size = String(result.file.size);
    link.textContent = `Download ${result.image ? `${result.image.width} × ${result.image.height}` : ""}`.trim();
  }

  #showCommand({ prepared }) {
    byId("command-part").hidden = !prepared || !this.engine.command;
    if (prepared && this.engine.command) byId("command").textContent = this.engine.command(prepared, this.panel.choice);
  }

  #toggleDepth() {
    const button = byId("depth");
    button.ariaPressed = String(button.ariaPressed !== "true");
    this.#showDepth();
  }

  #showDepth() {
    const slider = byId("opacity");
    slider.style.setProperty("--fill", `${((slider.value - slider.min) / (slider.max - slider.min)) * 100}%`);
    this.viewer.setOpacity(byId("depth").ariaPressed === "true" ? slider.value / 100 : 0);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(byId("command").textContent);
      this.#say("Copied.");
      byId("copy").textContent = "Copied";
      setTimeout(() => (byId("copy").textContent = "Copy"), 1500);
    } catch {
      this.#notice("The browser does not let the page copy; select the line instead.");
    }
  }

  /** Do something; ask for a key if the engine needs one, and do it again. */
  async #unlocked(action) {
    try {
      await action();
    } catch (error) {
      if (!error.needsKey || !this.engine.unlock) {
        this.#notice(error.message);
        return;
      }
      const dialog = byId("ask");
      if (!dialog.open) dialog.showModal();
      await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
      this.engine.unlock(byId("key").value);
      await this.#unlocked(action);
    }
  }

  #notice(message) {
    clearTimeout(this.#noticeTimer);
    byId("notice").textContent = message;
    this.#noticeTimer = setTimeout(() => (byId("notice").textContent = ""), NOTICE_MILLISECONDS);
  }

  #say(message) {
    byId("status").textContent = message;
  }
}

/** Pixels of the screen for one of the result, or of the input if there is none. */
function showZoom(viewer) {
  const shown = viewer.after ? viewer.width / viewer.after.width : 1;
  byId("zoom").textContent = percent(viewer.zoom * shown * devicePixelRatio);
}

/** Whether the result is that of a choice. */
function isFresh({ result }, choice) {
  return Boolean(result) && ["family", "scale", "budget"].every((name) => result.choice[name] === choice[name]);
}

/** Whether the keyboard is where something has just disappeared. */
function isWaitingFor(part) {
  return document.activeElement === document.body || part.contains(document.activeElement);
}

function startTheme(button) {
  const themes = ["system", "light", "dark"];
  const show = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.ariaLabel = `Theme: ${theme === "system" ? "as the system" : theme}`;
  };
  let theme = localStorage.getItem("theme") ?? "system";
  show(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    localStorage.setItem("theme", theme);
    show(theme);
  });
}
