// CIE Lab and the merge of a small plane of chroma with full-size lightness, as zoo.color.lab and
// zoo.prediction.merge have them. A model is used only after its own graph, which holds the same
// steps, gave the same picture (worker.js).

const XYZ = [
  [0.412453, 0.35758, 0.180423],
  [0.212671, 0.71516, 0.072169],
  [0.019334, 0.119193, 0.950227],
];
const WHITE = [0.95047, 1, 1.08883];
const TO_XYZ = XYZ.map((row, at) => row.map((value) => value / WHITE[at]));
const [RX, RY, RZ, GX, GY, GZ, BX, BY, BZ] = inverse(TO_XYZ.flat());

const decode = (v) => (v > 0.04045 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92);
const f = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
const fInverse = (t) => (t > 0.2068966 ? t * t * t : (t - 16 / 116) / 7.787);

const LINEAR = Float64Array.from({ length: 256 }, (_, byte) => decode(byte / 255));
// (L + 16) / 116 of each grey, and the ab that white has by the rounding of the matrices.
const FY = LINEAR.map(f);
const WHITE_F = TO_XYZ.map((row) => f(row[0] + row[1] + row[2]));
const WHITE_A = 500 * (WHITE_F[0] - WHITE_F[1]);
const WHITE_B = 200 * (WHITE_F[1] - WHITE_F[2]);

// Linear light to the nearest byte of sRGB: a coarse table, then the exact borders.
const BORDERS = Float64Array.from({ length: 257 }, (_, byte) =>
  byte === 0 ? -Infinity : byte === 256 ? Infinity : decode((byte - 0.5) / 255),
);
const STEPS = 4096;
const COARSE = new Uint8Array(STEPS + 1);
for (let at = 0, byte = 0; at <= STEPS; at++) {
  while (at / STEPS >= BORDERS[byte + 1]) byte++;
  COARSE[at] = byte;
}
function encode(linear) {
  if (!(linear > 0)) return 0;
  if (linear >= 1) return 255;
  let byte = COARSE[(linear * STEPS) | 0];
  while (linear >= BORDERS[byte + 1]) byte++;
  return byte;
}

function inverse([a, b, c, d, e, g, h, i, j]) {
  const cofactors = [
    e * j - g * i, c * i - b * j, b * g - c * e,
    g * h - d * j, a * j - c * h, c * d - a * g,
    d * i - e * h, b * h - a * i, a * e - b * d,
  ];
  const determinant = a * cofactors[0] + b * cofactors[3] + c * cofactors[6];
  return cofactors.map((value) => value / determinant);
}

/** Grey of the same lightness; RGBA in. Writes to `grey` from `at` on. */
export function toGrey(rgba, grey, at) {
  for (let from = 0; from < rgba.length; from += 4, at++) {
    const r = rgba[from], g = rgba[from + 1], b = rgba[from + 2];
    grey[at] = r === g && g === b
      ? r
      : encode(TO_XYZ[1][0] * LINEAR[r] + TO_XYZ[1][1] * LINEAR[g] + TO_XYZ[1][2] * LINEAR[b]);
  }
}

/** Where the pixels of a line of `size` lie on one of `source`, enlarged bilinearly. */
function places(source, size, first = 0, count = size) {
  const lower = new Int32Array(count), upper = new Int32Array(count), share = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    const place = Math.min(Math.max((first + at + 0.5) * (source / size) - 0.5, 0), source - 1);
    lower[at] = Math.floor(place);
    upper[at] = Math.min(lower[at] + 1, source - 1);
    share[at] = place - lower[at];
  }
  return { lower, upper, share };
}

/**
 * Some rows of a picture in colour, RGBA.
 *
 * grey: their lightness as sRGB grey; rgba: where they go, whose alpha is left as it is;
 * size: width and height of the whole picture; first: the first of the rows;
 * chroma: {ab, width, height}, a plane of a and one of b; saturation: what ab is multiplied by.
 */
export function merge(grey, rgba, size, first, chroma, saturation) {
  const { width, height } = size;
  const rows = grey.length / width;
  const { ab, width: w, height: h } = chroma;
  const across = places(w, width), down = places(h, height, first, rows);
  const a = new Float64Array(w), b = new Float64Array(w);
  for (let row = 0, pixel = 0; row < rows; row++) {
    const above = down.lower[row] * w, below = down.upper[row] * w, share = down.share[row];
    for (let x = 0; x < w; x++) {
      a[x] = ab[above + x] * (1 - share) + ab[below + x] * share;
      b[x] = ab[w * h + above + x] * (1 - share) + ab[w * h + below + x] * share;
    }
    for (let x = 0; x < width; x++, pixel++) {
      const left = across.lower[x], right = across.upper[x], part = across.share[x];
      const fy = FY[grey[pixel]];
      const pixelA = saturation * (a[left] * (1 - part) + a[right] * part) + WHITE_A * fy;
      const pixelB = saturation * (b[left] * (1 - part) + b[right] * part) + WHITE_B * fy;
      const X = fInverse(fy + pixelA / 500);
      const Y = fInverse(fy);
      const Z = fInverse(Math.max(fy - pixelB / 200, 0));
      const to = 4 * pixel;
      rgba[to] = encode(RX * X + RY * Y + RZ * Z);
      rgba[to + 1] = encode(GX * X + GY * Y + GZ * Z);
      rgba[to + 2] = encode(BX * X + BY * Y + BZ * Z);
    }
  }
}

/** A plane of bytes made smaller: bicubic with antialiasing, as Pillow and zoo.predict do it. */
export function shrink(plane, size, to) {
  const across = kernel(size.width, to.width), down = kernel(size.height, to.height);
  const narrow = new Float32Array(to.width * size.height);
  for (let y = 0; y < size.height; y++) {
    for (let x = 0; x < to.width; x++) {
      const { first, weights } = across[x];
      let sum = 0;
      for (let at = 0; at < weights.length; at++) sum += weights[at] * plane[y * size.width + first + at];
      narrow[y * to.width + x] = sum;
    }
  }
  const small = new Uint8ClampedArray(to.width * to.height); // rounds and clips
  const line = new Float32Array(to.width);
  for (let y = 0; y < to.height; y++) {
    const { first, weights } = down[y];
    line.fill(0);
    for (let at = 0; at < weights.length; at++) {
      const from = (first + at) * to.width, weight = weights[at];
      for (let x = 0; x < to.width; x++) line[x] += weight * narrow[from + x];
    }
    small.set(line, y * to.width);
  }
  return small;
}

function kernel(source, size) {
  const scale = Math.max(source / size, 1);
  return Array.from({ length: size }, (_, at) => {
    const centre = (at + 0.5) * (source / size);
    const first = Math.max(0, Math.floor(centre - 2 * scale + 0.5));
    const end = Math.min(source, Math.floor(centre + 2 * scale + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, n) => cubic((first + n - centre + 0.5) / scale));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

function cubic(x) {
  x = Math.abs(x);
  if (x < 1) return 1.5 * x ** 3 - 2.5 * x ** 2 + 1;
  return x < 2 ? -0.5 * x ** 3 + 2.5 * x ** 2 - 4 * x + 2 : 0;
}
