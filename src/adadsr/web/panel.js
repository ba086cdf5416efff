/** The settings: budget, size, model, and the figures of the plan. */

import { paintScale } from "./depth.js";
import * as text from "./text.js";

const LEAST_BUDGET = 0.01;

/** changed: called with the reason, `budget` or `network`, when the user changes something. */
export class Panel {
  #offers = { default: "", models: [] };

  constructor(byId, changed) {
    this.byId = byId;
    this.changed = changed;
    paintScale(byId("legend-colors"));
    byId("budget").addEventListener("input", () => {
      this.#showBudget();
      changed("budget");
    });
    byId("model").addEventListener("change", () => {
      this.#showScales();
      changed("network");
    });
    byId("scales").addEventListener("change", () => changed("network"));
    this.#showBudget();
  }

  /** offers: as of the engine's `models`. */
  setModels(offers) {
    this.#offers = offers;
    const families = [...new Set(offers.models.map((model) => model.family))];
    const select = this.byId("model");
    select.replaceChildren(
      ...families.map((family) => {
        const adaptive = offers.models.some((model) => model.family === family && model.adaptive);
        const option = new Option(`${family}${adaptive ? "" : " (fixed cost)"}`, family);
        option.selected = family === offers.default;
        return option;
      }),
    );
    this.#showScales();
  }

  get choice() {
    const family = this.byId("model").value;
    const scale = Number(this.byId("scales").querySelector("input:checked")?.value ?? 2);
    const model = this.#model(family, scale);
    const budget = model && !model.adaptive ? 1 : Number(this.byId("budget").value) / 100;
    return { family, scale, budget };
  }

  /** item: the current picture. */
  show(item) {
    const { byId, choice } = this;
    const model = this.#model(choice.family, choice.scale);
    byId("budget-part").hidden = Boolean(model) && !model.adaptive;
    byId("legend").hidden = byId("budget-part").hidden;
    byId("model-help").textContent = model?.summary ?? "";
    this.#about(item);
    this.#figures(item.plan, item.message);
    const { width = 0, height = 0 } = item.prepared ?? {};
    byId("size-help").textContent = width ? text.size(width * choice.scale, height * choice.scale) : "";
  }

  #model(family, scale) {
    return this.#offers.models.find((model) => model.family === family && model.scale === scale);
  }

  #about(item) {
    const name = document.createElement("strong");
    name.textContent = item.name;
    name.title = item.name;
    const { width, height } = item.prepared ?? {};
    const said = [width ? text.size(width, height) : "Loading…", ...item.notes];
    this.byId("about").replaceChildren(name, said.join(" · "));
  }

  #figures(plan, message) {
    const { byId } = this;
    byId("figures").classList.toggle("stale", !plan);
    byId("budget-message").textContent = message;
    if (!plan) return; // the last figures stay, faded
    byId("loss-part").hidden = plan.predicted_loss == null;
    this.#setLeast(plan.least_budget);
    put(byId("figure-time"), `≈ ${text.seconds(plan.seconds)}`, "expected");
    put(byId("figure-loss"), text.loss(plan.predicted_loss), "dB below full depth");
    put(byId("figure-depth"), plan.mean_depth.toFixed(1), `of ${plan.blocks} blocks`);
    put(byId("figure-work"), text.work(plan.gmacs), `of ${text.work(plan.dense_gmacs)} GMAC`);
  }

  /** The slider begins where the picture's smallest budget is. */
  #setLeast(least) {
    const slider = this.byId("budget");
    const floor = String(Math.min(100, Math.ceil((least + LEAST_BUDGET / 2) * 100)));
    if (slider.min === floor || floor === "100") return;
    slider.min = floor;
    this.#showBudget();
  }

  #showBudget() {
    const slider = this.byId("budget");
    const [value, min, max] = [slider.value, slider.min, slider.max].map(Number);
    this.byId("budget-value").textContent = `${value}%`;
    slider.setAttribute("aria-valuetext", `${value} percent`);
    slider.style.setProperty("--fill", `${(100 * (value - min)) / (max - min || 1)}%`);
  }

  #showScales() {
    const family = this.byId("model").value;
    const scales = this.#offers.models.filter((model) => model.family === family).map((model) => model.scale);
    const before = this.choice.scale;
    const chosen = scales.includes(before) ? before : scales[0];
    this.byId("scales").replaceChildren(
      ...scales.sort().map((scale) => {
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), { type: "radio", name: "scale", value: scale });
        input.checked = scale === chosen;
        const shown = document.createElement("span");
        shown.textContent = `${scale}×`;
        label.append(input, shown);
        return label;
      }),
    );
  }
}

function put(element, value, unit = "") {
  const small = document.createElement("small");
  small.textContent = unit || "\u00a0";
  element.replaceChildren(value, small);
}
