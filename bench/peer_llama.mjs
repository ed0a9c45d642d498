/*
 * peer_llama: llama.cpp through node-llama-cpp's prebuilt library, driven over standard input.
 *
 * peer_llama.mjs MODEL THREADS CONTEXT; then a line of JSON per measurement:
 *   {"prompt": [ids...], "decode": N}  ->  {"prefill_s": .., "decode_s": .., "decoded": N, "tokens": [ids...]}
 * Prefill is one call over the whole prompt with an empty cache; decode is greedy.
 */
import readline from "node:readline";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [path, threads, contextSize] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: Number(threads) });
const model = await llama.loadModel({ modelPath: path, useMmap: true });
const context = await model.createContext({
  contextSize: Number(contextSize),
  batchSize: Number(contextSize),
  threads: Number(threads),
  flashAttention: process.env.PEER_FLASH_ATTENTION === "1",
});
const sequence = context.getSequence();
console.log(JSON.stringify({ ready: true, system: llama.systemInfo }));

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { prompt, decode } = JSON.parse(line);
  await sequence.clearHistory();
  const start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1));
  const prefilled = performance.now();
  const tokens = [];
  let first = prefilled;
  for await (const token of sequence.evaluate([prompt.at(-1)], { temperature: 0, yieldEogToken: true })) {
    if (tokens.length === 0) first = performance.now();
    tokens.push(token);
    if (tokens.length === decode) break;
  }
  const end = performance.now();
  console.log(JSON.stringify({
    prefill_s: (prefilled - start) / 1000, decode_s: (end - first) / 1000, decoded: tokens.length - 1, tokens,
  }));
}
await llama.dispose();
process.exit(0);
