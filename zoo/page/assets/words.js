// An error whose message is written for the person before the screen.
export class Plain extends Error {}

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const time = (seconds) => (seconds < 0.05 ? "less than 0.1\u00a0s" : `${number(seconds, 1)}\u00a0s`);

export const megabytes = (bytes) => `${number(bytes / 1e6, 1)} MB`;

export const megapixels = (width, height) => `${number((width * height) / 1e6, 1)} megapixels`;
