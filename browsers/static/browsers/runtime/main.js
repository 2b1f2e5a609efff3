/**
 * The supervisor: the page's main thread. It owns the socket to the worker process, answers pings, and
 * watches the engine; it never computes, so that it always answers.
 *
 * 1. On every new connection it sends `hello`.
 * 2. `ping`, `memory`, `restart_engine` and `end_trial` it answers itself; every other request goes to the
 *    engine, or with `trial` to the one for what is not proved, and its reply goes back as it is.
 * 3. When the engine dies, what it was working on is answered with an error, `engine_dead` is sent and a
 *    new engine starts; its sessions are gone, which the next `run` is told as `not_loaded`.
 * 4. When the socket closes it connects again, with growing pauses.
 * 5. The engine has a socket of its own, for steps of sessions that write text: those do not come here.
 */

import { bundle } from './backends.js';
import { compile } from './compiled.js';
import { Engine } from './engines.js';
import { decodeHeader, encodeFrame } from './protocol.js';
import { Socket } from './socket.js';

/** @typedef {import('./protocol.js').Header} Header */

const params = new URLSearchParams(location.search);
const threads = params.get('threads') ?? '1';
const socketUrl = `ws://${location.hostname}:${params.get('socket')}/`;
const page = crypto.randomUUID();
const MEASURE_EVERY_MS = 15_000;
const compiled = compile(bundle());

/** @type {Engine} */
let engine;
/** Number of the engine in this page, from 1. */
let generation = 0;
/** The one for what is not proved. @type {Engine | null} */
let trial = null;

const wall = () => performance.timeOrigin + performance.now();

/** @param {ArrayBuffer} frame */
const send = (frame) => socket.send(frame);

/** @param {Header} header */
const sendHeader = (header) => send(encodeFrame({ ...header, page, engine: generation }));

function startEngine() {
  generation += 1;
  engine = new Engine({ threads, socket: socketUrl }, `engine-${generation}`, compiled, {
    send,
    told: sendHeader,
    died: (reason) => {
      startEngine();
      sendHeader({ event: 'engine_dead', message: reason });
    },
  });
}

function trialEngine() {
  trial ??= new Engine({ threads }, 'trial', compiled, {
    send,
    told: () => {}, // whoever asked it is told of what it lost
    died: () => {
      trial = null;
    },
  });
  return trial;
}

/** What `measureUserAgentSpecificMemory` last found. @type {number | null} */
let pageBytes = null;

/** The browser answers when it next collects garbage, which is seconds later: measure ahead. */
async function measureMemory() {
  try {
    pageBytes = (await /** @type {any} */ (performance).measureUserAgentSpecificMemory()).bytes;
    setTimeout(measureMemory, MEASURE_EVERY_MS);
  } catch {
    pageBytes = null;
  }
}

/** @type {Record<string, (header: Header) => Header | Promise<Header>>} */
const operations = {
  ping() {
    const oldest = Math.min(engine.since, trial?.since ?? Infinity);
    return { engine: generation, busy_ms: oldest < Infinity ? wall() - oldest : 0 };
  },
  memory() {
    const heap = /** @type {any} */ (performance).memory;
    return { page_bytes: pageBytes, js_heap_bytes: heap?.usedJSHeapSize ?? null };
  },
  restart_engine({ reason }) {
    engine.end(reason);
    startEngine();
    return { engine: generation };
  },
  end_trial({ reason }) {
    trial?.end(reason);
    trial = null;
    return {};
  },
};

/** @param {ArrayBuffer} frame */
async function receive(frame) {
  const received = wall();
  const { tensors: _tensors, ...header } = decodeHeader(frame);
  const operation = operations[header.op];
  if (operation) {
    send(encodeFrame({ ...(await operation(header)), id: header.id, page_ms: wall() - received }));
    return;
  }
  (header.trial ? trialEngine() : engine).ask(header.id, frame, received);
}

startEngine();
const socket = new Socket(socketUrl, {
  received: (frame) => void receive(frame),
  opened: () =>
    sendHeader({
      event: 'hello',
      user_agent: navigator.userAgent,
      cores: navigator.hardwareConcurrency ?? null,
      isolated: self.crossOriginIsolated,
    }),
});
void measureMemory();
