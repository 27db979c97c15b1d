// What is seen: photographs and their pictures. What takes time is the worker's.
import { megabytes, megapixels, number, time } from "./words.js";

const byId = (id) => document.getElementById(id);
const words = byId("words"), progress = byId("progress"), saturation = byId("saturation");

// ---- the worker ------------------------------------------------------------------------------

// Made of a line of this page, it obeys the page's rule, too: nothing from or to elsewhere.
const line = new Blob([`import ${JSON.stringify(new URL("worker.js", location.href).href)};`], {
  type: "text/javascript",
});
const worker = new Worker(URL.createObjectURL(line), { type: "module" });
const waiting = new Map();
let asked = 0;

class Said extends Error {}

function ask(task, details) {
  const id = ++asked;
  worker.postMessage({ task, id, ...details });
  return new Promise((done, failed) => waiting.set(id, { done, failed }));
}

worker.onmessage = ({ data }) => {
  if (data.what === "started") return;
  if (data.what) return showProgress(data);
  const { done, failed } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.words) failed(new Said(data.words));
  else done(data.result);
};
worker.onerror = () => stop("The part of the page that computes could not be started. Load the page again.");

function stop(text) {
  byId("app").hidden = true;
  byId("notice").hidden = false;
  byId("notice").textContent = text;
}

function say(text, bad = false) {
  words.textContent = text;
  words.classList.toggle("bad", bad);
}

/** Runs what may fail in ways that are said. */
async function trying(work) {
  try {
    return await work();
  } catch (error) {
    say(error instanceof Said ? error.message : `This did not work: ${error.message}`, true);
    return undefined;
  }
}

// ---- models ----------------------------------------------------------------------------------

// By key: {title, note, source, chosen, ready}; ready is the promise of one that was asked for.
const models = new Map();
const coming = new Map();
let own = 0;

function showProgress({ what, come, total }) {
  coming.set(what, [come, total]);
  const sum = (at) => [...coming.values()].reduce((all, each) => all + each[at], 0);
  progress.value = sum(0) / sum(1);
  byId("bytes").textContent = `${number(sum(0) / 1e6, 1)} of ${megabytes(sum(1))}`;
  byId("loading").hidden = sum(0) === sum(1);
  if (byId("loading").hidden) coming.clear();
}

function load(model) {
  if (!model.ready) {
    model.ready = ask("model", { key: model.key, name: model.title, ...model.source });
    showProgress({ what: model.key, come: 0, total: model.source.bytes });
    model.ready.catch(() => {
      coming.clear();
      byId("loading").hidden = true;
      model.ready = null;
      choose(model, false);
    });
  }
  return model.ready;
}

function addModel(model) {
  models.set(model.key, model);
  const box = Object.assign(document.createElement("input"), { type: "checkbox", id: `model-${model.key}` });
  const label = Object.assign(document.createElement("label"), { htmlFor: box.id, textContent: model.title });
  const note = Object.assign(document.createElement("small"), { textContent: model.note });
  label.append(note);
  const row = document.createElement("div");
  row.append(box, label);
  byId("models").append(row);
  model.box = box;
  box.onchange = () => choose(model, box.checked);
}

function choose(model, chosen) {
  model.chosen = model.box.checked = chosen;
  if (chosen) {
    trying(async () => {
      if (!model.ready) say(`Loading ${model.title} …`);
      await load(model);
      if (words.textContent === `Loading ${model.title} …`) say("Ready.");
    });
  }
  for (const photograph of photographs) photograph.update();
}

/** A file that somebody dropped becomes a model, if zoo export wrote it. */
async function takeModel(file) {
  const model = { key: `own-${++own}`, title: file.name, note: "", source: { file } };
  say(`Reading ${file.name} …`);
  model.ready = ask("model", { key: model.key, name: file.name, file });
  const { about } = await model.ready;
  model.note = [about.model, about.license, megabytes(file.size)].filter(Boolean).join(", ");
  addModel(model);
  choose(model, true);
  say(`${file.name} is a model now: ${about.model}.`);
}

// ---- photographs -----------------------------------------------------------------------------

const photographs = new Set();
const chosenModels = () => [...models.values()].filter((model) => model.chosen);

