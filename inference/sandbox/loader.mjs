/**
 * Whether the runtime of the browsers loads a model: asked over stdin, told over stdout, a line for each.
 *
 *     node loader.mjs DIST     then frames: uint32 length (little-endian), the model's bytes
 *
 * DIST is onnxruntime-web's folder. The answer is {"refused": its words}, or {"refused": ""}.
 */
import { pathToFileURL } from 'node:url';

const [dist] = process.argv.slice(2);
const ort = await import(pathToFileURL(`${dist}/ort.wasm.min.mjs`).href);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'fatal';

/** @param {Uint8Array} model */
async function ask(model) {
  try {
    const session = await ort.InferenceSession.create(model, {
      executionProviders: ['wasm'],
      logSeverityLevel: 4,
    });
    await session.release();
    return { refused: '' };
  } catch (error) {
    return { refused: error instanceof Error ? error.message : String(error) };
  }
}

/** @type {Buffer[]} */
let parts = [];
let there = 0;
for await (const part of process.stdin) {
  parts.push(part);
  there += part.length;
  while (there >= 4) {
    if (parts[0].length < 4) {
      parts = [Buffer.concat(parts)];
    }
    const length = parts[0].readUInt32LE(0);
    if (there < 4 + length) {
      break;
    }
    const all = Buffer.concat(parts);
    const answer = await ask(new Uint8Array(all.subarray(4, 4 + length)));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
    parts = [all.subarray(4 + length)];
    there = parts[0].length;
  }
}
