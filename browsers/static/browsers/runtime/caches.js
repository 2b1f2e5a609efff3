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
 * @typedef {import('./inputs.js').StageInput} StageInput
 * @typedef {{past: string, present: string, dtype: string, shape: number[], axis: number}} State
 * @typedef {{inputs: StageInput[], states: State[], hidden: string[], logits: string}} Stage
 * @typedef {{epoch: number, position: number, last: number, drafted: number}} Place positions held, the last
 *   `drafted` of which may be wrong, and the start of the last step
 * @typedef {{epoch: number, start: number, count: number}} Step
 * @typedef {'begin'|'compute'|'repeat'|'no_cache'|'stale_epoch'|'gap'} Verdict
 * @typedef {{header: Header, tensors: WireTensor[]}} Answer
 * @typedef {import('./batches.js').Batch} Batch
 * @typedef {{ort: Ort, batch: Batch, row: number}} Shared
 * @typedef {Place & {stage: Stage, states: Record<string, Tensor> | Shared, memory: Map<string, Tensor>, answer: Answer}}
 *   Cache `states`: its own, or where they are in a batch that every row's session is in
 * @typedef {{session: string, held: Cache, header: Header, tensors: WireTensor[]}} Member a step of one position
 */

import { batchOf, cutOut, rowOf, stacked } from './batches.js';
import { PageError } from './errors.js';
import { filled } from './inputs.js';
import { largest } from './logits.js';
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
    const asked = asksLogits(stage, header) ? [stage.logits] : [];
    const outputs = [...stage.hidden, ...asked, ...stage.states.map(({ present }) => present)];
    const began = performance.now();
    const results = await session.run(feeds, outputs);
    const answer = answerOf(stage, header, results, { compute_ms: performance.now() - began });
    this.#keep(header, { stage, memory, answer, states: presents(stage, results) });
    this.#dissolve(held);
    return answer;
  }

  /**
   * Steps of one position of several sessions on the same file, in one run; an answer for each that was
   * computed so. The others are to be asked for alone: they do not follow, or what came of them is no answer.
   * @param {{session: Session, ort: Ort}} loaded
   * @param {{header: Header, tensors: WireTensor[]}[]} steps
   * @returns {Promise<(Answer | undefined)[]>}
   */
  async together({ session, ort }, steps) {
    const members = steps.map((step) => this.#member(step));
    const able = members.filter((member) => member !== undefined).sort((one, other) => rowIn(one) - rowIn(other));
    if (able.length < 2 || new Set(able.map((member) => member.session)).size < able.length) {
      return [];
    }
    const { stage } = able[0].held;
    const batch = shared(able) ?? gathered(ort, able);
    const given = able.map(({ tensors }) => new Map(tensors.map((wire) => [wire.name, toTensor(ort, wire)])));
    const asked = able.some(({ header }) => asksLogits(stage, header)) ? [stage.logits] : [];
    const outputs = [...stage.hidden, ...asked, ...stage.states.map(({ present }) => present)];
    const began = performance.now();
    const results = await session.run({ ...batch.states, ...stacked(ort, stage, batch, given) }, outputs);
    const spent = { compute_ms: performance.now() - began, together: able.length };
    const next = { ...batch, states: presents(stage, results), size: batch.size + 1 };
    /** @type {Map<Member, Answer>} */
    const answers = new Map();
    able.forEach((member, row) => {
      const own = (/** @type {string} */ name) => [name, cutOut(ort, results[name], row, able.length)];
      try {
        const answer = answerOf(stage, member.header, Object.fromEntries([...stage.hidden, ...asked].map(own)), spent);
        this.#keep(member.header, { ...member.held, answer, states: { ort, batch: next, row } });
        answers.set(member, answer);
      } catch {
        // said by its step alone
      }
    });
    for (const { held } of able) {
      this.#dissolve(held, batch);
    }
    if (answers.size < able.length) {
      this.#leave(next);
    }
    return members.map((member) => member && answers.get(member));
  }

  /**
   * A step that follows on a cache that is here; undefined: it is to be asked for alone.
   * @param {{header: Header, tensors: WireTensor[]}} step
   * @returns {Member | undefined}
   */
  #member({ header, tensors }) {
    const held = this.#held.get(header.session);
    const follows = held && header.start > 0 && judge(held, /** @type {any} */ (header)) === 'compute';
    return follows ? { session: header.session, held, header, tensors } : undefined;
  }

  /**
   * @param {Header} header
   * @param {Pick<Cache, 'stage' | 'states' | 'memory' | 'answer'>} made
   */
  #keep({ session, epoch, start, count, drafted }, { stage, states, memory, answer }) {
    this.#held.set(session, { stage, epoch, position: start + count, last: start, drafted, states, memory, answer });
  }

  /**
   * Somebody left the batch that a cache was in: a batch is as large as all of its rows together.
   * @param {Cache | undefined} left
   * @param {Batch} [stays] the one that goes on
   */
  #dissolve(left, stays) {
    if (left && isShared(left.states) && left.states.batch !== stays) {
      this.#leave(left.states.batch);
    }
  }

  /**
   * Give those that are in a batch caches of their own.
   * @param {Batch} batch
   */
  #leave(batch) {
    for (const cache of this.#held.values()) {
      if (isShared(cache.states) && cache.states.batch === batch) {
        cache.states = ownStates(cache);
      }
    }
  }

  /**
   * Free a session's cache.
   * @param {string} session
   * @returns {boolean} whether there was one
   */
  forget(session) {
    const held = this.#held.get(session);
    const forgot = this.#held.delete(session);
    this.#dissolve(held);
    return forgot;
  }
}

