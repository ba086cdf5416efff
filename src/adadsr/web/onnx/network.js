/** A network in the browser: the files of `adadsr export --web` (`adadsr.export.pieces`) in onnxruntime-web. */

import * as ort from "../runtime/ort.wasm.min.js";
import { CHANNELS } from "./cutting.js";

const PIECES = ["scores", "plan", "tile"];

export class Network {
  #base;
  #loaded;
  #queue = Promise.resolve();

  /** base: address of the site, with a slash at its end. */
  constructor(base) {
    this.#base = base;
    const at = (name) => new URL(`runtime/${name}`, base).href;
    ort.env.wasm.wasmPaths = { mjs: at("ort-wasm-simd-threaded.js"), wasm: at("ort-wasm-simd-threaded.wasm") };
    ort.env.wasm.numThreads = crossOriginIsolated ? navigator.hardwareConcurrency : 1; // browsers demand it
    ort.env.wasm.proxy = true; // a worker, so that the page stays responsive
  }

  /** {name, family, scale, blocks, summary, cutting}; loads the network. */
  describe() {
    this.#loaded ??= this.#load();
    return this.#loaded.then(({ description }) => description);
  }

  /** The adapter's scores of a window, {dims: [1, K, rows, columns], data}. window: {width, height, rgb}. */
  async scores(window) {
    return (await this.#run("scores", { image: imageOf(window) })).scores;
  }

  /** {depths, groups, share, loss, gmacs} for the scores of a photo. gmacs: of the whole network. */
  async plan({ dims, data }, { width, height }, budget) {
    const found = await this.#run("plan", {
      scores: new ort.Tensor("float32", data.slice(), dims), // the worker takes what it is given
      size: new ort.Tensor("int64", BigInt64Array.of(BigInt(height), BigInt(width)), [2]),
      budget: new ort.Tensor("float32", Float32Array.of(budget), [1]),
      max_loss: new ort.Tensor("float32", Float32Array.of(0), [1]),
    });
    const [share, loss, gmacs] = [found.share, found.predicted_loss, found.gmacs].map((value) => value.data[0]);
    return { depths: found.depth_map.data, groups: found.depth_map.dims[1], share, loss, gmacs };
  }

  /** The SR image of a window without the frame's border, {width, height, rgb}. depths: {groups, rows, columns, data}. */
  async upscale(window, { groups, rows, columns, data }) {
    const depthMap = new ort.Tensor("float32", data, [1, groups, rows, columns]);
    const { upscaled } = await this.#run("tile", { image: imageOf(window), depth_map: depthMap });
    return { width: upscaled.dims[2], height: upscaled.dims[1], rgb: upscaled.data };
  }

  async #load() {
    const address = (name) => new URL(`model/${name}`, this.#base);
    const answer = await fetch(address("model.json"));
    const sessions = {};
    for (const piece of PIECES) {
      const content = new Uint8Array(await (await fetch(address(`${piece}.onnx`))).arrayBuffer());
      sessions[piece] = await ort.InferenceSession.create(content);
    }
    return { description: await answer.json(), sessions };
  }

  /** One after the other. */
  #run(piece, inputs) {
    const result = this.#queue.then(async () => (await this.#loaded).sessions[piece].run(inputs));
    this.#queue = result.catch(() => {});
    return result;
  }
}

function imageOf({ width, height, rgb }) {
  return new ort.Tensor("uint8", rgb, [1, height, width, CHANNELS]);
}
