/**
 * What onnxruntime writes to the console while it creates a session.
 *
 * The WebAssembly module binds `console.log` and `console.error` when it starts, so that `install`
 * must run before onnxruntime is imported. Outside a capture everything goes on to the console.
 */

/** @type {string[] | null} */
let sink = null;

/** The lines about node placement, which browsers/core/placement_log.py reads. */
const PLACEMENT = /VerifyEachNodeIsAssignedToAnEp\]|number of nodes supported by/;

export function install() {
  for (const level of /** @type {const} */ (['log', 'error', 'warn', 'info', 'debug'])) {
    const original = console[level].bind(console);
    console[level] = (...args) => {
      if (sink) {
        sink.push(args.map(String).join(' '));
      } else {
        original(...args);
      }
    };
  }
}

/**
 * Run `work` and return its result with the lines it logged.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<{result: T, lines: string[]}>}
 */
export async function capture(work) {
  /** @type {string[]} */
  const lines = [];
  sink = lines;
  try {
    return { result: await work(), lines };
  } finally {
    sink = null;
  }
}

/**
 * Only the lines about node placement.
 * @param {string[]} lines
 */
export function placementLines(lines) {
  return lines.filter((line) => PLACEMENT.test(line));
}
