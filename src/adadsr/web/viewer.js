/** The picture: before and after side by side at a divider, zoomed and panned to the pixel, the depth map above. */

const LARGEST_ZOOM = 64; // CSS pixels per pixel of the input
const STEP = 1.25;
const PAN = 60; // CSS pixels per key
const FADE_MILLISECONDS = 700;

/** onChange: called with the viewer when zoom or divider change. All lengths are in CSS pixels or pixels of the input. */
export class Viewer {
  before = null;
  after = null;
  depth = null;
  width = 0;
  height = 0;
  zoom = 1;
  split = 0.5;
  #x = 0; // of the picture's corner on the stage
  #y = 0;
  #opacity = 0;
  #glimpse = 0; // opacity of a depth map that shows only while the budget moves
  #fitted = true;
  #pointers = new Map();
  #frame = 0;

  constructor({ stage, canvas, divider, tags }, onChange) {
    Object.assign(this, { stage, canvas, divider, tags, onChange });
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.#resized()).observe(stage);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => this.#up(event));
    stage.addEventListener("dblclick", (event) => this.#double(event));
    stage.addEventListener("keydown", (event) => this.#key(event));
    this.#resized();
  }

  /** Show a picture: {before, width, height}, and optionally after. Keeps the view if the size is the same. */
  show({ before, after = null, depth = null, width, height }) {
    const isNew = width !== this.width || height !== this.height || !this.before;
    Object.assign(this, { before, after, depth, width, height });
    if (isNew) this.fit();
    this.#changed();
  }

  /** Show nothing. */
  clear() {
    Object.assign(this, { before: null, after: null, depth: null, width: 0, height: 0 });
    this.#changed();
  }

  setDepth(canvas) {
    this.depth = canvas;
    this.draw();
  }

  /** opacity: in [0, 1]. */
  setOpacity(opacity) {
    this.#opacity = opacity;
    this.draw();
  }

  /** Show the depth map for a moment. */
  glimpse() {
    this.#glimpse = performance.now() + FADE_MILLISECONDS;
    this.draw();
  }

  fit() {
    const [width, height] = this.#stage();
    this.zoom = Math.min(width / this.width, height / this.height, LARGEST_ZOOM) || 1;
    this.#fitted = true;
    this.#center();
    this.#changed();
  }

  /** A pixel of the result, or of the input if there is none, on a pixel of the screen. */
  pixels() {
    const [width, height] = this.#stage();
    this.zoomTo((this.after ? this.after.width / this.width : 1) / devicePixelRatio, width / 2, height / 2);
  }

  zoomBy(factor) {
    const [width, height] = this.#stage();
    this.zoomTo(this.zoom * factor, width / 2, height / 2);
  }

  /** Zoom so that what is at (x, y) of the stage stays there. */
  zoomTo(zoom, x, y) {
    const least = Math.min(0.02, this.zoom);
    const next = Math.min(Math.max(zoom, least), LARGEST_ZOOM);
    this.#x = x - ((x - this.#x) * next) / this.zoom;
    this.#y = y - ((y - this.#y) * next) / this.zoom;
    this.zoom = next;
    this.#fitted = false;
    this.#inside();
    this.#changed();
  }

  panBy(x, y) {
    this.#x += x;
    this.#y += y;
    this.#fitted = false;
    this.#inside();
    this.#changed();
  }

  /** share: of the stage's width. */
  splitAt(share) {
    this.split = Math.min(Math.max(share, 0), 1);
    this.#changed();
  }

  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #stage() {
    return [this.stage.clientWidth || 1, this.stage.clientHeight || 1];
  }

  #resized() {
    const [width, height] = this.#stage();
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    if (this.#fitted && this.before) this.fit();
    else this.#changed();
  }

  #center() {
    const [width, height] = this.#stage();
    this.#x = (width - this.width * this.zoom) / 2;
    this.#y = (height - this.height * this.zoom) / 2;
  }

