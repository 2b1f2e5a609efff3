/**
 * Caches of decoders, by session: what a step may do to one, what its inputs are filled with, what of its
 * logits is told. What a step may do is decided as in inference/core/generation/sessions.py; both are tested
 * on the same cases.
 *
 * A stage is described as in inference/core/generation/stages.py: `inputs` with their use, `states` that it
 * takes as `past` and gives as `present`, `hidden` outputs, and `logits` in the last stage.
 *
 * @typedef {import('./protocol.js').Header} Header
 * @typedef {import('./protocol.js').WireTensor} WireTensor
 * @typedef {import('onnxruntime-web').InferenceSession} Session
 * @typedef {import('onnxruntime-web').Tensor} Tensor
 * @typedef {typeof import('onnxruntime-web')} Ort
 * @typedef {{name: string, use: string, dtype: string, rank: number}} StageInput
 * @typedef {{past: string, present: string, dtype: string, shape: number[], axis: number}} State
 * @typedef {{inputs: StageInput[], states: State[], hidden: string[], logits: string}} Stage
 * @typedef {{epoch: number, position: number, last: number, drafted: number}} Place positions held, the last
 *   `drafted` of which may be wrong, and the start of the last step
 * @typedef {{epoch: number, start: number, count: number}} Step
 * @typedef {'begin'|'compute'|'repeat'|'no_cache'|'stale_epoch'|'gap'} Verdict
 * @typedef {{header: Header, tensors: WireTensor[]}} Answer
 * @typedef {Place & {stage: Stage, states: Record<string, Tensor>, memory: Map<string, Tensor>, answer: Answer}} Cache
 */

import { PageError } from './errors.js';
import { fromTensor, toTensor } from './tensors.js';

/**
 * What a step may do to a cache: begin it, continue it, have its last answer again, or why it may not.
 * @param {Place | undefined} place
 * @param {Step} step
 * @param {{position: number}} [kept] of another session with the same tokens before the step: it is cut to them
 * @returns {Verdict}
 */
export function judge(place, { epoch, start, count }, kept) {
  if (place && epoch < place.epoch) {
    return 'stale_epoch';
  }
  if (!place || epoch > place.epoch) {
    return start <= (kept?.position ?? 0) ? 'begin' : 'no_cache';
  }
  if (start >= place.position - place.drafted && start <= place.position) {
    return 'compute';
  }
  return start === place.last && start + count === place.position ? 'repeat' : 'gap';
}

export class Caches {
  /** @type {Map<string, Cache>} */
  #held = new Map();

  /**
   * One step of a session. A step that fails leaves the cache as it was.
   * @param {{session: Session, ort: Ort}} loaded
   * @param {Header} header session, epoch, start, count, drafted, top_k, and with the first step its stage, or
   *   `kept`: the session whose cache it begins with
   * @param {WireTensor[]} tensors the step's tokens or hidden tensors
   * @returns {Promise<Answer>}
   */
  async decode({ session, ort }, header, tensors) {
    const held = this.#held.get(header.session);
    const kept = header.kept ? this.#held.get(header.kept) : undefined;
    const verdict = judge(held, /** @type {any} */ (header), kept);
    if (held && verdict === 'repeat') {
      return held.answer;
    }
    if (verdict !== 'begin' && verdict !== 'compute') {
      const has = held ? `epoch ${held.epoch}, ${held.position} positions` : 'nothing';
      const asked = `epoch ${header.epoch}, positions from ${header.start}`;
      throw new PageError(/** @type {any} */ (verdict), `${header.session}: asked for ${asked}; holds ${has}`);
    }
    const { stage, states, memory } =
      verdict === 'compute' && held ? { ...held, states: cut(ort, held, header.start) } : begin(ort, header, tensors, kept);
    const given = new Map([...memory, ...tensors.map((wire) => /** @type {const} */ ([wire.name, toTensor(ort, wire)]))]);
    const feeds = { ...states, ...filled(ort, stage.inputs, header, given) };
    const asked = stage.logits && header.top_k !== null ? [stage.logits] : [];
    const outputs = [...stage.hidden, ...asked, ...stage.states.map(({ present }) => present)];
    const began = performance.now();
    const results = await session.run(feeds, outputs);
    const compute_ms = performance.now() - began;
    const top = asked.length > 0 ? largest(results[stage.logits], header.top_k, header.drafted + 1) : null;
    const answer = {
      header: { compute_ms, log_sum: top?.log_sum ?? null },
      tensors: top ? top.tensors : stage.hidden.map((name) => fromTensor(name, results[name])),
    };
    this.#held.set(header.session, {
      stage,
      epoch: header.epoch,
      position: header.start + header.count,
      last: header.start,
      drafted: header.drafted,
      states: Object.fromEntries(stage.states.map(({ past, present }) => [past, results[present]])),
      memory,
      answer,
    });
    return answer;
  }

  /**
   * Free a session's cache.
   * @param {string} session
   * @returns {boolean} whether there was one
   */
  forget(session) {
    return this.#held.delete(session);
  }
}

