/**
 * Tensors between their wire form and onnxruntime's.
 *
 * @typedef {import('./protocol.js').WireTensor} WireTensor
 * @typedef {import('onnxruntime-web').Tensor} Tensor
 */

import { PageError } from './errors.js';
import { packStrings, unpackStrings } from './protocol.js';

/** onnxruntime takes a Float16Array where the browser has one, else the bits as Uint16Array. */
const Float16 = /** @type {any} */ (globalThis).Float16Array ?? Uint16Array;

/** @type {Record<string, any>} */
const ARRAYS = {
  float32: Float32Array,
  float16: Float16,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

/**
 * A tensor over the received bytes, without a copy (strings excepted).
 * @param {typeof import('onnxruntime-web')} ort
 * @param {WireTensor} wire
 * @returns {Tensor}
 */
export function toTensor(ort, { name, dtype, shape, data }) {
  if (dtype === 'string') {
    return new ort.Tensor('string', unpackStrings(data), shape);
  }
  const array = ARRAYS[dtype];
  if (!array) {
    throw new PageError('invalid_input', `input ${name}: dtype ${dtype} is unknown to the page`);
  }
  const length = data.byteLength / array.BYTES_PER_ELEMENT;
  const values = new array(data.buffer, data.byteOffset, length);
  return new ort.Tensor(/** @type {any} */ (dtype), values, shape);
}

/** Of one output: what a value of the tensor store (Redis, Valkey) holds unless it is told otherwise. */
const MOST_BYTES = 2 ** 29;
const MOST_BYTES_TOGETHER = 2 ** 30;

/**
 * Refuse outputs that nobody could keep, before they are copied into a frame: a page falls over with gigabytes.
 * @param {readonly WireTensor[]} outputs
 */
export function refuseTooLarge(outputs) {
  const large = outputs.find(({ data }) => data.byteLength > MOST_BYTES);
  if (large) {
    const { name, shape, data } = large;
    throw new PageError(
      'too_large',
      `output ${name} (${shape.join(' × ')}) has ${data.byteLength} bytes; at most ${MOST_BYTES} are handed over`,
    );
  }
  const total = outputs.reduce((sum, { data }) => sum + data.byteLength, 0);
  if (total > MOST_BYTES_TOGETHER) {
    throw new PageError(
      'too_large',
      `the outputs have ${total} bytes together; at most ${MOST_BYTES_TOGETHER} are handed over`,
    );
  }
}

/**
 * The wire form of an output that is already on the CPU side.
 * @param {string} name
 * @param {Tensor} tensor
 * @returns {WireTensor}
 */
export function fromTensor(name, tensor) {
  const shape = [...tensor.dims];
  const dtype = tensor.type;
  if (dtype === 'string') {
    return { name, dtype, shape, data: packStrings(/** @type {string[]} */ (tensor.data)) };
  }
  const values = /** @type {ArrayBufferView} */ (/** @type {unknown} */ (tensor.data));
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype, shape, data };
}
