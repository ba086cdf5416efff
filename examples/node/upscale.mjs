// Upscale a PNG with a file of `adadsr export`: node upscale.mjs FILE.onnx IN.png OUT.png BUDGET
import { readFile, writeFile } from "node:fs/promises";
import ort from "onnxruntime-node";
import { PNG } from "pngjs";

const CHANNELS = 3;

/** The colours of RGBA pixels as the file's input. */
function imageOf({ width, height, data }) {
  const pixels = new Uint8Array(width * height * CHANNELS);
  for (let at = 0; at < width * height; at += 1) {
    for (let channel = 0; channel < CHANNELS; channel += 1) pixels[at * CHANNELS + channel] = data[at * 4 + channel];
  }
  return new ort.Tensor("uint8", pixels, [1, height, width, CHANNELS]);
}

/** The file's output as a PNG without transparency. */
function pngOf({ dims, data }) {
  const [, height, width] = dims;
  const png = new PNG({ width, height });
  for (let at = 0; at < width * height; at += 1) {
    for (let channel = 0; channel < CHANNELS; channel += 1) png.data[at * 4 + channel] = data[at * CHANNELS + channel];
    png.data[at * 4 + 3] = 255;
  }
  return PNG.sync.write(png, { colorType: 2 });
}

const [model, source, target, budget = "0.5"] = process.argv.slice(2);
if (!target || !(Number(budget) > 0)) {
  console.error("usage: node upscale.mjs FILE.onnx IN.png OUT.png [BUDGET], with a budget such as 0.5");
  process.exit(2);
}
const session = await ort.InferenceSession.create(model);
const { upscaled, depth_map: depths, share } = await session.run({
  image: imageOf(PNG.sync.read(await readFile(source))),
  budget: new ort.Tensor("float32", [Number(budget)], [1]),
  max_loss: new ort.Tensor("float32", [0], [1]), // spend all of the budget
});
await writeFile(target, pngOf(upscaled));
const mean = depths.data.reduce((sum, depth) => sum + depth, 0) / depths.data.length;
console.log(`${target}: ${(100 * share.data[0]).toFixed(1)}% of the full cost, mean depth ${mean.toFixed(1)} blocks`);
