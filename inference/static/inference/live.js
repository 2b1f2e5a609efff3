/**
 * Keeps what pages show of the pool true. What has `data-rows` asks that address again and again and replaces
 * what has changed, cell by cell, so that a button is never exchanged under somebody's finger. What could not be
 * renewed for some seconds is said to be old, and loses its colours. What has `data-every`, in seconds, is renewed
 * as seldom, and says its own time.
 */
const EVERY_MS = 1000;
const OLD_MS = 5000;
const PATIENCE_MS = 4000;

/** @param {ParentNode} root @returns {Map<string, Element>} */
function cells(root) {
  return new Map([...root.querySelectorAll('[data-live]')].map((cell) => [cell.id, cell]));
}

/** @param {Element} shown @param {Element} fresh */
function renew(shown, fresh) {
  const before = cells(shown);
  const after = cells(fresh);
  const same = before.size === after.size && [...after.keys()].every((id) => before.has(id));
  if (!same) {
    shown.replaceChildren(...fresh.childNodes);
    return;
  }
  for (const [id, cell] of after) {
    const old = before.get(id);
    if (old && old.innerHTML !== cell.innerHTML) {
      old.replaceChildren(...cell.childNodes);
    }
  }
}

/** @param {string} address @returns {Promise<Document>} */
async function ask(address) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(address, { cache: 'no-store', redirect: 'error', signal });
  if (!answer.ok) {
    throw new Error(`the server answered ${answer.status}`);
  }
  return new DOMParser().parseFromString(await answer.text(), 'text/html');
}

/** @param {string} id @param {string} text */
function say(id, text) {
  const place = document.getElementById(id);
  if (place !== null && place.textContent !== text) {
    place.textContent = text;
    place.hidden = text === '';
  }
}

/** Renews one part of the page until the server says that nothing more changes. */
class Renewed {
  /** @param {HTMLElement} shown */
  constructor(shown) {
    this.shown = shown;
    this.since = shown.dataset.at ?? '';
    this.seldom = shown.dataset.every !== undefined;
    this.everyMs = 1000 * Number(shown.dataset.every ?? EVERY_MS / 1000);
    this.heard = performance.now();
    this.why = '';
    this.over = false;
    setInterval(() => this.judge(), OLD_MS / 10);
    setTimeout(() => this.loop(), this.everyMs);
  }

  async loop() {
    try {
      if (!document.hidden) {
        await this.once();
      }
    } catch (error) {
      this.why = String(error);
    }
    if (!this.over) {
      setTimeout(() => this.loop(), this.everyMs);
    }
  }

  async once() {
    const page = await ask(this.shown.dataset.rows ?? '');
    const fresh = page.getElementById(this.shown.id);
    if (fresh === null) {
      throw new Error('the server sent no rows');
    }
    const banner = page.getElementById('pool-banner');
    if (banner !== null) {
      say('pool-banner', banner.textContent?.trim() ?? '');
    }
    this.over = fresh.dataset.rows === undefined;
    this.since = fresh.dataset.at ?? '';
    renew(this.shown, fresh);
    this.heard = performance.now();
    this.why = '';
    this.judge();
  }

  judge() {
    const old = !this.over && performance.now() - this.heard > OLD_MS + this.everyMs - EVERY_MS;
    this.shown.classList.toggle('wp-old', old);
    if (this.seldom) {
      return;
    }
    say('live-age', old ? '' : `As of ${this.since} UTC.`);
    const why = this.why === '' ? '' : ` (${this.why})`;
    say('live-old', old ? `No news since ${this.since} UTC${why}: what is shown may have changed.` : '');
  }
}

/** A page that shows the pool as it was when the server wrote it, and does not renew itself. @param {HTMLElement} age */
function grow(age) {
  const loaded = performance.now();
  const timer = setInterval(() => {
    if (performance.now() - loaded > OLD_MS) {
      clearInterval(timer);
      age.classList.add('wp-banner');
      age.append(' It may have changed: reload the page.');
      document.getElementById('content-main')?.classList.add('wp-old');
    }
  }, OLD_MS / 10);
}

for (const shown of document.querySelectorAll('[data-rows]')) {
  if (shown instanceof HTMLElement) {
    new Renewed(shown);
  }
}
const age = document.getElementById('page-age');
if (age !== null) {
  grow(age);
}
