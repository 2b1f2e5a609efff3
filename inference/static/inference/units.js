/** Numbers with their units as people read them: telling/units.py says how, and a test that both say the same. */

const UNKNOWN = 'unknown';

/**
 * As Python rounds: what lies exactly between two goes to the even one.
 * @param {number} value @param {number} digits
 */
function fixed(value, digits) {
  const scaled = value * 10 ** digits;
  const between = Number.isInteger(value * 2 ** (digits + 1)) && Math.abs(scaled % 1) === 0.5;
  return (between ? (2 * Math.round(scaled / 2)) / 10 ** digits : value).toFixed(digits);
}

/** @param {string} text a number's */
function grouped(text) {
  return text.replace(/\B(?=(\d{3})+$)/g, ',');
}

/** @param {number} value */
function exponential(value) {
  return value.toExponential(2).replace(/e([+-])(\d)$/, 'e$10$2');
}

/** @param {number} value */
function digits(value) {
  const large = Math.abs(value) >= 1e15;
  if (Number.isInteger(value) && !large) {
    return grouped(String(Math.abs(value) === 0 ? 0 : value));
  }
  if (Math.abs(value) >= 100) {
    return large ? exponential(value) : grouped(fixed(value, 0));
  }
  if (Math.abs(value) < 1e-4) {
    return exponential(value);
  }
  const places = 2 - Math.floor(Math.log10(Math.abs(value)));
  return fixed(value, places).replace(/\.?0+$/, '');
}

/** @param {number | null} value @param {string} unit */
export function number(value, unit = '') {
  return value === null ? UNKNOWN : `${digits(value)} ${unit}`.trimEnd();
}

/** @param {number | null} value in milliseconds */
export function milliseconds(value) {
  if (value === null) {
    return UNKNOWN;
  }
  const size = Math.abs(value);
  if (size < 1000) {
    return number(size < 100 ? value : Number(fixed(value, 0)), 'ms');
  }
  if (size < 60_000) {
    return number(value / 1000, 's');
  }
  const seconds = Number(fixed(value / 1000, 0));
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${seconds - 60 * minutes} s`;
  }
  return `${grouped(String(Math.floor(minutes / 60)))} h ${minutes % 60} min`;
}

/** @param {number | null} count in bytes */
export function size(count) {
  if (count === null) {
    return UNKNOWN;
  }
  if (Math.abs(count) < 1024) {
    return `${digits(count)} byte${count === 1 ? '' : 's'}`;
  }
  let value = count / 1024;
  let unit = 'KB';
  for (const larger of ['MB', 'GB', 'TB']) {
    if (Math.abs(value) < 1024) {
      break;
    }
    value /= 1024;
    unit = larger;
  }
  return number(Math.abs(value) < 100 ? value : Number(fixed(value, 0)), unit);
}
