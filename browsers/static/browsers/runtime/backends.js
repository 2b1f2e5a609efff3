/**
 * Which backends this browser has, and how each is asked for.
 *
 * @typedef {'wasm'|'webgpu'|'webnn'} Backend
 * @typedef {'ort.jspi'|'ort.wasm'} Bundle
 * @typedef {{name: Backend, available: boolean, reason: string | null, adapter: Record<string, any> | null,
 *   features: string[]}} BackendFacts
 */

import { PageError } from './errors.js';
import { elementTypes, FLOAT16 } from './onnx_types.js';

const WEBNN_DEVICE = 'cpu';

/**
 * ort.jspi holds all three backends but needs JavaScript Promise Integration; ort.wasm runs anywhere.
 * @returns {Bundle}
 */
export function bundle() {
  return 'Suspending' in WebAssembly ? 'ort.jspi' : 'ort.wasm';
}

/** @returns {Promise<BackendFacts[]>} */
export async function backends() {
  return Promise.all([wasm(), webgpu(), webnn()]);
}

/**
 * @param {Backend} name
 * @param {string} reason
 * @returns {BackendFacts}
 */
const absent = (name, reason) => ({ name, available: false, reason, adapter: null, features: [] });

/** @returns {Promise<BackendFacts>} */
async function wasm() {
  return { name: 'wasm', available: true, reason: null, adapter: null, features: [] };
}

/** @returns {Promise<BackendFacts>} */
async function webgpu() {
  if (bundle() !== 'ort.jspi') {
    return absent('webgpu', 'the browser has no JavaScript Promise Integration');
  }
  const gpu = /** @type {any} */ (navigator).gpu;
  if (!gpu) {
    return absent('webgpu', 'navigator.gpu does not exist in this browser');
  }
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) {
    return absent('webgpu', 'navigator.gpu.requestAdapter() gave no adapter');
  }
  const info = adapter.info ?? {};
  return {
    name: 'webgpu',
    available: true,
    reason: null,
    adapter: {
      vendor: info.vendor ?? '',
      architecture: info.architecture ?? '',
      device: info.device ?? '',
      description: info.description ?? '',
      fallback: info.isFallbackAdapter ?? adapter.isFallbackAdapter ?? null,
    },
    features: [...adapter.features].sort(),
  };
}

/** @returns {Promise<BackendFacts>} */
async function webnn() {
  if (bundle() !== 'ort.jspi') {
    return absent('webnn', 'the browser has no JavaScript Promise Integration');
  }
  const ml = /** @type {any} */ (navigator).ml;
  if (!ml) {
    return absent('webnn', 'navigator.ml does not exist in this browser');
  }
  try {
    const context = await ml.createContext({ deviceType: WEBNN_DEVICE });
    context.destroy?.();
  } catch (error) {
    return absent('webnn', `navigator.ml.createContext failed: ${error}`);
  }
  // WebNN does not tell what it computes on, only what it was asked for.
  const features = [`requested-device:${WEBNN_DEVICE}`];
  return { name: 'webnn', available: true, reason: null, adapter: null, features };
}

/**
 * Options for InferenceSession.create. The verbose log is what tells where each node was placed.
 * @param {Backend} backend
 * @param {Record<string, number>} dims sizes of symbolic dimensions; WebNN wants them all
 */
export function sessionOptions(backend, dims) {
  return {
    executionProviders: [backend === 'webnn' ? { name: backend, deviceType: WEBNN_DEVICE } : backend],
    graphOptimizationLevel: 'all',
    logSeverityLevel: 0,
    ...(Object.keys(dims).length > 0 ? { freeDimensionOverrides: dims } : {}),
  };
}

/** y = Relu(x) of one float32, as an ONNX file (IR 7, opset 13). */
const TINY =
  'CAcSADozCgwKAXgSAXkiBFJlbHUSAWdaDwoBeBIKCggIARIECgIIAWIPCgF5EgoKCAgBEgQKAggBQgQKABAN';

/** The smallest model that every backend takes. */
export function tinyModel() {
  return Uint8Array.from(atob(TINY), (letter) => letter.charCodeAt(0));
}

/**
 * Throw if the model holds float16 and the WebGPU adapter cannot compute it.
 * @param {Uint8Array} model
 * @param {BackendFacts[]} facts
 */
export function refuseFloat16(model, facts) {
  const gpu = facts.find(({ name }) => name === 'webgpu');
  if (gpu?.available && !gpu.features.includes('shader-f16') && elementTypes(model).has(FLOAT16)) {
    throw new PageError(
      'unsupported_operation',
      'the model holds float16 tensors and this WebGPU adapter lacks shader-f16; ' +
        'use the wasm backend or a float32 model',
    );
  }
}
