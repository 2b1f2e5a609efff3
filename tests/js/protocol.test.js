import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import {
  decodeFrame,
  decodeHeader,
  encodeFrame,
  packStrings,
  unpackStrings,
} from '../../browsers/static/browsers/runtime/protocol.js';

const cases = JSON.parse(readFileSync(new URL('fixtures/frames.json', import.meta.url), 'utf8'));
const bytes = (base64) => new Uint8Array(Buffer.from(base64, 'base64'));

for (const { name, header, tensors, frame } of cases) {
  test(`${name}: the same bytes as in Python`, () => {
    const sent = tensors.map((tensor) => ({ ...tensor, data: bytes(tensor.data) }));
    const made = encodeFrame(header, sent);
    assert.deepEqual(new Uint8Array(made), bytes(frame));

    const back = decodeFrame(made);
    assert.deepEqual(back.header, header);
    assert.deepEqual(back.tensors, sent);
    assert.equal(decodeHeader(made).tensors.length, sent.length);
    for (const { data } of back.tensors) {
      assert.equal(data.byteOffset % 8, 0);
      assert.equal(data.buffer, made);
    }
  });
}

test('strings survive', () => {
  const texts = ['', 'a', 'grüße 😀', '\0', ''];
  assert.deepEqual(unpackStrings(packStrings(texts)), texts);
  assert.deepEqual(unpackStrings(new Uint8Array(0)), []);
});

test('strings are read from the middle of a buffer', () => {
  const packed = packStrings(['one', 'two']);
  const buffer = new Uint8Array(packed.byteLength + 5);
  buffer.set(packed, 5);
  assert.deepEqual(unpackStrings(buffer.subarray(5)), ['one', 'two']);
});
