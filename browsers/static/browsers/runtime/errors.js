/**
 * Every error of the page in webpool's categories; foreign errors are translated here and nowhere else.
 *
 * @typedef {'connection'|'browser_crash'|'device_lost'|'out_of_memory'|'timeout'
 *   |'unsupported_operation'|'browser_capability'|'model_incompatible'|'invalid_input'|'too_large'|'internal'
 *   |'not_loaded'|'no_cache'|'stale_epoch'|'gap'} Code
 * `not_loaded` never leaves the worker: it makes the worker load the model and ask again. The last three
 * refuse a step of a session that writes text (caches.js).
 */

export class PageError extends Error {
  /**
   * @param {Code} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = 'PageError';
    this.code = code;
  }
}

/** After this onnxruntime may answer wrongly: the engine must be replaced. */
export class EngineBroken extends PageError {
  /** @param {string} message */
  constructor(message) {
    super('internal', message);
    this.name = 'EngineBroken';
  }
}

/** What onnxruntime and the browsers say, in the order in which it is looked for. */
const RULES = /** @type {[RegExp, Code][]} */ ([
  [/device (was |is )?lost|lost device|device.*destroyed|GPUDevice.*lost/i, 'device_lost'],
  [/bad_alloc|out of memory|OOM|memory access out of bounds|cannot enlarge memory/i, 'out_of_memory'],
  [/failed to allocate|allocation failed|array buffer allocation/i, 'out_of_memory'],
  [/could not allocate|buffer size .* exceeds|invalid (typed )?array length/i, 'out_of_memory'],
  [/\bis missing in 'feeds'|invalid input '|'fetches' (contains invalid|cannot be)/i, 'invalid_input'],
  [/unexpected input data type|invalid rank for input|missing input/i, 'invalid_input'],
  [/invalid feed input name|got invalid dimensions|tensor's size\(/i, 'invalid_input'],
  [/input name .* invalid|required inputs .* are missing/i, 'invalid_input'],
  // Before what it says of models: one with an operator that a bundle lacks is "an invalid model", too.
  [/is not a registered function\/op|not a registered|no op registered for/i, 'unsupported_operation'],
  [/protobuf parsing failed|failed to parse|invalid ?protobuf|no graph was found/i, 'model_incompatible'],
  [/invalid model|model_path must not be empty|modelproto does not/i, 'model_incompatible'],
  [/unsupported model ir version|opset \d+ is under development/i, 'model_incompatible'],
  [/failed to get gpu adapter|webgpu is not|webnn is not|no available backend/i, 'browser_capability'],
  [/not ?implemented|could not find an implementation|kernel not found/i, 'unsupported_operation'],
  [/IsNodeCompatibleWithProvider/, 'unsupported_operation'], // WebGPU's words for a node nobody runs
  [/unsupported data type|shader-f16|not supported|unsupported/i, 'unsupported_operation'],
  [/disable_cpu_ep_fallback|fallback to cpu ep/i, 'unsupported_operation'],
  [/this is an invalid model|invalid_graph|type error|shape ?inference/i, 'model_incompatible'],
  [/failed to fetch|networkerror|load failed/i, 'connection'],
]);

/** The engine cannot be trusted after these: WebAssembly stopped half way. */
const FATAL = /aborted\(|unreachable|memory access out of bounds|table index is out of bounds|another WebGPU EP/i;

/**
 * @param {unknown} error
 * @returns {string}
 */
function describe(error) {
  if (error instanceof Error) {
    return error.message || error.name;
  }
  return typeof error === 'number' ? `WebAssembly exception ${error}` : String(error);
}

/**
 * @param {unknown} error
 * @returns {{code: Code, message: string}}
 */
export function translate(error) {
  if (error instanceof PageError) {
    return { code: error.code, message: error.message };
  }
  const message = describe(error);
  const rule = RULES.find(([pattern]) => pattern.test(message));
  return { code: rule ? rule[1] : 'internal', message };
}

/**
 * Whether the engine must be replaced after this error.
 * @param {unknown} error
 */
export function isFatal(error) {
  if (error instanceof PageError) {
    return error instanceof EngineBroken;
  }
  return error instanceof WebAssembly.RuntimeError || FATAL.test(describe(error));
}