/**
 * @param {Ort} ort
 * @param {Header} header
 * @param {WireTensor[]} tensors of the first step: what an encoder made comes with it, and is kept
 * @param {Cache | undefined} kept
 * @returns {{stage: Stage, states: Record<string, Tensor>, memory: Map<string, Tensor>}}
 */
function begin(ort, { session, start, stage }, tensors, kept) {
  if (start > 0 && kept) {
    return { stage: kept.stage, states: cut(ort, kept, start), memory: kept.memory };
  }
  if (!stage) {
    throw new PageError('invalid_input', `${session}: the first step says what the stage takes and gives`);
  }
  const states = stage.states.map((/** @type {State} */ { past, dtype, shape }) => [
    past,
    toTensor(ort, { name: past, dtype, shape, data: new Uint8Array(0) }),
  ]);
  const named = new Set(
    stage.inputs.filter((/** @type {StageInput} */ { use }) => use === 'memory').map((/** @type {StageInput} */ { name }) => name),
  );
  const memory = tensors.filter(({ name }) => named.has(name));
  return {
    stage,
    states: Object.fromEntries(states),
    memory: new Map(memory.map((wire) => [wire.name, toTensor(ort, wire)])),
  };
}

/**
 * A cache's states, of no more than so many positions.
 * @param {Ort} ort
 * @param {Cache} held
 * @param {number} length
 * @returns {Record<string, Tensor>}
 */
function cut(ort, { stage, states }, length) {
  return Object.fromEntries(
    stage.states.map(({ past, axis }) => {
      const state = states[past];
      return [past, state.dims[axis] > length ? shortened(ort, state, axis, length) : state];
    }),
  );
}

/**
 * The first positions of a state, as a tensor of its own.
 * @param {Ort} ort
 * @param {Tensor} state
 * @param {number} axis of positions
 * @param {number} length
 * @returns {Tensor}
 */
export function shortened(ort, state, axis, length) {
  const dims = [...state.dims];
  const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  const [from, to] = [dims[axis] * inner, length * inner];
  const data = /** @type {Float32Array} */ (state.data);
  const rows = data.length / from;
  const cut = new /** @type {any} */ (data.constructor)(rows * to);
  for (let row = 0; row < rows; row += 1) {
    cut.set(data.subarray(row * from, row * from + to), row * to);
  }
  dims[axis] = length;
  return new ort.Tensor(/** @type {any} */ (state.type), cut, dims);
}

/** Shapes of inputs that hold several numbers. @type {Record<string, (length: number) => number[]>} */
const SHAPES = {
  mask: (length) => [1, length],
  positions: (length) => [1, length],
  rows: (length) => [length],
};

/**
 * The inputs that are no states, by what each is for.
 * @param {Ort} ort
 * @param {StageInput[]} inputs
 * @param {Header} step
 * @param {Map<string, Tensor>} given
 */
function filled(ort, inputs, { start, count, drafted }, given) {
  return Object.fromEntries(
    inputs.map(({ name, use, dtype, rank }) => {
      if (use === 'tokens' || use === 'hidden' || use === 'memory') {
        const tensor = given.get(name);
        if (!tensor) {
          throw new PageError('invalid_input', `the step gives no ${name}`);
        }
        return [name, tensor];
      }
      const values = use === 'mask' ? ones(dtype, start + count) : typed(dtype, numbers(use, start, count, drafted));
      const shape = SHAPES[use]?.(values.length) ?? Array(rank).fill(1);
      return [name, new ort.Tensor(/** @type {any} */ (dtype), values, shape)];
    }),
  );
}

/**
 * What an input that follows from the step alone holds.
 * @param {string} use
 * @param {number} start
 * @param {number} count
 * @param {number} drafted
 * @returns {number[]}
 */
