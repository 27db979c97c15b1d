// All that takes time: reading models and photographs, the networks, the merge. One at a time.
import * as ort from "./ort/ort.wasm.min.mjs";
import { merge, shrink, toGrey } from "./colour.js";
import { readModel } from "./onnx.js";
import { decoded } from "./pictures.js";
import { Plain } from "./words.js";

// A network and the screen get a copy of so many pixels; the full size is merged strip by strip.
const MOST_SEEN = 2e6;
const STRIP = 1 << 20;
const QUALITY = 0.95;
// The graph's picture and the merge of this page may differ by the rounding of single precision.
const MOST_LEVELS = 2;

const models = new Map(), photographs = new Map();

const tasks = {
  async runtime({ url, bytes, sha256 }) {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: new URL("ort/ort-wasm-simd-threaded.mjs", import.meta.url).href };
    ort.env.wasm.wasmBinary = (await fetched(url, bytes, sha256, "wasm")).buffer;
  },

  async model({ key, name, url, bytes, sha256, file }) {
    const content = url ? await fetched(url, bytes, sha256, key) : new Uint8Array(await file.arrayBuffer());
    const { about, bytes: graph, chroma } = readModel(name, content);
    let session;
    try {
      session = await ort.InferenceSession.create(graph, {
        executionProviders: ["wasm"], enableCpuMemArena: false, enableMemPattern: false,
      });
    } catch (error) {
      throw new Plain(`${name} is damaged, or too new for this page: ${firstLine(error)}`);
    }
    const model = { session, chroma };
    if (!(await agrees(model))) {
      await session.release();
      throw new Plain(`${name} ends in other steps than this page knows: it was exported by another version of the zoo.`);
    }
    models.set(key, model);
    return { about };
  },

  async open({ key, file }) {
    const start = performance.now();
    const bitmap = await decoded(file);
    const size = { width: bitmap.width, height: bitmap.height };
    let grey = new Uint8Array(size.width * size.height), alpha = new Uint8Array(grey.length), clear = false;
    for (const { rgba, at } of strips(bitmap)) {
      toGrey(rgba, grey, at);
      for (let n = 0; 4 * n < rgba.length; n++) {
        alpha[at + n] = rgba[4 * n + 3];
        clear ||= rgba[4 * n + 3] < 255;
      }
    }
    bitmap.close();
    const scale = Math.min(1, Math.sqrt(MOST_SEEN / grey.length));
    const seen = { width: scaled(size.width, scale), height: scaled(size.height, scale) };
    if (!clear) alpha = null;
    if (scale < 1) {
      grey = shrink(grey, size, seen);
      alpha &&= shrink(alpha, size, seen);
    }
    photographs.set(key, { file, grey, alpha, seen, size, chroma: new Map() });
    const shown = rgbaOf(grey, alpha);
    return { result: { size, seen, shown, seconds: (performance.now() - start) / 1000 }, transfer: [shown.buffer] };
  },

  async colour({ key, model, saturation }) {
    const photograph = photographs.get(key);
    if (!photograph) return { gone: true };
    const start = performance.now();
    if (!photograph.chroma.has(model)) {
      const { chroma } = await run(models.get(model), photograph.grey, photograph.seen);
      photograph.chroma.set(model, chroma);
    }
    const shown = rgbaOf(photograph.grey, photograph.alpha);
    merge(photograph.grey, shown, photograph.seen, 0, photograph.chroma.get(model), saturation);
    return { result: { shown, seconds: (performance.now() - start) / 1000 }, transfer: [shown.buffer] };
  },

  async full({ key, model, saturation }) {
    const { file, chroma } = photographs.get(key);
    const start = performance.now();
    const bitmap = await decoded(file);
    const { width, height } = bitmap;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    for (const { rgba, at } of strips(bitmap)) {
      const grey = new Uint8Array(rgba.length / 4);
      toGrey(rgba, grey, 0);
      merge(grey, rgba, { width, height }, at / width, chroma.get(model), saturation);
      context.putImageData(new ImageData(rgba, width), 0, at / width);
    }
    bitmap.close();
    const type = ["image/jpeg", "image/webp"].includes(file.type) ? file.type : "image/png";
    const blob = await canvas.convertToBlob({ type, quality: QUALITY });
    canvas.width = canvas.height = 0; // frees its memory at once
    return { blob, width, height, seconds: (performance.now() - start) / 1000 };
  },

  async close({ key }) {
    photographs.delete(key);
  },
};

