/** Depth maps as pictures, in the colours of the command's: dark stops early, bright goes deep. */

// Every seventeenth colour of matplotlib's viridis.
const ANCHORS = [
  "440154", "481769", "472a7a", "433d84", "3b4f8a", "34618d", "2d718e", "26818e", "21918c",
  "1fa187", "2cb17e", "47c16e", "6ccd5a", "96d83f", "c3df22", "fde725",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** Colour [r, g, b] of a share in [0, 1]. */
export function color(share) {
  const at = Math.min(Math.max(share, 0), 1) * (ANCHORS.length - 1);
  const low = Math.min(Math.floor(at), ANCHORS.length - 2);
  return ANCHORS[low].map((value, channel) => value + (at - low) * (ANCHORS[low + 1][channel] - value));
}

/** A canvas with a pixel for each tile. map: {width, height, data}, data: bytes in base64. */
export function paint({ width, height, data }) {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const table = Array.from({ length: 256 }, (_, value) => color(value / 255));
  bytes.forEach((value, index) => image.data.set([...table[value], 255], 4 * index));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Fill a canvas with the scale of colours. */
export function paintScale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = `rgb(${color(x / (canvas.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}
