/**
 * The engine behind the page as a network in the browser; http-engine.js says what an engine has.
 *
 * Photos are cut into tiles whose joined results equal the result of the whole, so memory hardly grows with them.
 */

import { Frame } from "./cutting.js";
import { Network } from "./network.js";
import { Picture, readPhoto } from "./photo.js";

const TRIAL_SIDE = 64;

export class OnnxEngine {
  privacy = "Photos never leave this device.";
  #network;
  #rate = 0; // seconds for 10^9 multiply-accumulates

  /** base: address of the site, with a slash at its end. */
  constructor(base) {
    this.#network = new Network(base);
  }

  async models() {
    const { cutting, ...model } = await this.#network.describe();
    return { default: model.family, models: [{ ...model, adaptive: true }] };
  }

  async prepare(file, { signal, progress = () => {} } = {}) {
    const { cutting, scale } = await this.#network.describe();
    const { rgba, width, height, warnings } = await readPhoto(file, scale);
    const frame = new Frame(rgba, width, height, cutting);
    const scores = await this.#scores(frame, cutting, signal, progress);
    const least = (await this.#network.plan(scores, frame.picture, 0)).share;
    return { name: file.name || "image.png", resultFormat: "png", width, height, warnings, frame, scores, least };
  }

  async plan(prepared, { budget }) {
    const { blocks, scale, cutting } = await this.#network.describe();
    const { frame, width, height, least } = prepared;
    const { depths, share, loss, gmacs } = await this.#network.plan(prepared.scores, frame.picture, budget);
    this.#rate ||= await this.#measureRate(gmacs / (frame.width * frame.height), blocks);
    const map = depths.subarray(0, frame.columns * frame.rows);
    return {
      budget: share,
      least_budget: least,
      seconds: this.#rate * gmacs * overlap(frame, cutting) * share,
      predicted_loss: loss,
      mean_depth: depths.reduce((sum, depth) => sum + depth, 0) / depths.length,
      blocks,
      gmacs: share * gmacs,
      dense_gmacs: gmacs,
      output_size: [width * scale, height * scale],
      adaptive: true,
      depth_map: { width: frame.columns, height: frame.rows, data: base64(map, 255 / blocks) },
    };
  }

  async run({ frame, scores, name, width, height }, { budget }, { signal, progress = () => {} } = {}) {
    const { cutting, scale } = await this.#network.describe();
    const plan = await this.#network.plan(scores, frame.picture, budget);
    const picture = new Picture(width * scale, height * scale);
    const tiles = frame.tiles(cutting.side, cutting.context);
    const start = performance.now();
    for (const [index, tile] of tiles.entries()) {
      signal?.throwIfAborted();
      await this.#restore(frame, tile, plan, picture);
      progress((index + 1) / tiles.length);
    }
    this.#rate = (performance.now() - start) / 1000 / (plan.gmacs * overlap(frame, cutting) * plan.share);
    const file = await picture.png();
    return { file, shown: file, name: `${name.replace(/\.[^.]*$/, "")}_${scale}x.png`, notes: [] };
  }

  async forget() {} // nothing is kept

  /** Scores of a whole photo, {dims, data}. */
  async #scores(frame, { side, score_context: context, depth_tile: unit, border }, signal, progress) {
    const { rows, columns } = frame;
    const tiles = frame.tiles(side, context);
    let scores = null;
    for (const [index, { core, window }] of tiles.entries()) {
      signal?.throwIfAborted();
      const { dims, data } = await this.#network.scores(frame.window(window));
      scores ??= { dims: [1, dims[1], rows, columns], data: new Float32Array(dims[1] * rows * columns) };
      const [left, right] = [core.left, core.right].map((x) => Math.ceil((x - border) / unit));
      const [top, bottom] = [core.top, core.bottom].map((y) => Math.ceil((y - border) / unit));
      const [x, y] = [(core.left - window.left) / unit, (core.top - window.top) / unit];
      for (let score = 0; score < dims[1]; score += 1) {
        for (let row = top; row < bottom; row += 1) {
          const from = (score * dims[2] + row - top + y) * dims[3] + x;
          scores.data.set(data.subarray(from, from + right - left), (score * rows + row) * columns + left);
        }
      }
      progress((index + 1) / tiles.length);
    }
    return scores;
  }

  /** Run a tile, and put its core into the picture. */
  async #restore(frame, tile, { depths, groups }, picture) {
    const { scale, cutting } = await this.#network.describe();
    const { core, window } = tile;
    const image = await this.#network.upscale(frame.window(window), frame.depths(tile, depths, groups, cutting.caps));
    const inside = (at, start) => (at - start - cutting.border) * scale;
    const box = {
      left: inside(core.left, window.left),
      top: inside(core.top, window.top),
      right: inside(core.right, window.left),
      bottom: inside(core.bottom, window.top),
    };
    picture.put(image, box, inside(core.left, 0), inside(core.top, 0));
  }

  /** gmacs: of a pixel at full depth. The first run of a network also prepares its weights, and does not count. */
  async #measureRate(gmacs, blocks) {
    const { cutting } = await this.#network.describe();
    const side = TRIAL_SIDE / cutting.depth_tile;
    const trial = async () => {
      const rgb = new Uint8Array(3 * TRIAL_SIDE ** 2);
      const depths = { groups: 1, rows: side, columns: side, data: new Float32Array(side * side).fill(blocks) };
      const start = performance.now();
      await this.#network.upscale({ width: TRIAL_SIDE, height: TRIAL_SIDE, rgb }, depths);
      return (performance.now() - start) / 1000 / (gmacs * TRIAL_SIDE ** 2);
    };
    await trial();
    return trial();
  }
}

/** Work on the windows of a photo's tiles, in multiples of that on the photo: the depth falls towards their edges. */
function overlap(frame, { side, context }) {
  const half = Math.round(context / 2);
  const areas = frame.tiles(side, half).map(({ window }) => (window.right - window.left) * (window.bottom - window.top));
  return areas.reduce((sum, area) => sum + area) / (frame.width * frame.height);
}

/** Numbers times a factor as bytes in base64. */
function base64(numbers, factor) {
  return btoa(Array.from(numbers, (number) => String.fromCharCode(Math.round(number * factor))).join(""));
}