/** The bytes of a file of the page; tells how many have come. */
async function fetched(url, total, sha256, what) {
  let response;
  try {
    response = await fetch(new URL(url, import.meta.url)); // the worker itself is of no folder
    if (!response.ok) throw new Error(`the server says ${response.status}`);
    const bytes = new Uint8Array(total);
    let come = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes.set(value, come); // a RangeError where there are more
      come += value.length;
      postMessage({ what, come, total });
    }
    if (come !== total) throw new Error(`it ends after ${come} of ${total} bytes`);
    // Only pages of this computer and of https can count hashes.
    if (globalThis.crypto?.subtle) {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      const found = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      if (found !== sha256) throw new Error("it is another file than was published here");
    }
    return bytes;
  } catch (error) {
    const file = url.split("/").at(-1);
    throw new Plain(`${file} could not be loaded: ${firstLine(error)}. Load the page again.`);
  }
}

/** Chroma and picture of grey pixels by a model's graph. */
async function run({ session, chroma }, grey, { width, height }) {
  const rgb = new Uint8Array(3 * grey.length);
  for (let at = 0; at < grey.length; at++) rgb.fill(grey[at], 3 * at, 3 * at + 3);
  const image = new ort.Tensor("uint8", rgb, [height, width, 3]);
  const given = await session.run({ image });
  image.dispose();
  const [, , h, w] = given[chroma].dims;
  const found = { chroma: { ab: given[chroma].data.slice(), width: w, height: h }, colour: given.colour.data.slice() };
  for (const tensor of Object.values(given)) tensor.dispose();
  return found;
}

/** Whether the merge of this page gives the picture that a model's own graph gives. */
async function agrees(model) {
  const { inputNames, outputNames } = model.session;
  if (inputNames.join() !== "image" || outputNames[0] !== "colour") return false;
  const size = { width: 180, height: 132 };
  const grey = Uint8Array.from({ length: size.width * size.height }, (_, at) => {
    const x = at % size.width, y = Math.floor(at / size.width);
    return 128 + 80 * Math.sin(x / 17) * Math.cos(y / 23) + 40 * Math.sin((x * y) / 300);
  });
  const { chroma, colour } = await run(model, grey, size);
  if (chroma.ab.length !== 2 * chroma.width * chroma.height) return false;
  const rgba = rgbaOf(grey);
  merge(grey, rgba, size, 0, chroma, 1);
  return grey.every((_, at) =>
    [0, 1, 2].every((channel) => Math.abs(rgba[4 * at + channel] - colour[3 * at + channel]) <= MOST_LEVELS),
  );
}

/** The pixels of a picture, some rows at a time: RGBA and the place of the first one. */
function* strips(bitmap) {
  const { width, height } = bitmap;
  const rows = Math.max(1, Math.floor(STRIP / width));
  const canvas = new OffscreenCanvas(width, Math.min(rows, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let first = 0; first < height; first += rows) {
    context.clearRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -first);
    yield { rgba: context.getImageData(0, 0, width, Math.min(rows, height - first)).data, at: first * width };
  }
}

function rgbaOf(grey, alpha = null) {
  const rgba = new Uint8ClampedArray(4 * grey.length);
  for (let at = 0; at < grey.length; at++) {
    rgba.fill(grey[at], 4 * at, 4 * at + 3);
    rgba[4 * at + 3] = alpha ? alpha[at] : 255;
  }
  return rgba;
}

const scaled = (side, scale) => Math.max(1, Math.round(side * scale));
const firstLine = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 200);

let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const answer = (await tasks[data.task](data)) ?? {};
      postMessage({ id: data.id, result: answer.result ?? answer }, answer.transfer ?? []);
    } catch (error) {
      const words = error instanceof Plain ? error.message : `This did not work: ${firstLine(error)}`;
      postMessage({ id: data.id, words });
    }
  });
};
postMessage({ what: "started" });
