/**
 * The engine behind the page, as the service of `adadsr serve`.
 *
 * An engine is an object with
 *   models()                       -> {default, models: [{name, family, scale, adaptive, blocks, summary}]}
 *   prepare(file, watch)           -> prepared {name, width, height, resultFormat, warnings}
 *   picture(prepared)              -> Blob that a browser can show, for files that it cannot
 *   plan(prepared, choice, watch)  -> {budget, least_budget, seconds, predicted_loss, mean_depth, blocks, gmacs,
 *                                      dense_gmacs, output_size, adaptive, depth_map}
 *   run(prepared, choice, watch)   -> {file: Blob, name, shown: Blob, notes: [text]}
 *   forget(prepared)
 * and, where it makes sense, privacy: a sentence about where photos go, command(prepared, choice) -> text, and unlock(key) after an error with `needsKey`.
 *
 * choice: {family, scale, budget}, budget in (0, 1]. watch: {signal, progress(share)}.
 */

const POLL_MILLISECONDS = 250;
/** How long to retry while the service is busy. */
const PATIENCE_SECONDS = 300;
const SHOWN_TYPES = ["image/png", "image/jpeg", "image/webp", "image/avif", "image/gif", "image/bmp"];

/** A refusal, in words for the user. needsKey: whether a key would help. */
class Refusal extends Error {
  constructor(message, { needsKey = false, kind = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { needsKey, kind, retryAfter });
  }
}

export class HttpEngine {
  privacy = "Photos go to this service only, and it soon forgets them.";
  #base;
  #default = "";
  #key = sessionStorage.getItem("key") ?? "";

  /** base: address of the service, with a slash at its end. */
  constructor(base) {
    this.#base = base;
  }

  unlock(key) {
    this.#key = key;
    sessionStorage.setItem("key", key);
  }

