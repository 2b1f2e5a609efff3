/**
 * Keeps the rows of the pool true: asks for them every second and replaces what has changed, cell by cell, so
 * that a button is never exchanged under somebody's finger.
 */
const EVERY_MS = 1000;

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

/** @param {Element} shown */
async function ask(shown) {
  const address = shown.getAttribute('data-rows') ?? '';
  const answer = await fetch(address, { cache: 'no-store', redirect: 'error' });
  if (!answer.ok) {
    throw new Error(`the server answered ${answer.status}`);
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('pool');
  if (fresh === null) {
    throw new Error('the server sent no rows');
  }
  renew(shown, fresh);
}

/** @param {string} text */
function tell(text) {
  const age = document.getElementById('pool-age');
  if (age !== null) {
    age.textContent = text;
  }
}

const pool = document.getElementById('pool');
if (pool !== null) {
  let since = new Date();
  const loop = async () => {
    try {
      if (!document.hidden) {
        await ask(pool);
        since = new Date();
        tell(`As of ${since.toISOString().slice(11, 19)} UTC.`);
      }
    } catch (error) {
      tell(`Not up to date since ${since.toISOString().slice(11, 19)} UTC: ${error}`);
    }
    setTimeout(loop, EVERY_MS);
  };
  setTimeout(loop, EVERY_MS);
}