class Photograph {
  constructor(file) {
    this.key = `photograph-${++Photograph.count}`;
    this.file = file;
    this.pictures = new Map();
    this.place = 50;
    this.element = document.createElement("article");
    this.title = Object.assign(document.createElement("h2"), { textContent: file.name });
    this.about = Object.assign(document.createElement("p"), { className: "about", textContent: "Reading …" });
    const remove = button("Remove", () => this.remove());
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    const head = document.createElement("header");
    head.append(this.title, this.about, remove);
    this.row = Object.assign(document.createElement("div"), { className: "pictures" });
    this.element.append(head, this.row);
    byId("photographs").prepend(this.element);
    photographs.add(this);
  }

  async open() {
    say(`Reading ${this.file.name} …`);
    const { size, seen, shown, seconds } = await ask("open", { key: this.key, file: this.file });
    Object.assign(this, { size, seen, grey: new ImageData(shown, seen.width) });
    const pixels = `${number(size.width)} × ${number(size.height)} pixels, ${megapixels(size.width, size.height)}`;
    this.about.textContent = `${pixels}, read in ${time(seconds)}`;
    this.update();
    if (!this.element.previousElementSibling) this.element.scrollIntoView({ block: "nearest" });
  }

  /** A picture for every model that is chosen, in the models' order. */
  update() {
    if (!this.grey) return;
    const wanted = chosenModels();
    for (const [model, picture] of this.pictures) {
      if (!wanted.includes(model)) {
        picture.element.remove();
        this.pictures.delete(model);
      }
    }
    for (const model of wanted) {
      if (!this.pictures.has(model)) this.pictures.set(model, new Picture(this, model));
      this.row.append(this.pictures.get(model).element);
    }
    this.row.classList.toggle("none", !wanted.length);
    showAll();
  }

  slide(place) {
    this.place = place;
    for (const picture of this.pictures.values()) picture.slide(place);
  }

  remove() {
    photographs.delete(this);
    this.element.remove();
    ask("close", { key: this.key });
    showAll();
    byId("choose").focus();
  }
}
Photograph.count = 0;

class Picture {
  constructor(photograph, model) {
    Object.assign(this, { photograph, model, busy: false, late: false, done: false });
    const { grey, seen, file } = photograph;
    this.element = document.createElement("figure");
    this.element.dataset.model = model.key;
    this.stage = Object.assign(document.createElement("div"), { className: "stage busy" });
    this.stage.style.aspectRatio = `${seen.width} / ${seen.height}`;
    this.stage.style.setProperty("--ratio", seen.width / seen.height);
    const canvas = (name) => Object.assign(document.createElement("canvas"), { className: name, ...seen });
    this.below = canvas("grey");
    this.below.getContext("2d").putImageData(grey, 0, 0);
    this.above = canvas("colour");
    this.handle = Object.assign(document.createElement("div"), { className: "handle" });
    this.range = Object.assign(document.createElement("input"), {
      type: "range", min: 0, max: 100, step: 1, value: photograph.place, disabled: true,
    });
    this.range.setAttribute("aria-label", `How much of ${file.name} is shown in colour, by ${model.title}`);
    this.range.oninput = () => photograph.slide(Number(this.range.value));
    this.stage.append(this.below, this.above, this.range, this.handle);
    this.caption = Object.assign(document.createElement("span"), { textContent: `${model.title}: waiting …` });
    this.download = button("Download", () => this.save());
    this.download.disabled = true;
    this.download.setAttribute("aria-label", `Download ${file.name} in colour by ${model.title}, full size`);
    const caption = document.createElement("figcaption");
    caption.append(this.caption, this.download);
    this.element.append(this.stage, caption);
    this.slide(photograph.place);
    this.colour();
  }

  slide(place) {
    this.range.value = place;
    this.range.setAttribute("aria-valuetext", `${place} % in colour`);
    this.stage.style.setProperty("--place", `${place}%`);
  }

  /** Colours anew; what changes meanwhile is done once, afterwards. */
  async colour() {
    if (this.busy) {
      this.late = true;
      return;
    }
    this.busy = true;
    try {
      await load(this.model);
      if (!this.done) this.caption.textContent = `${this.model.title}: colouring …`;
      const details = { key: this.photograph.key, model: this.model.key, saturation: strength() };
      const { shown, seconds, gone } = await ask("colour", details);
      if (gone) return;
      this.above.getContext("2d").putImageData(new ImageData(shown, this.above.width), 0, 0);
      if (!this.done) {
        this.done = true;
        this.caption.textContent = `${this.model.title}: ${time(seconds)}`;
        this.stage.classList.remove("busy");
        this.range.disabled = this.download.disabled = false;
        say(`${this.photograph.file.name} is coloured by ${this.model.title}, in ${time(seconds)}.`);
        showAll();
      }
    } catch (error) {
      this.stage.classList.remove("busy");
      this.caption.textContent = error.message;
      this.element.classList.add("bad");
    } finally {
      this.busy = false;
    }
    if (this.late) {
      this.late = false;
      this.colour();
    }
  }

