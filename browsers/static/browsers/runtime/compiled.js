/**
 * onnxruntime's WebAssembly, compiled once for all engines of a page: browsers compile 17 MB anew for each
 * worker that fetches them, which takes some of them seconds of processor.
 */

/** @typedef {import('./backends.js').Bundle} Bundle */

/** @type {Record<Bundle, string>} */
const FILES = {
  'ort.jspi': 'ort-wasm-simd-threaded.jspi.wasm',
  'ort.wasm': 'ort-wasm-simd-threaded.wasm',
};

/**
 * In the page.
 * @param {Bundle} name
 * @returns {Promise<WebAssembly.Module | null>} null: it cannot be had; the engine that tries says why
 */
export async function compile(name) {
  try {
    return await WebAssembly.compileStreaming(fetch(new URL(`ort/${FILES[name]}`, import.meta.url)));
  } catch (error) {
    console.warn(`each engine compiles onnxruntime for itself: ${error}`);
    return null;
  }
}

/**
 * In an engine: what onnxruntime is to be given as its file, which it takes as bytes alone. Where it has these
 * instantiated, the module is.
 * @param {WebAssembly.Module} module
 * @returns {ArrayBuffer}
 */
export function standIn(module) {
  const bytes = new ArrayBuffer(1);
  const instantiate = WebAssembly.instantiate;
  /** @type {any} */ (WebAssembly).instantiate = async (
    /** @type {any} */ source,
    /** @type {WebAssembly.Imports} */ imports,
  ) => {
    if (!ArrayBuffer.isView(source) || source.buffer !== bytes) {
      return instantiate(source, imports);
    }
    return { module, instance: await instantiate(module, imports) };
  };
  return bytes;
}
