/** Files of the user as pixels, and pixels as a file. */

import { CHANNELS } from "./cutting.js";

const LARGEST_SIDE = 16384; // of a canvas
const LARGEST_RESULT = 1e8; // pixels

/** {width, height, rgba, warnings}. Throws an Error, in words for the user, for what cannot be read or upscaled. */
export async function readPhoto(file, scale) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("This browser cannot read the file; convert it to PNG or JPEG.");
  });
  try {
    const { width, height } = bitmap;
    if (Math.max(width, height) * scale > LARGEST_SIDE || width * height * scale ** 2 > LARGEST_RESULT) {
      throw new Error(`${width} × ${height} is too large for a browser; use the command line.`);
    }
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const isOpaque = context.getImageData(0, 0, width, height).data.every((value, at) => at % 4 < 3 || value === 255);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    const rgba = context.getImageData(0, 0, width, height).data;
    return { width, height, rgba, warnings: isOpaque ? [] : ["Transparency becomes white."] };
  } finally {
    bitmap.close();
  }
}

/** A picture that is put together from parts. */
export class Picture {
  #canvas;
  #context;

  constructor(width, height) {
    this.#canvas = new OffscreenCanvas(width, height);
    this.#context = this.#canvas.getContext("2d");
  }

  /** Put a box of an image, {width, height, rgb}, at (x, y). */
  put(image, { left, top, right, bottom }, x, y) {
    const part = new ImageData(right - left, bottom - top);
    let at = 0;
    for (let row = top; row < bottom; row += 1) {
      for (let column = left; column < right; column += 1) {
        const from = (row * image.width + column) * CHANNELS;
        for (let channel = 0; channel < CHANNELS; channel += 1) part.data[at++] = image.rgb[from + channel];
        part.data[at++] = 255;
      }
    }
    this.#context.putImageData(part, x, y);
  }

  png() {
    return this.#canvas.convertToBlob({ type: "image/png" });
  }
}
