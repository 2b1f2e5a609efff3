import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { judge, shortened } from '../../browsers/static/browsers/runtime/caches.js';
import { numbers, ones } from '../../browsers/static/browsers/runtime/inputs.js';
import { logSum, topOf } from '../../browsers/static/browsers/runtime/logits.js';

const cases = JSON.parse(readFileSync(new URL('fixtures/steps.json', import.meta.url), 'utf8'));

for (const { name, place, step, kept, verdict } of cases) {
  test(`${name}: ${verdict}, as in Python`, () => {
    const held = place && { epoch: place[0], position: place[1], last: place[2], drafted: place[3] ?? 0 };
    const [epoch, start, count] = step;
    const other = kept && { position: kept[1] };
    assert.equal(judge(held ?? undefined, { epoch, start, count }, other), verdict);
  });
}

test('a cache is cut to its first positions, along whichever axis they are', () => {
  class Tensor {
    constructor(/** @type {string} */ type, /** @type {Float32Array} */ data, /** @type {number[]} */ dims) {
      Object.assign(this, { type, data, dims });
    }
  }
  const ort = /** @type {any} */ ({ Tensor });
  const state = /** @type {any} */ (new Tensor('float32', Float32Array.from({ length: 12 }, (_, i) => i), [1, 2, 3, 2]));
  const cut = shortened(ort, state, 2, 2);
  assert.deepEqual([...cut.data], [0, 1, 2, 3, 6, 7, 8, 9]);
  assert.deepEqual([cut.type, cut.dims], ['float32', [1, 2, 2, 2]]);
  assert.deepEqual([...shortened(ort, state, 1, 1).data], [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(state.dims, [1, 2, 3, 2], 'the kept one stays as it is');
});

test('inputs that follow from the step alone', () => {
  assert.deepEqual(ones('int64', 4), BigInt64Array.of(1n, 1n, 1n, 1n));
  assert.deepEqual(ones('float32', 2), Float32Array.of(1, 1));
  assert.deepEqual(ones('bool', 2), Uint8Array.of(1, 1));
  assert.deepEqual(numbers('positions', 2, 3, 1), [2, 3, 4]);
  assert.deepEqual(numbers('last_position', 2, 3, 0), [4]);
  assert.deepEqual(numbers('length', 2, 3, 0), [5]);
  assert.deepEqual(numbers('cached', 0, 3, 0), [0]);
  assert.deepEqual(numbers('cached', 3, 1, 0), [1]);
  assert.deepEqual(numbers('rows', 7, 4, 3), [1, 1, 1, 1]);
  assert.throws(() => numbers('anything', 0, 1, 0), /unknown to the page/);
});

test('the largest come first, ties by the smaller id', () => {
  const row = Float32Array.of(1, 3, 3, -2, 5, 3, 0, 5);
  const order = [4, 7, 1, 2, 5, 0, 6, 3];
  for (let top = 1; top <= 10; top += 1) {
    assert.deepEqual([...topOf(row, top)], order.slice(0, top));
  }
});

test('many of a large vocabulary come in the same order, about as fast as sorting it', () => {
  const row = Float32Array.from({ length: 2 ** 18 }, (_, id) => Math.sin(id) + Math.floor(id / 3) / 7 - 6000);
  row.set([-Infinity, -0, 0, -0, 1e9, 1e9, -1e30, 1e-40], 2 ** 17);
  const right = Array.from(row.keys()).sort((one, other) => row[other] - row[one] || one - other);
  for (const top of [1, 64, 1000, 20000, 2 ** 18]) {
    assert.deepEqual(Array.from(topOf(row, top)), right.slice(0, top));
  }
  const later = right.filter((id) => id > 0).map((id) => id - 1);
  assert.deepEqual(Array.from(topOf(row.subarray(1), 20000)), later.slice(0, 20000), 'a row of several');

  const took = () => {
    const began = performance.now();
    topOf(row, 20000);
    return performance.now() - began;
  };
  const sorting = performance.now();
  row.slice().sort();
  const sorted = performance.now() - sorting;
  assert.ok(Math.min(took(), took(), took()) < 50 * sorted, `sorting it takes ${sorted} ms`);
});

test('log of the sum of exponentials, without overflow', () => {
  assert.ok(Math.abs(logSum(Float32Array.of(0, 0, 0, 0)) - Math.log(4)) < 1e-12);
  assert.ok(Math.abs(logSum(Float32Array.of(1000, 1000)) - (1000 + Math.log(2))) < 1e-9);
  assert.ok(Number.isNaN(logSum(Float32Array.of(1, NaN))));
});
