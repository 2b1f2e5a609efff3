/**
 * Talks to a model through /v1/, as any program would, and shows what comes: the text as it is written, which
 * browser holds which layers, how fast it goes, and what was recovered meanwhile.
 */

import { milliseconds, number, size } from './units.js';

/** @typedef {{ role: string, content: string }} Message */
/** @typedef {{ stage: number, layers: [number, number] | null, browser: string, weight_bytes: number, epoch: number }} Stage */
/** @typedef {{ stage: number, lost_by: string, taken_by: string, how: string, why: string, seconds: number | null }} Recovery */
/** @typedef {{ delta?: { content?: string }, text?: string, logprobs?: { content?: unknown[], tokens?: unknown[] } | null }} Choice */
/** @typedef {{ prompt_tokens: number, completion_tokens: number, prompt_tokens_details: { cached_tokens: number } }} Usage */
/** @typedef {{ id?: string, choices?: Choice[], usage?: Usage | null, error?: { message: string } }} Chunk */

const NUMBERS = ['max_tokens', 'temperature', 'top_p', 'top_k', 'min_p', 'seed', 'shards'];

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function part(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`the page has no ${id}`);
  }
  return found;
}

/** @param {string} id @param {string} text */
function say(id, text) {
  const place = part(id, HTMLElement);
  place.textContent = text;
  if (id === 'chat-error') {
    place.hidden = text === '';
  }
}

/** @param {string} kind @param {string} text @returns {HTMLElement} */
function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

/** How fast one answer comes. */
class Pace {
  constructor() {
    this.began = performance.now();
    this.first = 0;
    this.last = 0;
    this.tokens = 0;
  }

  /** @param {number} tokens */
  add(tokens) {
    this.last = performance.now();
    if (this.tokens === 0 && tokens > 0) {
      this.first = this.last;
      say('chat-first', `after ${milliseconds(this.first - this.began)}`);
    }
    this.tokens += tokens;
    say('chat-tokens', String(this.tokens));
    const seconds = (this.last - this.first) / 1000;
    if (seconds > 0) {
      say('chat-speed', number((this.tokens - 1) / seconds, 'tokens/s'));
    }
  }
}

/** @param {Stage[]} stages */
function showStages(stages) {
  const rows = stages.map((stage) => {
    const row = document.createElement('tr');
    const layers = stage.layers === null ? 'not known' : stage.layers.join(' to ');
    const browser = stage.browser === '' ? 'none now' : stage.browser;
    row.append(...[layers, browser, size(stage.weight_bytes), String(stage.epoch)].map((text) => element('td', text)));
    return row;
  });
  part('chat-stages', HTMLElement).replaceChildren(...rows);
}

/** @param {Recovery[]} recoveries */
function showRecoveries(recoveries) {
  const rows = recoveries.map((one) => {
    const took = one.seconds === null ? 'not yet there again' : `there again after ${milliseconds(1000 * one.seconds)}`;
    const from = one.lost_by === '' ? 'nobody' : one.lost_by;
    const to = one.taken_by === '' ? 'nobody yet' : one.taken_by;
    return element('li', `stage ${one.stage}: from ${from} to ${to} by ${one.how}, ${took}: ${one.why}`);
  });
  part('chat-recoveries', HTMLElement).replaceChildren(...(rows.length > 0 ? rows : [element('li', 'none')]));
}

/** @param {ReadableStream<Uint8Array>} body @returns {AsyncGenerator<string>} */
async function* lines(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let held = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    held += decoder.decode(value, { stream: true });
    const complete = held.split('\n');
    held = complete.pop() ?? '';
    yield* complete;
  }
}

