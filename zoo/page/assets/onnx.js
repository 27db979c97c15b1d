// What an ONNX file says of itself, and its plane of chroma as one more output.
import { Plain } from "./words.js";

const NOT_OURS = "was not written by zoo export. Type zoo export NAME --weights W -o model.onnx, and drop that file.";
const text = new TextDecoder();

// The numbers of fields in onnx.proto.
const MODEL = { graph: 7, metadata: 14 };
const GRAPH = { node: 1, output: 12 };
const NODE = { input: 1, operator: 4 };
const ENTRY = { key: 1, value: 2 };
const VALUE = { name: 1 };

/** The fields with a length of a protobuf message: number and bytes. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 63) throw new RangeError("the message ends early");
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8, field = Math.floor(tag / 8);
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (length > bytes.length - at) throw new RangeError("the message ends early");
      yield [field, bytes.subarray(at, at + length)];
      at += length;
    } else throw new RangeError("this is no message");
  }
}

const all = (bytes, wanted) => [...fields(bytes)].filter(([field]) => field === wanted).map(([, value]) => value);
const words = (bytes, wanted) => all(bytes, wanted).map((value) => text.decode(value));

function message(field, content) {
  if (content.length > 127 ** 2) throw new RangeError("the name is too long");
  return [field * 8 + 2, (content.length & 127) | 128, content.length >> 7, ...content];
}

/**
 * {about, bytes, chroma}: the metadata of zoo export, the file with one more output, its name.
 *
 * The last enlargement of the graph is that of the chroma. Messages of protobuf that follow each
 * other are joined: a graph with nothing but an output adds it to the graph that is there.
 */
export function readModel(name, bytes) {
  let about, chroma;
  try {
    for (const entry of all(bytes, MODEL.metadata)) {
      if (words(entry, ENTRY.key)[0] === "colorizer-zoo") about = JSON.parse(words(entry, ENTRY.value)[0]);
    }
    const [graph] = all(bytes, MODEL.graph);
    const resize = all(graph, GRAPH.node).findLast((node) => words(node, NODE.operator)[0] === "Resize");
    chroma = resize && words(resize, NODE.input)[0];
  } catch {
    about = undefined;
  }
  if (about?.format !== 1 || !chroma) throw new Plain(`${name} ${NOT_OURS}`);
  if (about.size) {
    const [height, width] = about.size;
    throw new Plain(`${name} takes pictures of ${width} × ${height} pixels alone. Export it without --size.`);
  }
  const output = message(GRAPH.output, message(VALUE.name, [...new TextEncoder().encode(chroma)]));
  const more = Uint8Array.from(message(MODEL.graph, output));
  const longer = new Uint8Array(bytes.length + more.length);
  longer.set(bytes);
  longer.set(more, bytes.length);
  return { about, bytes: longer, chroma };
}