  /** Keep a part of the picture in sight. */
  #inside() {
    const [width, height] = this.#stage();
    const margin = 60;
    this.#x = Math.min(Math.max(this.#x, margin - this.width * this.zoom), width - margin);
    this.#y = Math.min(Math.max(this.#y, margin - this.height * this.zoom), height - margin);
  }

  #changed() {
    const at = this.split * 100;
    this.divider.style.left = `${at}%`;
    this.divider.hidden = !this.after;
    this.divider.setAttribute("aria-valuenow", String(Math.round(at)));
    for (const tag of this.tags) tag.hidden = !this.after;
    this.onChange(this);
    this.draw();
  }

  #draw() {
    const { context, canvas } = this;
    const ratio = devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.before) return;
    // Whole pixels of the screen, so that 1:1 is sharp.
    const [x, y] = [Math.round(this.#x * ratio), Math.round(this.#y * ratio)];
    const [width, height] = [this.width, this.height].map((side) => Math.round(side * this.zoom * ratio));
    const put = (image, smooth) => {
      context.imageSmoothingEnabled = smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(image, x, y, width, height);
    };
    const split = this.after ? Math.round(this.split * canvas.width) : canvas.width;
    this.#clipped(0, split, () => put(this.before, this.zoom * ratio < 12));
    if (this.after) {
      const shown = (this.zoom * ratio * this.width) / this.after.width;
      this.#clipped(split, canvas.width, () => put(this.after, shown < 3));
    }
    const glimpse = Math.max(0, this.#glimpse - performance.now()) / FADE_MILLISECONDS;
    const opacity = Math.max(this.#opacity, 0.75 * Math.min(1, glimpse * 2));
    if (this.depth && opacity > 0) {
      context.globalAlpha = opacity;
      put(this.depth, false);
      context.globalAlpha = 1;
      if (glimpse > 0) this.draw();
    }
  }

  #clipped(left, right, action) {
    const { context, canvas } = this;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, canvas.height);
    context.clip();
    action();
    context.restore();
  }

  #at(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomTo(this.zoom * Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...this.#at(event));
  }

  #down(event) {
    if (event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    const onDivider = this.divider.contains(event.target);
    this.#pointers.set(event.pointerId, { at: this.#at(event), onDivider });
    this.stage.classList.toggle("moving", !onDivider);
  }

  #move(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer) return;
    const [x, y] = this.#at(event);
    const [oldX, oldY] = pointer.at;
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    pointer.at = [x, y];
    if (pointer.onDivider) {
      this.splitAt(x / this.#stage()[0]);
    } else if (other && !other.onDivider) {
      const [fixedX, fixedY] = other.at;
      const factor = Math.hypot(x - fixedX, y - fixedY) / (Math.hypot(oldX - fixedX, oldY - fixedY) || 1);
      this.zoomTo(this.zoom * factor, (x + fixedX) / 2, (y + fixedY) / 2);
      this.panBy((x - oldX) / 2, (y - oldY) / 2);
    } else {
      this.panBy(x - oldX, y - oldY);
    }
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.stage.classList.remove("moving");
  }

  #double(event) {
    if (this.divider.contains(event.target)) return;
    if (this.#fitted) this.zoomTo(Math.max(this.zoom * 3, 1), ...this.#at(event));
    else this.fit();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onDivider = event.target === this.divider;
    const arrows = onDivider
      ? {
          ArrowLeft: () => this.splitAt(this.split - 0.02),
          ArrowRight: () => this.splitAt(this.split + 0.02),
          Home: () => this.splitAt(0),
          End: () => this.splitAt(1),
        }
      : {
          ArrowLeft: () => this.panBy(PAN, 0),
          ArrowRight: () => this.panBy(-PAN, 0),
          ArrowUp: () => this.panBy(0, PAN),
          ArrowDown: () => this.panBy(0, -PAN),
        };
    const keys = {
      ...arrows,
      "+": () => this.zoomBy(STEP),
      "=": () => this.zoomBy(STEP),
      "-": () => this.zoomBy(1 / STEP),
      0: () => this.fit(),
      1: () => this.pixels(),
      "[": () => this.splitAt(this.split - 0.05),
      "]": () => this.splitAt(this.split + 0.05),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }
}
