/**
 * The engine: onnxruntime-web in a dedicated Web Worker, so that a long computation is not taken for a
 * dead page and the cheapest repair is a new engine.
 *
 * Requests are frames (protocol.js) handled one at a time, in order:
 *   facts                                 what this browser can do
 *   load   {model, backend, dims}         create a session, say where its nodes were placed
 *   run    {model, backend, dims, outputs} compute; `not_loaded` if there is no such session
 *   unload {model, backend?, dims?}        release one session, or every one of a model file
 *   decode {steps}                         steps of sessions that write text, on their caches (caches.js);
 *                                          each {model, backend, session, …, tensors: how many are its own,
 *                                          batch: null, or computed in one run with those of the same}
 *   forget {session}                       free such a cache
 */

import * as ortLog from './ort_log.js';
import { backends, bundle, refuseFloat16, sessionOptions, tinyModel } from './backends.js';
import { Caches } from './caches.js';
import { standIn } from './compiled.js';
import { EngineBroken, isFatal, PageError, translate } from './errors.js';
import { decodeFrame, encodeFrame } from './protocol.js';
import { Socket } from './socket.js';
import { fromTensor, refuseTooLarge, toTensor } from './tensors.js';

/**
 * @typedef {import('./protocol.js').Header} Header
 * @typedef {import('./protocol.js').WireTensor} WireTensor
 * @typedef {import('onnxruntime-web').InferenceSession} Session
 * @typedef {typeof import('onnxruntime-web')} Ort
 * @typedef {import('./caches.js').Answer} Answer
 * @typedef {import('./backends.js').Bundle} Bundle
 * @typedef {{header: Header, tensors?: WireTensor[], fatal?: boolean}} Reply `fatal`: onnxruntime is broken since
 */

ortLog.install();

const scope = /** @type {Worker} */ (/** @type {unknown} */ (self));
const threads = Number(new URL(self.location.href).searchParams.get('threads') ?? '1');
/** How long an error on WebGPU waits for the device's own word that it was lost. */
const LOST_GRACE_MS = 100;

/** @type {(module: WebAssembly.Module | null) => void} */
let takeCompiled;
/** What the page compiled for all its engines. @type {Promise<WebAssembly.Module | null>} */
const compiled = new Promise((resolve) => (takeCompiled = resolve));

/** @type {Map<Bundle, Promise<Ort>>} */
const runtimes = new Map();

/**
 * onnxruntime from one of its bundles, imported once.
 * @param {Bundle} name
 * @returns {Promise<Ort>}
 */
function runtime(name) {
  const known = runtimes.get(name);
  if (known) {
    return known;
  }
  const loading = importRuntime(name);
  loading.catch(() => {}); // reported by the request that awaits it
  runtimes.set(name, loading);
  return loading;
}

