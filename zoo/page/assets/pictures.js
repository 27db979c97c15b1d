// Photographs as files: their size before they are decoded, and plain words for what is none.
import { Plain, megapixels, number } from "./words.js";

const MOST_PIXELS = 64e6;
const HEAD = 1 << 20;

/** A photograph decoded, upright, in sRGB. */
export async function decoded(file) {
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const size = statedSize(head);
  if (size) check(file.name, ...size);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Plain(`${file.name} ${reason(file, head, size)}`);
  }
  check(file.name, bitmap.width, bitmap.height);
  return bitmap;
}

function check(name, width, height) {
  if (width * height > MOST_PIXELS) {
    throw new Plain(
      `${name} is too large for a browser: ${number(width)} × ${number(height)} pixels, ${megapixels(width, height)}. ` +
        `The page takes up to ${MOST_PIXELS / 1e6}; zoo colorize takes more.`,
    );
  }
}

function reason(file, head, size) {
  if (!file.size) return "is empty.";
  const brand = ascii(head, 4, 12);
  if (/^ftyp(hei|hev|mif|msf)/.test(brand)) {
    return "is a HEIC photograph, which this browser does not read. Save it as JPEG; zoo colorize reads HEIC, too.";
  }
  if (/^(II\*|MM\0\*)/.test(ascii(head, 0, 4))) {
    return "is a TIFF photograph, which this browser does not read. Save it as PNG; zoo colorize reads TIFF, too.";
  }
  if (size) return "is damaged: only a part of the photograph is there, or none.";
  return "is not a photograph that this browser reads. It takes JPEG, PNG, WebP, AVIF, GIF and BMP.";
}

const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

/** Width and height that the first bytes of a file state, or null. */
export function statedSize(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (ascii(bytes, 1, 4) === "PNG") return [view.getUint32(16), view.getUint32(20)];
    if (ascii(bytes, 0, 3) === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (ascii(bytes, 0, 2) === "BM") return [Math.abs(view.getInt32(18, true)), Math.abs(view.getInt32(22, true))];
    if (view.getUint16(0) === 0xffd8) return sizeOfJpeg(view);
    if (ascii(bytes, 8, 12) === "WEBP") return sizeOfWebp(bytes, view);
    if (ascii(bytes, 4, 8) === "ftyp") return sizeOfAvif(bytes, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return null;
}

function sizeOfJpeg(view) {
  for (let at = 2; ; ) {
    const marker = view.getUint16(at);
    if (marker === 0xffff) at++; // filling
    else if (marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      return [view.getUint16(at + 7), view.getUint16(at + 5)];
    } else if (marker < 0xff00 || marker === 0xffda) return null;
    else at += 2 + view.getUint16(at + 2);
  }
}

function sizeOfWebp(bytes, view) {
  const three = (at) => 1 + (view.getUint16(at, true) | (view.getUint8(at + 2) << 16));
  const kind = ascii(bytes, 12, 16);
  if (kind === "VP8X") return [three(24), three(27)];
  if (kind === "VP8 ") return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  if (kind !== "VP8L") return null;
  const bits = view.getUint32(21, true);
  return [1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)];
}

/** Of AVIF and HEIC: the largest of the sizes in it, since its tiles have theirs, too. */
function sizeOfAvif(bytes, view) {
  let largest = null;
  for (let at = 8; at + 16 <= Math.min(bytes.length, 65536); at++) {
    if (ascii(bytes, at, at + 4) !== "ispe") continue;
    const size = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (!largest || size[0] * size[1] > largest[0] * largest[1]) largest = size;
  }
  return largest;
}
