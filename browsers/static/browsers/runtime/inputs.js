/**
 * What the inputs of a decoder's step are filled with that are no caches: each by what it is for, as in
 * inference/core/generation/stages.py.
 *
 * @typedef {import('./protocol.js').Header} Header
 * @typedef {import('onnxruntime-web').Tensor} Tensor
 * @typedef {typeof import('onnxruntime-web')} Ort
 * @typedef {{name: string, use: string, dtype: string, rank: number}} StageInput
 */

import { PageError } from './errors.js';

/** Shapes of inputs that hold several numbers. @type {Record<string, (length: number) => number[]>} */
const SHAPES = {
  mask: (length) => [1, length],
  positions: (length) => [1, length],
  rows: (length) => [length],
};

/**
 * The inputs that are no states, by what each is for.
 * @param {Ort} ort
 * @param {StageInput[]} inputs
 * @param {Header} step
 * @param {Map<string, Tensor>} given
 */
export function filled(ort, inputs, { start, count, drafted }, given) {
  return Object.fromEntries(
    inputs.map(({ name, use, dtype, rank }) => {
      if (use === 'tokens' || use === 'hidden' || use === 'memory') {
        const tensor = given.get(name);
        if (!tensor) {
          throw new PageError('invalid_input', `the step gives no ${name}`);
        }
        return [name, tensor];
      }
      const values = use === 'mask' ? ones(dtype, start + count) : typed(dtype, numbers(use, start, count, drafted));
      const shape = SHAPES[use]?.(values.length) ?? Array(rank).fill(1);
      return [name, new ort.Tensor(/** @type {any} */ (dtype), values, shape)];
    }),
  );
}

/**
 * What an input that follows from the step alone holds.
 * @param {string} use
 * @param {number} start
 * @param {number} count
 * @param {number} drafted
 * @returns {number[]}
 */
export function numbers(use, start, count, drafted) {
  switch (use) {
    case 'positions':
      return Array.from({ length: count }, (_, index) => start + index);
    case 'last_position':
      return [start + count - 1];
    case 'length':
      return [start + count];
    case 'cached':
      return [start > 0 ? 1 : 0];
    case 'rows':
      return Array(drafted + 1).fill(1);
  }
  throw new PageError('invalid_input', `an input's use ${use} is unknown to the page`);
}

/**
 * A mask over all positions, which is as long as the text: filled in one go.
 * @param {string} dtype
 * @param {number} length
 */
export function ones(dtype, length) {
  switch (dtype) {
    case 'int64':
      return new BigInt64Array(length).fill(1n);
    case 'int32':
      return new Int32Array(length).fill(1);
    case 'float32':
      return new Float32Array(length).fill(1);
  }
  return typed(dtype, Array(length).fill(1));
}

/**
 * @param {string} dtype
 * @param {number[]} values
 */
export function typed(dtype, values) {
  switch (dtype) {
    case 'int64':
      return BigInt64Array.from(values, BigInt);
    case 'int32':
      return Int32Array.from(values);
    case 'float32':
      return Float32Array.from(values);
    case 'bool':
      return Uint8Array.from(values);
  }
  throw new PageError('unsupported_operation', `an input of a stage is ${dtype}, which the page does not fill`);
}
