/**
 * Photos in their frames, and windows of them: `adadsr.upscaler.frame` and `adadsr.tiling` for the browser.
 *
 * All lengths are in LR pixels. A frame is a photo continued by reflection; its coordinates begin at its border. cutting:
 * {border, depth_tile, score_context, context, caps, side}, as model.json has it.
 */

export const CHANNELS = 3;

/** A photo in its frame. rgba: bytes of the photo, row by row. */
export class Frame {
  constructor(rgba, width, height, { border, depth_tile: unit }) {
    Object.assign(this, { border, unit, picture: { width, height } });
    [this.width, this.height] = [width, height].map((side) => side + 2 * border);
    [this.columns, this.rows] = [width, height].map((side) => Math.ceil(side / unit));
    const [across, down] = [width, height].map((side) => reflected(side, border));
    this.rgb = new Uint8Array(this.width * this.height * CHANNELS);
    let at = 0;
    for (const y of down) {
      for (const x of across) {
        for (let channel = 0; channel < CHANNELS; channel += 1) this.rgb[at++] = rgba[4 * (y * width + x) + channel];
      }
    }
  }

  /** A box as an image, {width, height, rgb}. */
  window({ left, top, right, bottom }) {
    const [width, height] = [right - left, bottom - top];
    const row = width * CHANNELS;
    const rgb = new Uint8Array(height * row);
    for (let y = top; y < bottom; y += 1) {
      const start = (y * this.width + left) * CHANNELS;
      rgb.set(this.rgb.subarray(start, start + row), (y - top) * row);
    }
    return { width, height, rgb };
  }

  /** Parts that together are the photo, each with a window that extends `context` beyond it within the frame. */
  tiles(side, context) {
    const { border, picture } = this;
    const [bottom, right] = [border + picture.height, border + picture.width];
    const tiles = [];
    for (let top = border; top < bottom; top += side) {
      for (let left = border; left < right; left += side) {
        const core = { left, top, right: Math.min(left + side, right), bottom: Math.min(top + side, bottom) };
        const window = {
          left: Math.max(0, left - context),
          top: Math.max(0, top - context),
          right: Math.min(this.width, core.right + context),
          bottom: Math.min(this.height, core.bottom + context),
        };
        tiles.push({ core, window });
      }
    }
    return tiles;
  }

  /**
   * Depths of a tile's window, no deeper than its core needs: {groups, rows, columns, data}.
   *
   * map: depths of the photo's depth tiles; the border is as deep as the tile next to it.
   */
  depths({ core, window }, map, groups, caps) {
    const [across, down] = [
      this.#axis(window.left, window.right, core.left, core.right, this.columns),
      this.#axis(window.top, window.bottom, core.top, core.bottom, this.rows),
    ];
    const data = new Float32Array(groups * across.length * down.length);
    let at = 0;
    for (let group = 0; group < groups; group += 1) {
      for (const y of down) {
        for (const x of across) {
          const depth = map[(group * this.rows + y.number) * this.columns + x.number];
          data[at++] = Math.min(depth, caps[Math.min(Math.max(x.distance, y.distance), caps.length - 1)]);
        }
      }
    }
    return { groups, rows: down.length, columns: across.length, data };
  }

  /** For each depth tile of a side of a window: its number in the photo's map, and its distance from the core. */
  #axis(start, end, coreStart, coreEnd, count) {
    const { unit, border } = this;
    return Array.from({ length: Math.ceil((end - start) / unit) }, (_, index) => {
      const first = start + index * unit;
      const last = Math.min(first + unit, end) - 1;
      const number = Math.min(Math.max((first - border) / unit, 0), count - 1);
      return { number, distance: Math.max(coreStart - last, first - (coreEnd - 1), 0) };
    });
  }
}

/** Number of the pixel that is seen at -border, ..., side + border - 1. */
function reflected(side, border) {
  const period = Math.max(1, 2 * (side - 1));
  return Array.from({ length: side + 2 * border }, (_, index) => {
    const at = (((index - border) % period) + period) % period;
    return Math.min(at, period - at);
  });
}
