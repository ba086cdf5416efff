// Upscales a photo in the browser with a file of `adadsr export`, upscale.onnx beside this page.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const MOST_PIXELS = 500_000; // a run takes about 2 kB for each
const [photo, budget, status, upscaled, depths] = ["photo", "budget", "status", "upscaled", "depths"].map((id) =>
  document.getElementById(id),
);
ort.env.wasm.numThreads = 1; // more need cross-origin isolation
const session = ort.InferenceSession.create("./upscale.onnx");
let busy = false;
let isStale = false; // whether photo or budget changed during a run

/** The colours of an image as the file's input. */
function tensorOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => data[Math.floor(at / 3) * 4 + (at % 3)]);
  return new ort.Tensor("uint8", pixels, [1, height, width, 3]);
}

/** Show an image; color: the red, green and blue of a pixel by its index. */
function show(canvas, width, height, color) {
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) image.data.set([...color(at), 255], 4 * at);
  canvas.getContext("2d").putImageData(image, 0, 0);
}

async function run() {
  isStale = busy;
  if (busy || !photo.files.length) return;
  busy = true;
  try {
    const bitmap = await createImageBitmap(photo.files[0]);
    if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error(`a photo may have ${MOST_PIXELS} pixels at most`);
    status.value = "Working";
    await new Promise(requestAnimationFrame); // shows the word first
    const start = performance.now();
    const [wanted, all] = [Number(budget.value), 0].map((value) => new ort.Tensor("float32", [value], [1]));
    const result = await (await session).run({ image: tensorOf(bitmap), budget: wanted, max_loss: all });
    const { data, dims } = result.upscaled;
    show(upscaled, dims[2], dims[1], (at) => data.subarray(3 * at, 3 * at + 3));
    const map = result.depth_map;
    const deepest = map.data.reduce((most, depth) => Math.max(most, depth), 1);
    show(depths, map.dims[3], map.dims[2], (at) => Array(3).fill((255 * map.data[at]) / deepest));
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    status.value = `${(100 * result.share.data[0]).toFixed(1)}% of the full cost in ${seconds} s`;
  } catch (error) {
    status.value = `Failed: ${error.message}`;
  } finally {
    busy = false;
    if (isStale) run();
  }
}

photo.addEventListener("change", run);
budget.addEventListener("change", run);
