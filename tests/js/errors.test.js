import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EngineBroken, isFatal, PageError, translate } from '../../browsers/static/browsers/runtime/errors.js';

/** Messages that onnxruntime-web 1.30 and the browsers really wrote. */
const SEEN = [
  ["input 'x' is missing in 'feeds'.", 'invalid_input'],
  ["invalid input 'z'", 'invalid_input'],
  ["'fetches' contains invalid output name: nope.", 'invalid_input'],
  ["'fetches' cannot be an empty array.", 'invalid_input'],
  ['ERROR_CODE: 2, ERROR_MESSAGE: Unexpected input data type. Actual: (tensor(int32))', 'invalid_input'],
  ['ERROR_CODE: 2, ERROR_MESSAGE: Got invalid dimensions for input: x', 'invalid_input'],
  ['ERROR_CODE: 2, ERROR_MESSAGE: Invalid rank for input: x Got: 1 Expected: 2', 'invalid_input'],
  ['ERROR_CODE: 7, ERROR_MESSAGE: Failed to load model because protobuf parsing failed.', 'model_incompatible'],
  ['ERROR_CODE: 2, ERROR_MESSAGE: No graph was found in the protobuf.', 'model_incompatible'],
  ['Fatal error: org.example:Frobnicate(-1) is not a registered function/op', 'unsupported_operation'],
  ['ERROR_CODE: 6, ERROR_MESSAGE: No Op registered for Scaler with domain_version of 3', 'unsupported_operation'],
  [
    'ERROR_CODE: 10, ERROR_MESSAGE: This is an invalid model. In Node, ("", Scaler, "ai.onnx.ml", -1) : ("x": ' +
      'tensor(float),) -> ("y": tensor(float),) , Error No Op registered for Scaler with domain_version of 3',
    'unsupported_operation',
  ],
  ['ERROR_CODE: 9, ERROR_MESSAGE: Could not find an implementation for MatMul(13) node', 'unsupported_operation'],
  [
    'transformer_memcpy.cc:254 bool onnxruntime::TransformerMemcpyImpl::IsNodeCompatibleWithProvider(…)',
    'unsupported_operation',
  ],
  ['Non-zero status code returned while running Add node. Incompatible dimensions', 'internal'],
  ['Non-zero status code returned while running MatMul node. Pipeline failed', 'internal'],
  ['std::bad_alloc', 'out_of_memory'],
  ['Array buffer allocation failed', 'out_of_memory'],
  ['no available backend found. ERR: [webnn] Error: WebNN is not supported', 'browser_capability'],
  ['Failed to fetch', 'connection'],
  ['something nobody has seen', 'internal'],
];

for (const [message, code] of SEEN) {
  test(`${code}: ${message.slice(0, 60)}`, () => {
    assert.deepEqual(translate(new Error(message)), { code, message });
    assert.deepEqual(translate(new PageError('timeout', message)), { code: 'timeout', message });
  });
}

test('what is no Error is told all the same', () => {
  assert.equal(translate(12345).message, 'WebAssembly exception 12345');
  assert.equal(translate('text').message, 'text');
  assert.equal(translate(new RangeError()).message, 'RangeError');
});

test('an engine that stopped half way is not trusted', () => {
  assert.ok(isFatal(new Error('Aborted(OOM)')));
  assert.ok(isFatal(new Error('memory access out of bounds')));
  assert.ok(!isFatal(new Error('std::bad_alloc')));
  assert.ok(!isFatal(new PageError('internal', 'unreachable')));
  assert.ok(isFatal(new EngineBroken('WebNN took nothing more')));
});