  async save() {
    await trying(async () => {
      this.download.disabled = true;
      const name = this.photograph.file.name;
      say(`Making ${name} in full size …`);
      const details = { key: this.photograph.key, model: this.model.key, saturation: strength() };
      const { blob, width, height, seconds } = await ask("full", details);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = this.nameOf(blob);
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      say(`${link.download}: ${number(width)} × ${number(height)} pixels, made in ${time(seconds)}.`);
    });
    this.download.disabled = false;
  }

  nameOf(blob) {
    const stem = this.photograph.file.name.replace(/\.[^.]*$/, "");
    const model = chosenModels().length > 1 ? `-${this.model.title.replace(/[^\w@.-]+/g, "-")}` : "";
    const suffix = { "image/jpeg": "jpg", "image/webp": "webp" }[blob.type] ?? "png";
    return `${stem}-colour${model}.${suffix}`;
  }
}

function button(text, work) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.onclick = work;
  return made;
}

const pictures = () => [...photographs].flatMap((photograph) => [...photograph.pictures.values()]);
const showAll = () => (byId("all").hidden = pictures().filter((picture) => picture.done).length < 2);
const strength = () => Number(saturation.value);

// ---- files -----------------------------------------------------------------------------------

async function take(files) {
  // In the order of their names below each other: each new one comes on top.
  const opened = [];
  for (const file of [...files].reverse()) {
    if (/\.onnx$/i.test(file.name)) opened.push(trying(() => takeModel(file)));
    else {
      const photograph = new Photograph(file);
      opened.push(
        photograph.open().catch((error) => {
          photograph.about.textContent = error.message;
          photograph.element.classList.add("bad");
          say(error.message, true);
        }),
      );
    }
  }
  await Promise.all(opened);
}

async function takeExample() {
  const response = await fetch("example.jpg");
  if (!response.ok) throw new Said("The example could not be loaded. Choose a photograph of your own.");
  await take([new File([await response.blob()], "example.jpg", { type: "image/jpeg" })]);
}

for (const [opener, input] of [["choose", "files"], ["camera", "shot"]]) {
  byId(opener).onclick = () => byId(input).click();
  byId(input).onchange = () => {
    take(byId(input).files);
    byId(input).value = ""; // the same file may be chosen again
  };
}
byId("example").onclick = () => trying(takeExample);

let within = 0;
const dragging = (change) => {
  within = Math.max(0, within + change);
  document.body.classList.toggle("dragging", within > 0);
};
addEventListener("dragenter", (event) => event.dataTransfer?.types.includes("Files") && dragging(1));
addEventListener("dragleave", () => dragging(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(-Infinity);
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => event.clipboardData?.files.length && take(event.clipboardData.files));

byId("controls").onsubmit = (event) => event.preventDefault();
saturation.oninput = () => {
  byId("amount").textContent = `${Math.round(100 * strength())} %`;
  for (const picture of pictures()) if (picture.done) picture.colour();
};
byId("all").onclick = async () => {
  for (const picture of pictures()) if (picture.done) await picture.save();
};

// ---- the start -------------------------------------------------------------------------------

async function start() {
  let manifest;
  try {
    const response = await fetch("models.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(`the server says ${response.status}`);
    manifest = await response.json();
  } catch (error) {
    stop(`The page is not whole: its list of models could not be loaded (${error.message}).`);
    return;
  }
  byId("notice").hidden = true;
  byId("app").hidden = false;
  byId("credits").textContent = manifest.credits;
  const runtime = ask("runtime", manifest.runtime);
  showProgress({ what: "wasm", come: 0, total: manifest.runtime.bytes });
  for (const { key, title, license, url, bytes, sha256 } of manifest.models) {
    addModel({ key, title, note: `${license}, ${megabytes(bytes)}`, source: { url, bytes, sha256 } });
  }
  runtime.catch((error) => stop(error.message));
  const [first] = models.values();
  if (first) choose(first, true);
}
start();
