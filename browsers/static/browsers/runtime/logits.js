/**
 * What is told of logits.
 *
 * @typedef {import('./protocol.js').WireTensor} WireTensor
 * @typedef {import('onnxruntime-web').Tensor} Tensor
 */

import { PageError } from './errors.js';

const FEWEST_CANDIDATES = 1024;

/**
 * The largest logits of the last rows, largest first, ties by the smaller id; all of them, in the order of
 * their ids, for `top` 0: ids and logits [rows, …], and of each row the sum's logarithm. What follows a drafted
 * token that is wrong may be anything: rows end before one that is not finite, the first excepted.
 * @param {Tensor} logits
 * @param {number} top
 * @param {number} count of rows
 * @returns {{log_sum: number[], tensors: WireTensor[]}}
 */
export function largest(logits, top, count) {
  const data = /** @type {any} */ (logits.data);
  if (logits.type === 'float16' && data instanceof Uint16Array) {
    throw new PageError('unsupported_operation', 'this browser has no Float16Array to read float16 logits with');
  }
  const vocabulary = logits.dims[logits.dims.length - 1];
  const size = Math.min(top || vocabulary, vocabulary);
  const ids = new Int32Array(count * size);
  const values = new Float32Array(count * size);
  const log_sum = [];
  for (let at = 0; at < count; at += 1) {
    const start = data.length - (count - at) * vocabulary;
    const row = Float32Array.from(data.subarray(start, start + vocabulary));
    const sum = logSum(row);
    if (!Number.isFinite(sum)) {
      if (at === 0) {
        throw new PageError('internal', 'the logits are not finite');
      }
      break;
    }
    log_sum.push(sum);
    const own = top === 0 ? Int32Array.from(row, (_, id) => id) : topOf(row, top);
    ids.set(own, at * size);
    values.set(Float32Array.from(own, (id) => row[id]), at * size);
  }
  const rows = log_sum.length;
  return {
    log_sum,
    tensors: [
      wire('ids', 'int32', ids.slice(0, rows * size), [rows, size]),
      wire('logits', 'float32', values.slice(0, rows * size), [rows, size]),
    ],
  };
}

/**
 * @param {string} name
 * @param {string} dtype
 * @param {Int32Array | Float32Array} values
 * @param {number[]} shape
 * @returns {WireTensor}
 */
function wire(name, dtype, values, shape) {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype, shape, data };
}

/**
 * log(sum(exp(row))), without overflow.
 * @param {Float32Array} row
 */
export function logSum(row) {
  let most = -Infinity;
  for (const value of row) {
    most = value > most ? value : most;
  }
  let sum = 0;
  for (const value of row) {
    sum += Math.exp(value - most);
  }
  return most + Math.log(sum);
}

/**
 * Ids of the `top` largest values, largest first, ties by the smaller id; a vocabulary has fewer than 2^22.
 *
 * Candidates are gathered; what is left of them when they are too many tells what need not be one.
 * @param {Float32Array} row without NaN
 * @param {number} top
 * @returns {Int32Array}
 */
export function topOf(row, top) {
  const size = Math.min(top, row.length);
  const bits = new Int32Array(row.buffer, row.byteOffset, row.length);
  const ranks = new Float64Array(Math.min(Math.max(2 * size, FEWEST_CANDIDATES), row.length));
  let held = 0;
  let floor = NaN; // of what comes later, nothing up to this is among the largest
  for (let id = 0; id < row.length; id += 1) {
    if (row[id] <= floor) {
      continue;
    }
    if (held === ranks.length) {
      ranks.sort();
      held = size;
      floor = row[idOf(ranks[size - 1], row.length)];
      if (row[id] <= floor) {
        continue;
      }
    }
    ranks[held] = rankOf(bits[id], id, row.length);
    held += 1;
  }
  return Int32Array.from(ranks.subarray(0, held).sort().subarray(0, size), (rank) => idOf(rank, row.length));
}

/**
 * A whole number: the smaller, the sooner it comes. The bits of a float, sign and magnitude, are ordered as
 * it is.
 * @param {number} bits of the value, as an integer
 * @param {number} id below `count`
 * @param {number} count
 */
function rankOf(bits, id, count) {
  const ordered = bits < 0 ? -(bits + 2 ** 31) : bits;
  return -ordered * count + id;
}

/**
 * @param {number} rank
 * @param {number} count
 */
function idOf(rank, count) {
  const left = rank % count;
  return left < 0 ? left + count : left;
}