/** @param {Bundle} name */
async function importRuntime(name) {
  const ort = await import(new URL(`ort/${name}.min.mjs`, self.location.href).href);
  ort.env.wasm.wasmPaths = new URL('ort/', self.location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  const module = name === bundle() ? await compiled : null;
  if (module) {
    ort.env.wasm.wasmBinary = standIn(module);
  }
  return ort;
}

void runtime(bundle());
const facts = backends();

/** Sessions with the runtime that made each. @type {Map<string, {session: Session, ort: Ort}>} */
const sessions = new Map();
const caches = new Caches();
/** @type {WeakSet<object>} */
const watched = new WeakSet();
/** @type {string | null} */
let lostDevice = null;

/** @param {Header} header */
const keyOf = ({ model, backend, dims }) =>
  [model, backend, ...Object.entries(dims ?? {}).map(([name, size]) => `${name}=${size}`).sort()].join(' ');

/**
 * Report the loss of the GPU device that onnxruntime computes on.
 * @param {Ort} ort
 */
async function watchDevice(ort) {
  const device = await /** @type {any} */ (ort.env.webgpu).device;
  if (!device || watched.has(device)) {
    return;
  }
  watched.add(device);
  const { reason, message } = await device.lost;
  if (reason !== 'destroyed') {
    lostDevice = `WebGPU device lost (${reason}): ${message}`;
    scope.postMessage({ event: { event: 'device_lost', message: lostDevice } });
  }
}

/**
 * @param {Header} header
 * @returns {{session: Session, ort: Ort}}
 */
function loaded(header) {
  const found = sessions.get(keyOf(header));
  if (!found) {
    throw new PageError('not_loaded', `no session for ${keyOf(header)}`);
  }
  return found;
}

/**
 * Places of the steps that may be computed in one run, in the order of the first of each.
 * @param {Header[]} headers
 * @returns {number[][]}
 */
function inOneRun(headers) {
  /** @type {Map<unknown, number[]>} */
  const groups = new Map();
  headers.forEach((header, place) => {
    const key = header.batch === null ? place : `${keyOf(header)} ${header.batch}`;
    groups.set(key, [...(groups.get(key) ?? []), place]);
  });
  return [...groups.values()];
}

/**
 * Steps in one run: how to have the answer of each. Where the run fails each is computed alone, so that one
 * costs the others nothing; what ended onnxruntime is told by the first.
 * @param {{header: Header, tensors: WireTensor[]}[]} steps
 * @returns {Promise<((() => Promise<Answer>) | undefined)[]>}
 */
async function together(steps) {
  try {
    const answers = await caches.together(loaded(steps[0].header), steps);
    return answers.map((answer) => answer && (async () => answer));
  } catch (error) {
    console.warn(`${steps.length} sessions are computed one by one: ${translate(error).message}`);
    return isFatal(error) ? [() => Promise.reject(error)] : [];
  }
}

/** @type {Record<string, (header: Header, tensors: WireTensor[]) => Promise<Reply>>} */
const operations = {
  async facts() {
    const ort = await runtime(bundle());
    return {
      header: {
        bundle: bundle(),
        threads: ort.env.wasm.numThreads,
        onnxruntime: ort.env.versions.web,
        backends: await facts,
      },
    };
  },

  async load(header) {
    const key = keyOf(header);
    await releaseSession(key);
    const began = performance.now();
    const response = await fetch(new URL(`files/${header.model}`, self.location.href));
    if (!response.ok) {
      throw new PageError('internal', `fetching ${header.model} answered ${response.status}`);
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    const fetched = performance.now();
    if (header.backend === 'webgpu') {
      refuseFloat16(bytes, await facts);
    }
    const size = bytes.byteLength;
    // Frees the file at once: WebKit's garbage collector lets a gigabyte of them lie about.
    const free = () => void bytes.buffer.transfer(0);
    const { ort, session, lines, bundle } = await createSession(bytes, header).finally(free);
    sessions.set(key, { session, ort });
    if (header.backend === 'webgpu') {
      void watchDevice(ort);
    }
    return {
      header: {
        placement: ortLog.placementLines(lines),
        bundle,
        bytes: size,
        fetch_ms: fetched - began,
        load_ms: performance.now() - began,
      },
    };
  },

  async run(header, tensors) {
    const { session, ort } = loaded(header);
    const feeds = Object.fromEntries(tensors.map((wire) => [wire.name, toTensor(ort, wire)]));
    const wanted = header.outputs ?? session.outputNames;
    const began = performance.now();
    const results = await session.run(feeds, wanted);
    const computed = performance.now();
    const outputs = wanted.map((/** @type {string} */ name) => fromTensor(name, results[name]));
    refuseTooLarge(outputs);
    return { header: { compute_ms: computed - began }, tensors: outputs };
  },

  async decode({ steps: headers }, tensors) {
    let at = 0;
    const steps = headers.map((/** @type {Header} */ header) => ({
      header,
      tensors: tensors.slice(at, (at += header.tensors)),
    }));
    /** @type {Header[]} */
    const answers = [];
    /** @type {WireTensor[][]} */
    const given = headers.map(() => []);
    let fatal = false;
    const answer = async (/** @type {number} */ place, /** @type {() => Promise<Answer>} */ compute) => {
      try {
        if (fatal) {
          throw new PageError('not_loaded', 'onnxruntime stopped half way in a step before');
        }
        const { header, tensors: own } = await compute();
        answers[place] = { ...header, count: own.length };
        given[place] = own;
      } catch (error) {
        fatal ||= isFatal(error);
        answers[place] = { error: await explain(error, headers[place]) };
      }
    };
    for (const places of inOneRun(headers)) {
      const group = places.map((place) => steps[place]);
      const made = group.length > 1 ? await together(group) : [];
      for (const [index, place] of places.entries()) {
        const { header, tensors: own } = steps[place];
        await answer(place, made[index] ?? (() => caches.decode(loaded(header), header, own)));
      }
    }
    return { header: { answers }, tensors: given.flat(), fatal };
  },

  async forget({ session }) {
    return { header: { forgot: caches.forget(session) } };
  },

  async unload(header) {
    const exact = keyOf(header);
    const ours = (/** @type {string} */ key) =>
      header.backend ? key === exact : key.startsWith(`${header.model} `);
    const keys = [...sessions.keys()].filter(ours);
    for (const key of keys) {
      await releaseSession(key);
    }
    return { header: { released: keys.length } };
  },
};

/**
 * A session, and what onnxruntime logged while it made it. ort.jspi leaves out the kernels for float64
 * arithmetic, which ort.wasm has, and may leave out more: what it refuses, in whatever words, is tried here, on
 * the same backend.
 * @param {Uint8Array} model
 * @param {Header} header
 * @returns {Promise<{ort: Ort, session: Session, lines: string[], bundle: Bundle}>}
 */
async function createSession(model, { backend, dims }) {
  const options = /** @type {any} */ (sessionOptions(backend, dims ?? {}));
  const create = async (/** @type {Bundle} */ name) => {
    const ort = await runtime(name);
    const { result: session, lines } = await ortLog.capture(() =>
      ort.InferenceSession.create(model, options).catch(async (error) => {
        await clearAfterFailure(ort, backend, error);
        throw error;
      }),
    );
    return { ort, session, lines, bundle: name };
  };
  try {
    return await create(bundle());
  } catch (error) {
    const hopeless = isFatal(error) || translate(error).code === 'out_of_memory';
    if (backend !== 'wasm' || bundle() === 'ort.wasm' || hopeless) {
      throw error;
    }
    return create('ort.wasm');
  }
}

/**
 * onnxruntime leaves a WebNN session that could not be made half way: its context and its inputs go to the next
 * session, on whatever backend, which then looks for its inputs where they are not, or fails. A tiny one
 * takes them and is released.
 * @param {Ort} ort
 * @param {import('./backends.js').Backend} backend
 * @param {unknown} error why it could not be made
 */
async function clearAfterFailure(ort, backend, error) {
  if (backend !== 'webnn' || isFatal(error)) {
    return;
  }
  try {
    const tiny = await ort.InferenceSession.create(tinyModel(), /** @type {any} */ (sessionOptions(backend, {})));
    await tiny.release();
  } catch (second) {
    throw new EngineBroken(`${translate(error).message}; WebNN took nothing more: ${translate(second).message}`);
  }
}

/** @param {string} key */
async function releaseSession(key) {
  const found = sessions.get(key);
  if (found) {
    sessions.delete(key);
    await found.session.release();
  }
}

/**
 * @param {unknown} error
 * @param {Header} header
 * @returns {Promise<Header>}
 */
async function explain(error, header) {
  const translated = translate(error);
  if (header.backend === 'webgpu' && !(error instanceof PageError)) {
    const until = performance.now() + LOST_GRACE_MS;
    while (lostDevice === null && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    if (lostDevice !== null) {
      return { code: 'device_lost', message: lostDevice };
    }
  }
  return translated;
}

/**
 * @param {ArrayBuffer} frame
 * @param {number} received on the clock of `wall`
 * @returns {Promise<{id: number, frame: ArrayBuffer, fatal: boolean}>}
 */
async function handle(frame, received) {
  const { header, tensors } = decodeFrame(frame);
  /** @type {Reply} */
  let reply;
  try {
    reply = await operations[header.op](header, tensors);
  } catch (error) {
    reply = { header: { error: await explain(error, header) }, fatal: isFatal(error) };
  }
  const spent = wall() - received;
  const page_ms = spent < 0 ? null : spent; // the clocks of page and worker disagree
  const fatal = reply.fatal ?? false;
  const header_ = { ...reply.header, id: header.id, page_ms, ...(fatal && { fatal }) };
  return { id: header.id, frame: encodeFrame(header_, reply.tensors), fatal };
}

/** A clock that page and worker share, in milliseconds. */
const wall = () => performance.timeOrigin + performance.now();

let last = Promise.resolve();

/**
 * After what was asked before.
 * @param {ArrayBuffer} frame
 * @param {number} received
 * @param {(answer: {id: number, frame: ArrayBuffer, fatal: boolean}) => void} give
 */
function inTurn(frame, received, give) {
  last = last.then(() => handle(frame, received)).then(give);
}

scope.onmessage = ({ data: { compiled: module, frame, received } }) => {
  if (frame) {
    inTurn(frame, received, (answer) => scope.postMessage(answer, [answer.frame]));
  } else {
    takeCompiled(module);
  }
};

const socketUrl = new URL(self.location.href).searchParams.get('socket');
if (socketUrl) {
  const socket = new Socket(new URL('engine', socketUrl).href, {
    received: (frame) =>
      inTurn(frame, wall(), (answer) => {
        socket.send(answer.frame);
        if (answer.fatal) {
          socket.end(() => scope.postMessage({ fatal: true }));
        }
      }),
  });
}
