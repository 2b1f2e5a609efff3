import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { elementTypes, FLOAT16 } from '../../browsers/static/browsers/runtime/onnx_types.js';

const FLOAT = 1;
const INT64 = 7;

/** A length-delimited protobuf field. */
const field = (number, ...content) => {
  const bytes = content.flat(Infinity);
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return [number * 8 + 2, ...length, ...bytes];
};
const varint = (number, value) => [number * 8, value];
const model = (...graph) => new Uint8Array(field(7, ...graph));

test('the types of a real model', () => {
  const file = new URL('../../browsers/static/browsers/probe.onnx', import.meta.url);
  const types = elementTypes(readFileSync(file));
  assert.ok(types.has(FLOAT) && types.has(INT64) && !types.has(FLOAT16));
});

test('an initialiser', () => {
  assert.deepEqual(elementTypes(model(field(5, varint(2, FLOAT16)))), new Set([FLOAT16]));
});

test('an input', () => {
  const value = field(11, field(2, field(1, varint(1, FLOAT16))));
  assert.deepEqual(elementTypes(model(value)), new Set([FLOAT16]));
});

test('a constant inside the body of a loop', () => {
  const constant = field(1, field(5, field(5, varint(2, FLOAT16))));
  const loop = field(1, field(5, field(6, constant)));
  assert.deepEqual(elementTypes(model(loop)), new Set([FLOAT16]));
});

test('large fields are skipped', () => {
  const data = field(9, new Array(5000).fill(0xff));
  assert.deepEqual(elementTypes(model(field(5, varint(2, FLOAT), data))), new Set([FLOAT]));
});

test('what is no ONNX file has no types', () => {
  assert.deepEqual(elementTypes(new TextEncoder().encode('hello world')), new Set());
  assert.deepEqual(elementTypes(new Uint8Array(0)), new Set());
});
