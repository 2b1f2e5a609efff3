/**
 * The frames between a page and its worker; the Python side is browsers/core/protocol.py.
 *
 * A frame is: uint32 LE header length, header (JSON, UTF-8), zeros to a multiple of 8, then each
 * tensor's data padded to a multiple of 8. Tensor data are views of the received buffer, no copies.
 *
 * @typedef {{name: string, dtype: string, shape: number[], data: Uint8Array}} WireTensor
 * @typedef {Record<string, any>} Header
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @param {number} length */
const padded = (length) => (length + 7) & ~7;

/**
 * The tensors' bytes are copied exactly once.
 * @param {Header} header
 * @param {WireTensor[]} [tensors]
 * @returns {ArrayBuffer}
 */
export function encodeFrame(header, tensors = []) {
  const entries = tensors.map(({ name, dtype, shape, data }) => ({
    name,
    dtype,
    shape,
    bytes: data.byteLength,
  }));
  const text = encoder.encode(JSON.stringify({ ...header, tensors: entries }));
  let offset = padded(4 + text.byteLength);
  const total = tensors.reduce((sum, { data }) => sum + padded(data.byteLength), offset);
  const frame = new Uint8Array(total);
  new DataView(frame.buffer).setUint32(0, text.byteLength, true);
  frame.set(text, 4);
  for (const { data } of tensors) {
    frame.set(data, offset);
    offset += padded(data.byteLength);
  }
  return frame.buffer;
}

/**
 * The header alone, with its `tensors` entries: all that routing a frame needs.
 * @param {ArrayBuffer} frame
 * @returns {Header}
 */
export function decodeHeader(frame) {
  const length = new DataView(frame).getUint32(0, true);
  return JSON.parse(decoder.decode(new Uint8Array(frame, 4, length)));
}

/**
 * @param {ArrayBuffer} frame
 * @returns {{header: Header, tensors: WireTensor[]}}
 */
export function decodeFrame(frame) {
  const { tensors: entries, ...header } = decodeHeader(frame);
  let offset = padded(4 + new DataView(frame).getUint32(0, true));
  const tensors = entries.map(
    (/** @type {{name: string, dtype: string, shape: number[], bytes: number}} */ entry) => {
      const data = new Uint8Array(frame, offset, entry.bytes);
      offset += padded(entry.bytes);
      return { name: entry.name, dtype: entry.dtype, shape: entry.shape, data };
    },
  );
  return { header, tensors };
}

/**
 * Strings from their raw form: per element a uint32 LE length, then UTF-8.
 * @param {Uint8Array} data
 * @returns {string[]}
 */
export function unpackStrings(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const strings = [];
  let offset = 0;
  while (offset < data.byteLength) {
    const length = view.getUint32(offset, true);
    offset += 4;
    strings.push(decoder.decode(data.subarray(offset, offset + length)));
    offset += length;
  }
  return strings;
}

/**
 * The inverse of `unpackStrings`.
 * @param {readonly string[]} strings
 * @returns {Uint8Array}
 */
export function packStrings(strings) {
  const encoded = strings.map((text) => encoder.encode(text));
  const total = encoded.reduce((sum, bytes) => sum + 4 + bytes.byteLength, 0);
  const data = new Uint8Array(total);
  const view = new DataView(data.buffer);
  let offset = 0;
  for (const bytes of encoded) {
    view.setUint32(offset, bytes.byteLength, true);
    data.set(bytes, offset + 4);
    offset += 4 + bytes.byteLength;
  }
  return data;
}