  async models() {
    const offers = await (await this.#call("GET", "v1/models")).json();
    this.#default = offers.default;
    return offers;
  }

  async prepare(file, watch = {}) {
    const kept = await patiently(() => this.#upload(file, watch), watch.signal);
    return { file, id: kept.id, ...shaped(kept, file) };
  }

  async picture(prepared) {
    return (await this.#kept(prepared, (id) => this.#call("GET", `v1/images/${id}/picture`))).blob();
  }

  async plan(prepared, choice, { signal } = {}) {
    const query = (id) => `v1/plan?${new URLSearchParams({ ...this.#asked(choice), image: id, depth_map: "true" })}`;
    return (await this.#kept(prepared, (id) => this.#call("POST", query(id), { signal }), signal)).json();
  }

  async run(prepared, choice, { signal, progress = () => {} } = {}) {
    const poll = setInterval(async () => {
      try {
        const state = await (await this.#call("GET", `v1/images/${prepared.id}`)).json();
        progress(state.state === "waiting" ? 0 : state.progress);
      } catch {
        // The run itself says what is wrong.
      }
    }, POLL_MILLISECONDS);
    try {
      const query = (id) => `v1/upscale?${new URLSearchParams({ ...this.#asked(choice), image: id })}`;
      const answer = await this.#kept(prepared, (id) => this.#call("POST", query(id), { signal }), signal);
      const file = await answer.blob();
      // The file has arrived: whatever goes wrong with showing it, it can be downloaded.
      const shown = SHOWN_TYPES.includes(file.type)
        ? file
        : await this.#call("GET", `v1/images/${prepared.id}/result`, { signal })
            .then((converted) => converted.blob())
            .catch((error) => {
              if (error.name === "AbortError") throw error;
              return file;
            });
      return { file, shown, name: nameIn(answer.headers.get("content-disposition")), notes: notesIn(answer.headers) };
    } finally {
      clearInterval(poll);
    }
  }

  async forget(prepared) {
    await this.#call("DELETE", `v1/images/${prepared.id}`).catch(() => {});
  }

  command(prepared, choice) {
    const address = new URL(`v1/upscale?${new URLSearchParams(this.#asked(choice))}`, this.#base);
    const key = this.#key ? " -H 'Authorization: Bearer YOUR_KEY'" : "";
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    return `curl -f${key} -F ${quoted(`image=@${prepared.name}`)} \\\n  ${quoted(address.href)} \\\n  -o ${quoted(
      `large.${prepared.resultFormat}`,
    )}`;
  }

  /** A call that names an uploaded picture; uploads it again if it was forgotten. */
  async #kept(prepared, call, signal) {
    try {
      return await call(prepared.id);
    } catch (error) {
      if (error.kind !== "unknown-image") throw error;
      prepared.id = (await patiently(() => this.#upload(prepared.file, { signal }), signal)).id;
      return call(prepared.id);
    }
  }

  #call(method, path, { signal } = {}) {
    return patiently(() => this.#callOnce(method, path, signal), signal);
  }

  async #callOnce(method, path, signal) {
    const headers = this.#key ? { Authorization: `Bearer ${this.#key}` } : {};
    let answer;
    try {
      answer = await fetch(new URL(path, this.#base), { method, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The service cannot be reached. Is it still running?");
    }
    if (!answer.ok) throw refusalOf(answer.status, await answer.text());
    return answer;
  }

  /** fetch does not tell how much of an upload is sent; XMLHttpRequest does. */
  #upload(file, { signal, progress = () => {} }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", new URL(`v1/images?${new URLSearchParams({ name: file.name || "image" })}`, this.#base));
      if (this.#key) request.setRequestHeader("Authorization", `Bearer ${this.#key}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
      request.onload = () =>
        request.status === 201
          ? resolve(JSON.parse(request.responseText))
          : reject(refusalOf(request.status, request.responseText));
      request.onerror = () => reject(new Refusal("The upload did not arrive. Is the service still running?"));
      request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
      signal?.addEventListener("abort", () => request.abort());
      request.send(file);
    });
  }

  /** The query of a choice. The default family goes unnamed: then the service picks the network by the file's format. */
  #asked({ family, scale, budget }) {
    const query = family === this.#default ? {} : { model: family };
    query.scale = String(scale);
    if (budget < 1) query.budget = String(Number(budget.toFixed(4)));
    return query;
  }
}

/** The answer of a call; while the service is too busy for it, wait as long as it asks and try again. */
async function patiently(call, signal) {
  for (let waited = 0; ; ) {
    try {
      return await call();
    } catch (error) {
      const seconds = Math.max(1, error.retryAfter ?? 0);
      if (error.kind !== "overloaded" || waited + seconds > PATIENCE_SECONDS) throw error;
      await wait(seconds, signal);
      waited += seconds;
    }
  }
}

/** Rejects once the signal is aborted. */
function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function shaped(kept, file) {
  const { width, height, warnings, result_format: resultFormat } = kept;
  return { name: file.name || `image.${resultFormat}`, width, height, warnings, resultFormat };
}

function refusalOf(status, text) {
  try {
    const problem = JSON.parse(text);
    const kind = String(problem.type ?? "").split(":").pop();
    return new Refusal(problem.detail || problem.title, { needsKey: status === 401, kind, retryAfter: problem.retry_after });
  } catch {
    return new Refusal(`The service answered with status ${status}.`);
  }
}

function nameIn(disposition) {
  const found = /filename\*=UTF-8''([^;]+)/.exec(disposition ?? "");
  return found ? decodeURIComponent(found[1]) : "large.png";
}

function notesIn(headers) {
  const notes = [];
  const [requested, served] = ["requested", "served"].map((name) => Number(headers.get(`adadsr-${name}-budget`)));
  if (served < requested - 0.02) notes.push(`The service is busy and ran at ${Math.round(served * 100)}%.`);
  const warnings = headers.get("adadsr-warnings");
  if (warnings) notes.push(decodeURIComponent(warnings));
  return notes;
}
