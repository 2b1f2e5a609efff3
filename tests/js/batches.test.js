import assert from 'node:assert/strict';
import { test } from 'node:test';

import { batchOf, cutOut, maskOf, rowOf, stacked } from '../../browsers/static/browsers/runtime/batches.js';

class Tensor {
  constructor(/** @type {string} */ type, /** @type {any} */ data, /** @type {number[]} */ dims) {
    this.type = type;
    this.data = data;
    this.dims = dims;
  }
}
const ort = /** @type {any} */ ({ Tensor });
const stage = /** @type {any} */ ({
  states: [{ past: 'key', present: 'made', dtype: 'float32', shape: [1, 2, 0, 2], axis: 2 }],
  inputs: [
    { name: 'ids', use: 'tokens', dtype: 'int64', rank: 2 },
    { name: 'mask', use: 'mask', dtype: 'int64', rank: 2 },
    { name: 'places', use: 'positions', dtype: 'int64', rank: 2 },
    { name: 'wanted', use: 'rows', dtype: 'int64', rank: 1 },
  ],
});

/** A cache of so many positions: two heads of two numbers, no number twice. */
const cache = (/** @type {number} */ length, /** @type {number} */ from) => ({
  key: /** @type {any} */ (new Tensor('float32', Float32Array.from({ length: 4 * length }, (_, i) => from + i), [1, 2, length, 2])),
});
const rows = [cache(1, 100), cache(3, 200), cache(2, 300)];
const lengths = [1, 3, 2];

test('shorter caches are filled up with zeros', () => {
  const { states, first, size } = batchOf(ort, stage, rows, lengths);
  assert.deepEqual([first, size, states.key.dims], [3, 3, [3, 2, 3, 2]]);
  assert.deepEqual([.../** @type {any} */ (states.key.data).subarray(0, 12)], [100, 101, 0, 0, 0, 0, 102, 103, 0, 0, 0, 0]);
});

test('a row is what it was, with the steps since', () => {
  const batch = batchOf(ort, stage, rows, lengths);
  for (const [row, each] of rows.entries()) {
    assert.deepEqual(rowOf(ort, stage, batch, row), each);
  }
  const [added, size] = [[7, 8], 5];
  const data = new Float32Array(3 * 2 * size * 2);
  for (let at = 0; at < 6; at += 1) {
    data.set(/** @type {any} */ (batch.states.key.data).subarray(at * 6, at * 6 + 6), at * size * 2);
    data.set([at, added[0], at, added[1]], at * size * 2 + 6);
  }
  const states = { key: /** @type {any} */ (new Tensor('float32', data, [3, 2, size, 2])) };
  const row = rowOf(ort, stage, { ...batch, states, size }, 2).key;
  assert.deepEqual(row.dims, [1, 2, 4, 2]);
  assert.deepEqual([...row.data], [300, 301, 302, 303, 4, 7, 4, 8, 304, 305, 306, 307, 5, 7, 5, 8]);
});

test('each row sees its own columns and those of the steps since', () => {
  assert.deepEqual(maskOf(1, 3, 3), [1, 0, 0, 1]);
  assert.deepEqual(maskOf(3, 3, 5), [1, 1, 1, 1, 1, 1]);
  assert.deepEqual(maskOf(2, 3, 4), [1, 1, 0, 1, 1]);
});

test('the other inputs of a batch, a row for each session', () => {
  const batch = { states: {}, lengths, first: 3, size: 4 };
  const given = [5, 6, 7].map((id) => new Map([['ids', /** @type {any} */ (new Tensor('int64', BigInt64Array.of(BigInt(id)), [1, 1]))]]));
  const made = stacked(ort, stage, batch, given);
  assert.deepEqual([made.ids.dims, [...made.ids.data]], [[3, 1], [5n, 6n, 7n]]);
  assert.deepEqual([made.places.dims, [...made.places.data]], [[3, 1], [2n, 4n, 3n]]);
  assert.deepEqual([made.mask.dims, made.wanted.dims], [[3, 5], [1]]);
  assert.throws(() => stacked(ort, stage, batch, [...given.slice(1), new Map()]), /give no ids/);
  const odd = { ...stage, inputs: [{ name: 'length', use: 'length', dtype: 'int64', rank: 1 }] };
  assert.throws(() => stacked(ort, odd, batch, given), /several sessions/);
});

test('a row of an output is one of a session alone', () => {
  const output = /** @type {any} */ (new Tensor('float32', Float32Array.from({ length: 6 }, (_, i) => i), [3, 1, 2]));
  const row = cutOut(ort, output, 1, 3);
  assert.deepEqual([row.dims, [...row.data]], [[1, 1, 2], [2, 3]]);
  assert.throws(() => cutOut(ort, output, 0, 2), /has 3 rows/);
});
