/**
 * Element types used in an ONNX file, read from the protobuf itself.
 *
 * onnxruntime loads a float16 model on an adapter without shader-f16 and only fails (or, worse,
 * answers) when it runs; therefore the page must know before it creates the session. Field numbers
 * are those of onnx.proto3.
 */

export const FLOAT16 = 10;

/** Which fields of a message hold types, and which hold messages to walk into. */
const MODEL = { types: [], inside: { 7: 'GRAPH', 25: 'FUNCTION' } };
const FUNCTION = { types: [], inside: { 7: 'NODE' } };
const GRAPH = { types: [], inside: { 1: 'NODE', 5: 'TENSOR', 11: 'VALUE', 12: 'VALUE', 13: 'VALUE' } };
const NODE = { types: [], inside: { 5: 'ATTRIBUTE' } };
const ATTRIBUTE = { types: [], inside: { 5: 'TENSOR', 6: 'GRAPH', 11: 'GRAPH' } };
const TENSOR = { types: [2], inside: {} };
const VALUE = { types: [], inside: { 2: 'TYPE' } };
const TYPE = { types: [], inside: { 1: 'TENSOR_TYPE' } };
const TENSOR_TYPE = { types: [1], inside: {} };

/** @type {Record<string, {types: number[], inside: Record<number, string>}>} */
const MESSAGES = { MODEL, FUNCTION, GRAPH, NODE, ATTRIBUTE, TENSOR, VALUE, TYPE, TENSOR_TYPE };

class Truncated extends Error {}

/** A position in protobuf bytes. */
class Cursor {
  /**
   * @param {Uint8Array} bytes
   * @param {number} at
   * @param {number} end
   */
  constructor(bytes, at, end) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** A base-128 number; exact to 53 bits, which covers tags, lengths and enums. */
  varint() {
    let value = 0;
    for (let scale = 1; this.at < this.end; scale *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) {
        return value;
      }
    }
    throw new Truncated('varint');
  }

  /** @param {number} count */
  skip(count) {
    this.at += count;
    if (this.at > this.end) {
      throw new Truncated('field');
    }
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {number} at
 * @param {number} end
 * @param {string} message
 * @param {Set<number>} found
 */
function walk(bytes, at, end, message, found) {
  const { types, inside } = MESSAGES[message];
  const cursor = new Cursor(bytes, at, end);
  while (cursor.at < end) {
    const tag = cursor.varint();
    const field = Math.floor(tag / 8);
    const wire = tag % 8;
    if (wire === 0) {
      const value = cursor.varint();
      if (types.includes(field)) {
        found.add(value);
      }
    } else if (wire === 2) {
      const length = cursor.varint();
      const start = cursor.at;
      cursor.skip(length);
      if (inside[field]) {
        walk(bytes, start, start + length, inside[field], found);
      }
    } else if (wire === 1 || wire === 5) {
      cursor.skip(wire === 1 ? 8 : 4);
    } else {
      throw new Truncated(`wire type ${wire}`);
    }
  }
}

/**
 * The element types (TensorProto.DataType) of initialisers and declared values.
 * Bytes that are no ONNX file give what was found so far: onnxruntime will say what is wrong.
 * @param {Uint8Array} bytes
 * @returns {Set<number>}
 */
export function elementTypes(bytes) {
  /** @type {Set<number>} */
  const found = new Set();
  try {
    walk(bytes, 0, bytes.byteLength, 'MODEL', found);
  } catch (error) {
    if (!(error instanceof Truncated)) {
      throw error;
    }
  }
  return found;
}