export function numbers(use, start, count, drafted) {
  switch (use) {
    case 'positions':
      return Array.from({ length: count }, (_, index) => start + index);
    case 'last_position':
      return [start + count - 1];
    case 'length':
      return [start + count];
    case 'cached':
      return [start > 0 ? 1 : 0];
    case 'rows':
      return Array(drafted + 1).fill(1);
  }
  throw new PageError('invalid_input', `an input's use ${use} is unknown to the page`);
}

/**
 * A mask over all positions, which is as long as the text: filled in one go.
 * @param {string} dtype
 * @param {number} length
 */
export function ones(dtype, length) {
  switch (dtype) {
    case 'int64':
      return new BigInt64Array(length).fill(1n);
    case 'int32':
      return new Int32Array(length).fill(1);
    case 'float32':
      return new Float32Array(length).fill(1);
  }
  return typed(dtype, Array(length).fill(1));
}

/**
 * @param {string} dtype
 * @param {number[]} values
 */
function typed(dtype, values) {
  switch (dtype) {
    case 'int64':
      return BigInt64Array.from(values, BigInt);
    case 'int32':
      return Int32Array.from(values);
    case 'float32':
      return Float32Array.from(values);
    case 'bool':
      return Uint8Array.from(values);
  }
  throw new PageError('unsupported_operation', `an input of a stage is ${dtype}, which the page does not fill`);
}

/**
 * The largest logits of the last rows, largest first, ties by the smaller id; all of them, in the order of
 * their ids, for `top` 0: ids and logits [rows, …], and of each row the sum's logarithm. What follows a drafted
 * token that is wrong may be anything: rows end before one that is not finite, the first excepted.
 * @param {Tensor} logits
 * @param {number} top
 * @param {number} count of rows
 * @returns {{log_sum: number[], tensors: WireTensor[]}}
 */
function largest(logits, top, count) {
  const data = /** @type {any} */ (logits.data);
  if (logits.type === 'float16' && data instanceof Uint16Array) {
    throw new PageError('unsupported_operation', 'this browser has no Float16Array to read float16 logits with');
  }
  const vocabulary = logits.dims[logits.dims.length - 1];
  const size = Math.min(top || vocabulary, vocabulary);
  const ids = new Int32Array(count * size);
  const values = new Float32Array(count * size);
  const log_sum = [];
  for (let at = 0; at < count; at += 1) {
    const start = data.length - (count - at) * vocabulary;
    const row = Float32Array.from(data.subarray(start, start + vocabulary));
    const sum = logSum(row);
    if (!Number.isFinite(sum)) {
      if (at === 0) {
        throw new PageError('internal', 'the logits are not finite');
      }
      break;
    }
    log_sum.push(sum);
    const own = top === 0 ? Int32Array.from(row, (_, id) => id) : topOf(row, top);
    ids.set(own, at * size);
    values.set(Float32Array.from(own, (id) => row[id]), at * size);
  }
  const rows = log_sum.length;
  return {
    log_sum,
    tensors: [
      wire('ids', 'int32', ids.slice(0, rows * size), [rows, size]),
      wire('logits', 'float32', values.slice(0, rows * size), [rows, size]),
    ],
  };
}

/**
 * @param {string} name
 * @param {string} dtype
 * @param {Int32Array | Float32Array} values
 * @param {number[]} shape
 * @returns {WireTensor}
 */
function wire(name, dtype, values, shape) {
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype, shape, data };
}

/**
 * log(sum(exp(row))), without overflow.
 * @param {Float32Array} row
 */
export function logSum(row) {
  let most = -Infinity;
  for (const value of row) {
    most = value > most ? value : most;
  }
  let sum = 0;
  for (const value of row) {
    sum += Math.exp(value - most);
  }
  return most + Math.log(sum);
}

/**
 * Ids of the `top` largest values, largest first, ties by the smaller id.
 * @param {Float32Array} row
 * @param {number} top
 * @returns {Int32Array}
 */
export function topOf(row, top) {
  const size = Math.min(top, row.length);
  const ids = new Int32Array(size);
  let held = 0;
  for (let id = 0; id < row.length; id += 1) {
    const value = row[id];
    if (held === size && !(value > row[ids[size - 1]])) {
      continue;
    }
    let at = held < size ? held : size - 1;
    while (at > 0 && value > row[ids[at - 1]]) {
      ids[at] = ids[at - 1];
      at -= 1;
    }
    ids[at] = id;
    held = Math.min(held + 1, size);
  }
  return ids;
}