/**
 * @param {Cache['states']} states
 * @returns {states is Shared}
 */
const isShared = (states) => 'batch' in states && 'row' in states;

/** @param {Member} member */
const rowIn = ({ held: { states } }) => (isShared(states) ? states.row : 0);

/**
 * @param {Cache} cache
 * @returns {Record<string, Tensor>}
 */
function ownStates({ stage, states }) {
  return isShared(states) ? rowOf(states.ort, stage, states.batch, states.row) : states;
}

/**
 * The batch that these sessions are in, in this order and nobody else, and whose last position is sure.
 * @param {Member[]} members
 * @returns {Batch | undefined}
 */
function shared(members) {
  const { states } = members[0].held;
  const batch = isShared(states) ? states.batch : undefined;
  const same = members.every(
    ({ held, header }, row) =>
      isShared(held.states) && held.states.batch === batch && held.states.row === row && header.start === held.position,
  );
  return same && batch?.lengths.length === members.length ? batch : undefined;
}

/**
 * @param {Ort} ort
 * @param {Member[]} members
 * @returns {Batch}
 */
function gathered(ort, members) {
  const starts = members.map(({ header }) => header.start);
  return batchOf(ort, members[0].held.stage, members.map(({ held }, row) => cut(ort, held, starts[row])), starts);
}

/**
 * @param {Stage} stage
 * @param {Header} header
 */
const asksLogits = ({ logits }, { top_k }) => Boolean(logits) && top_k !== null;

/**
 * @param {Stage} stage
 * @param {Header} header
 * @param {Record<string, Tensor>} results
 * @param {Header} spent
 * @returns {Answer}
 */
function answerOf(stage, header, results, spent) {
  const asks = asksLogits(stage, header);
  const top = asks ? largest(results[stage.logits], header.top_k, header.drafted + 1) : null;
  return {
    header: { ...spent, log_sum: top?.log_sum ?? null },
    tensors: top ? top.tensors : stage.hidden.map((name) => fromTensor(name, results[name])),
  };
}

/**
 * @param {Stage} stage
 * @param {Record<string, Tensor>} results
 */
const presents = ({ states }, results) => Object.fromEntries(states.map(({ past, present }) => [past, results[present]]));

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
function cut(ort, held, length) {
  const states = ownStates(held);
  return Object.fromEntries(
    held.stage.states.map(({ past, axis }) => {
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
