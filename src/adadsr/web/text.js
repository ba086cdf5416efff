/** Numbers as people read them. */

export function seconds(value) {
  if (value < 0.095) return `${Math.max(10, Math.round(value * 100) * 10)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  const whole = Math.round(value);
  return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

export function percent(share) {
  return `${Math.round(share * 100)}%`;
}

export function size(width, height) {
  const pixels = (width * height) / 1e6;
  return `${width} × ${height}, ${pixels < 0.095 ? pixels.toFixed(2) : pixels.toFixed(1)} MP`;
}

export function work(gmacs) {
  return gmacs < 10 ? gmacs.toFixed(1) : Math.round(gmacs).toLocaleString("en");
}

/** A loss in dB; null if it is unknown. */
export function loss(value) {
  if (value == null) return "–";
  return value > 0 && value < 0.01 ? "< 0.01" : value.toFixed(2);
}
