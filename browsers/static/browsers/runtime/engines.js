/**
 * An engine worker and what it was asked and has not answered.
 *
 * A page has two. One holds the models that are in use. The other computes files that no backend has proved
 * yet: onnxruntime may stop half way at one, and then nothing else is lost. It starts with the first of a trial
 * and ends with the trial.
 */

import { encodeFrame } from './protocol.js';

export class Engine {
  /** Requests at the engine, by id: when each was handed over. @type {Map<number, number>} */
  #inflight = new Map();
  /** @type {Worker} */
  #worker;
  #ended = false;

  /**
   * `send` takes frames for the worker process; `told` is called for what the engine says unasked, `died`
   * once when it cannot be used any more.
   * @param {Record<string, string>} options `threads`, and the address of its `socket`, if it has one of its own
   * @param {string} name
   * @param {Promise<WebAssembly.Module | null>} compiled its onnxruntime (compiled.js)
   * @param {{send: (frame: ArrayBuffer) => void, told: (event: import('./protocol.js').Header) => void,
   *   died: (reason: string) => void}} to
   */
  constructor(options, name, compiled, to) {
    this.to = to;
    const url = new URL(`engine.js?${new URLSearchParams(options)}`, import.meta.url);
    this.#worker = new Worker(url, { type: 'module', name });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#die(event.message || 'the engine worker failed');
    };
    void compiled.then((module) => this.#worker.postMessage({ compiled: module }));
  }

  /** When the oldest request was handed over that waits for an answer; Infinity: none does. */
  get since() {
    return Math.min(...this.#inflight.values());
  }

  /**
   * @param {number} id
   * @param {ArrayBuffer} frame
   * @param {number} received
   */
  ask(id, frame, received) {
    this.#inflight.set(id, received);
    this.#worker.postMessage({ frame, received }, [frame]);
  }

  /**
   * Stop it; what it was asked is answered with an error.
   * @param {string} reason
   */
  end(reason) {
    this.#ended = true;
    this.#worker.terminate();
    for (const id of this.#inflight.keys()) {
      this.to.send(encodeFrame({ id, error: { code: 'internal', message: `engine ended: ${reason}` } }));
    }
    this.#inflight.clear();
  }

  /** @param {{id?: number, frame?: ArrayBuffer, fatal?: boolean, event?: import('./protocol.js').Header}} data */
  #receive({ id, frame, fatal, event }) {
    if (this.#ended) {
      return;
    }
    if (event) {
      this.to.told(event);
      return;
    }
    if (id !== undefined && frame) {
      this.#inflight.delete(id);
      this.to.send(frame);
    }
    if (fatal) {
      this.#die('onnxruntime stopped half way');
    }
  }

  /** @param {string} reason */
  #die(reason) {
    if (!this.#ended) {
      this.end(reason);
      this.to.died(reason);
    }
  }
}