class Chat {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    /** @type {Message[]} */
    this.messages = [];
    /** @type {AbortController | null} */
    this.asking = null;
    this.session = '';
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send();
    });
    part('chat-text', HTMLTextAreaElement).addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    part('chat-stop', HTMLButtonElement).addEventListener('click', () => this.asking?.abort());
    part('chat-new', HTMLButtonElement).addEventListener('click', () => this.begin());
  }

  begin() {
    this.asking?.abort();
    this.messages = [];
    part('chat-log', HTMLElement).replaceChildren();
    say('chat-error', '');
    say('chat-state', '');
    part('chat-text', HTMLTextAreaElement).focus();
  }

  /** @param {string} name @returns {string} */
  field(name) {
    const value = new FormData(this.form).get(name);
    return typeof value === 'string' ? value.trim() : '';
  }

  /** @param {string} role @param {string} text @returns {HTMLElement} */
  show(role, text) {
    const log = part('chat-log', HTMLElement);
    const shown = element('div', text);
    shown.className = 'wc-said';
    shown.dataset.role = role;
    log.append(shown);
    log.scrollTop = log.scrollHeight;
    return shown;
  }

  /** @param {string} text @returns {Record<string, unknown>} */
  request(text) {
    const asked = Object.fromEntries(
      NUMBERS.filter((name) => this.field(name) !== '').map((name) => [name, Number(this.field(name))]),
    );
    const common = {
      ...asked,
      model: this.form.dataset.model,
      stream: true,
      stream_options: { include_usage: true },
      ...(this.field('browsers') === '' ? {} : { browsers: this.field('browsers') }),
    };
    if (!this.form.dataset.chat) {
      return { ...common, prompt: text, logprobs: 0 };
    }
    const system = this.field('system');
    const before = system === '' ? [] : [{ role: 'system', content: system }];
    return { ...common, messages: [...before, ...this.messages], logprobs: true };
  }

  async send() {
    const field = part('chat-text', HTMLTextAreaElement);
    const text = field.value;
    if (this.asking !== null || text.trim() === '') {
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    this.messages.push({ role: 'user', content: text });
    const said = this.show('user', text);
    field.value = '';
    const shown = this.show('assistant', '');
    this.busy(true, shown);
    say('chat-error', '');
    say('chat-state', 'the model is loaded and reads');
    this.session = '';
    const { messages } = this;
    try {
      await this.ask(this.request(text), asking, shown);
      say('chat-state', 'done');
    } catch (error) {
      if (asking.signal.aborted) {
        say('chat-state', 'stopped');
      } else {
        say('chat-state', '');
        say('chat-error', error instanceof Error ? error.message : String(error));
      }
    } finally {
      this.asking = null;
      this.busy(false, shown);
      await this.look();
    }
    if (shown.textContent !== '') {
      messages.push({ role: 'assistant', content: shown.textContent ?? '' });
    } else {
      messages.pop(); // it was not answered: it may be sent again
      said.remove();
      shown.remove();
      field.value = text;
    }
  }

  /** @param {boolean} busy @param {HTMLElement} shown */
  busy(busy, shown) {
    shown.setAttribute('aria-busy', String(busy));
    part('chat-send', HTMLButtonElement).disabled = busy;
    part('chat-stop', HTMLButtonElement).disabled = !busy;
  }

  /** @param {Record<string, unknown>} request @param {AbortController} asking @param {HTMLElement} shown */
  async ask(request, asking, shown) {
    const pace = new Pace(); // loading the model is part of what a person waits for
    const answer = await fetch(this.form.dataset.chat ? '/v1/chat/completions' : '/v1/completions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-CSRFToken': this.field('csrfmiddlewaretoken') },
      body: JSON.stringify(request),
      signal: asking.signal,
    });
    if (!answer.ok || answer.body === null) {
      const refused = /** @type {Chunk} */ (await answer.json().catch(() => ({})));
      throw new Error(refused.error?.message ?? `the server answered ${answer.status}`);
    }
    let ended = false;
    for await (const line of lines(answer.body)) {
      if (line === 'data: [DONE]') {
        ended = true;
      } else if (line.startsWith('data: ')) {
        this.take(/** @type {Chunk} */ (JSON.parse(line.slice(6))), shown, pace);
      } else if (line.startsWith(': ')) {
        say('chat-state', line.slice(2));
        void this.look();
      }
    }
    if (!ended) {
      throw new Error('the answer ended in the middle: the server has gone');
    }
  }

  /** @param {Chunk} chunk @param {HTMLElement} shown @param {Pace} pace */
  take(chunk, shown, pace) {
    if (chunk.error) {
      throw new Error(chunk.error.message);
    }
    if (this.session === '' && chunk.id) {
      this.session = chunk.id.slice(chunk.id.indexOf('-') + 1);
      void this.look();
    }
    for (const choice of chunk.choices ?? []) {
      const text = choice.delta?.content ?? choice.text ?? '';
      const tokens = (choice.logprobs?.content ?? choice.logprobs?.tokens ?? []).length;
      if (tokens > 0) {
        pace.add(tokens);
        say('chat-state', 'it writes');
      }
      if (text !== '') {
        shown.append(text);
        part('chat-log', HTMLElement).scrollTop = part('chat-log', HTMLElement).scrollHeight;
      }
    }
    if (chunk.usage) {
      const { prompt_tokens: prompt, prompt_tokens_details: details } = chunk.usage;
      say('chat-prompt', `${prompt} tokens, ${details.cached_tokens} of them kept from before`);
    }
  }

  /** Where the session's layers are now. */
  async look() {
    if (this.session === '') {
      return;
    }
    const answer = await fetch(`${this.form.dataset.sessions}${this.session}/`, { cache: 'no-store' });
    if (answer.ok) {
      const told = /** @type {{ stages: Stage[], recoveries: Recovery[] }} */ (await answer.json());
      showStages(told.stages);
      showRecoveries(told.recoveries);
    }
  }
}

new Chat(part('chat', HTMLFormElement));
