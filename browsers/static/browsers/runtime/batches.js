/**
 * The caches of several sessions as rows of the same tensors, for steps of one position that are computed in
 * one run. Who may be computed so, to the same bits, is said in inference/core/generation/batches.py.
 *
 * The columns of a batch are those of its longest session when it began, then one for each step since. What
 * a shorter session lacks of the first ones is zeros, which its mask hides.
 *
 * @typedef {import('./caches.js').Stage} Stage
 * @typedef {import('onnxruntime-web').Tensor} Tensor
 * @typedef {typeof import('onnxruntime-web')} Ort
 * @typedef {{states: Record<string, Tensor>, lengths: number[], first: number, size: number}} Batch `lengths`:
 *   what each session held when it began, the most of which is `first`; `size`: columns now
 */

import { PageError } from './errors.js';
import { typed } from './inputs.js';

/**
 * A batch of caches.
 * @param {Ort} ort
 * @param {Stage} stage
 * @param {Record<string, Tensor>[]} rows
 * @param {number[]} lengths positions in each
 * @returns {Batch}
 */
export function batchOf(ort, { states }, rows, lengths) {
  const size = Math.max(...lengths);
  const made = states.map(({ past, axis }) => {
    const tensors = rows.map((row) => row[past]);
    const [outer, inner] = around(tensors[0], axis);
    const joined = like(tensors[0], rows.length * outer * size * inner);
    tensors.forEach(({ data }, row) => {
      const own = lengths[row] * inner;
      for (let at = 0; at < outer; at += 1) {
        joined.set(part(data, at * own, own), (row * outer + at) * size * inner);
      }
    });
    return [past, tensorOf(ort, tensors[0], joined, resized(tensors[0], rows.length, axis, size))];
  });
  return { states: Object.fromEntries(made), lengths, first: size, size };
}

/**
 * The cache of one session, by itself.
 * @param {Ort} ort
 * @param {Stage} stage
 * @param {Batch} batch
 * @param {number} row
 * @returns {Record<string, Tensor>}
 */
export function rowOf(ort, { states }, { states: joined, lengths, first, size }, row) {
  const [before, since] = [lengths[row], size - first];
  const made = states.map(({ past, axis }) => {
    const tensor = joined[past];
    const [outer, inner] = around(tensor, axis);
    const own = like(tensor, outer * (before + since) * inner);
    for (let at = 0; at < outer; at += 1) {
      const from = (row * outer + at) * size;
      const to = at * (before + since) * inner;
      own.set(part(tensor.data, from * inner, before * inner), to);
      own.set(part(tensor.data, (from + first) * inner, since * inner), to + before * inner);
    }
    return [past, tensorOf(ort, tensor, own, resized(tensor, 1, axis, before + since))];
  });
  return Object.fromEntries(made);
}

/**
 * What a step takes besides: of each session one position.
 * @param {Ort} ort
 * @param {Stage} stage
 * @param {Batch} batch
 * @param {Map<string, Tensor>[]} given of each row, by name
 * @returns {Record<string, Tensor>}
 */
export function stacked(ort, { inputs }, { lengths, first, size }, given) {
  const rows = lengths.length;
  return Object.fromEntries(
    inputs.map(({ name, use, dtype }) => {
      const numbers = (/** @type {number[]} */ values, /** @type {number[]} */ shape) => [
        name,
        new ort.Tensor(/** @type {any} */ (dtype), typed(dtype, values), shape),
      ];
      switch (use) {
        case 'tokens':
        case 'hidden':
          return [name, joined(ort, name, given)];
        case 'mask':
          return numbers(lengths.flatMap((length) => maskOf(length, first, size)), [rows, size + 1]);
        case 'positions':
          return numbers(lengths.map((length) => length + size - first), [rows, 1]);
        case 'rows':
          return numbers([1], [1]);
      }
      throw new PageError('internal', `${name} (${use}) is not to be computed for several sessions at once`);
    }),
  );
}

/**
 * A row of an output, as one of a session alone.
 * @param {Ort} ort
 * @param {Tensor} tensor [rows, …]
 * @param {number} row
 * @param {number} rows
 */
export function cutOut(ort, tensor, row, rows) {
  if (tensor.dims[0] !== rows) {
    throw new PageError('internal', `an output of ${rows} sessions has ${tensor.dims[0]} rows`);
  }
  const size = tensor.data.length / rows;
  return tensorOf(ort, tensor, part(tensor.data, row * size, size), [1, ...tensor.dims.slice(1)]);
}

/**
 * Which columns a session sees: its own, and that of its step.
 * @param {number} length
 * @param {number} first
 * @param {number} size
 * @returns {number[]}
 */
export function maskOf(length, first, size) {
  return Array.from({ length: size + 1 }, (_, column) => Number(column < length || column >= first));
}

/**
 * @param {Ort} ort
 * @param {string} name
 * @param {Map<string, Tensor>[]} given
 * @returns {Tensor}
 */
function joined(ort, name, given) {
  const tensors = given.map((each) => each.get(name));
  const [one] = tensors;
  if (!one || tensors.some((tensor) => tensor?.data.length !== one.data.length)) {
    throw new PageError('invalid_input', `steps give no ${name}, or of other sizes`);
  }
  const all = like(one, one.data.length * tensors.length);
  tensors.forEach((tensor, row) => all.set(/** @type {any} */ (tensor).data, row * one.data.length));
  return tensorOf(ort, one, all, [tensors.length, ...one.dims.slice(1)]);
}

/**
 * How many parts of a row there are before the axis of positions, and numbers in each position of one.
 * @param {Tensor} tensor
 * @param {number} axis
 */
function around({ dims }, axis) {
  const product = (/** @type {readonly number[]} */ sizes) => sizes.reduce((all, size) => all * size, 1);
  return [product(dims.slice(1, axis)), product(dims.slice(axis + 1))];
}

/**
 * @param {Tensor} tensor
 * @param {number} rows
 * @param {number} axis
 * @param {number} size
 */
const resized = ({ dims }, rows, axis, size) =>
  dims.map((dim, at) => (at === 0 ? rows : at === axis ? size : dim));

/**
 * An array of the same type.
 * @param {Tensor} tensor
 * @param {number} length
 */
const like = ({ data }, length) => new /** @type {any} */ (data.constructor)(length);

/**
 * @param {any} data
 * @param {number} from
 * @param {number} count
 */
const part = (data, from, count) => data.subarray(from, from + count);

/**
 * @param {Ort} ort
 * @param {Tensor} tensor
 * @param {any} data
 * @param {readonly number[]} dims
 * @returns {Tensor}
 */
const tensorOf = (ort, { type }, data, dims) => new ort.Tensor(/** @type {any} */ (type), data, dims);
