/*
 * app: the chat page. Talks to this server's own OpenAI routes and to nothing else.
 *
 * State: `chat` (the messages, kept in this browser's storage so that a reload loses nothing) and `run`, the
 * answer being written now, or null.
 */
import { copyText, markdown } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const KEY_CHAT = "hearth.chat";
const KEY_LAST = "hearth.last"; /* the conversation that "New chat" put away */
const KEY_SET = "hearth.settings";

function load(key, fallback) {
  try {
    return { ...fallback, ...JSON.parse(localStorage.getItem(key) || "{}") };
  } catch {
    return fallback;
  }
}

function save(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    notice("This browser's storage is full or off: the conversation will be gone after a reload.");
  }
}

const settings = load(KEY_SET, { model: "", system: "", temperature: "", max: "", key: "" });
let chat = load(KEY_CHAT, { messages: [] });
if (!Array.isArray(chat.messages)) chat = { messages: [] };
let run = null;

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function headers() {
  const out = { "Content-Type": "application/json" };
  if (settings.key) out.Authorization = "Bearer " + settings.key;
  return out;
}

/* The server's own words where it has some. */
async function problem(response) {
  try {
    const body = await response.json();
    return body.error.message;
  } catch {
    return "The server answered " + response.status + " " + response.statusText;
  }
}

/* ---- the thread ---- */

function nearEnd() {
  const box = $("scroll");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}

function toEnd() {
  $("scroll").scrollTop = $("scroll").scrollHeight;
}

function metaButton(label, action) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.addEventListener("click", action);
  return button;
}

function statsText(message) {
  const s = message.stats;
  if (!s) return "";
  const parts = [];
  if (s.tokens) parts.push(s.tokens + (s.tokens === 1 ? " token" : " tokens"));
  if (s.rate) parts.push(s.rate.toFixed(1) + " tokens/s");
  if (s.first) parts.push("first after " + s.first.toFixed(2) + " s");
  if (message.model) parts.push(message.model);
  return parts.join(" · ");
}

function finishNote(message) {
  if (message.finish === "length") return "stopped at the length limit";
  if (message.finish === "stopped") return "stopped by you";
  return "";
}

function metaRow(message, index, last) {
  const row = document.createElement("div");
  row.className = "meta";
  const stats = document.createElement("span");
  stats.className = "stats";
  stats.textContent = [statsText(message), finishNote(message)].filter(Boolean).join(" · ");
  row.append(stats, metaButton("Copy", (event) => {
    const button = event.currentTarget;
    copyText(message.content).then((ok) => {
      button.textContent = ok ? "Copied" : "Could not copy";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }));
  if (last) row.append(metaButton(message.error ? "Try again" : "Answer again", () => again(index)));
  return row;
}

function paint(node, message, index) {
  const last = index === chat.messages.length - 1;
  const busy = run && run.message === message;
  node.className = "msg " + message.role;
  const body = document.createElement("div");
  body.className = "body";
  if (message.role === "user") body.textContent = message.content;
  else body.append(...markdown(message.content));
  node.replaceChildren(body);
  if (message.error) {
    const failed = document.createElement("div");
    failed.className = "failed";
    failed.textContent = message.error;
    node.append(failed);
  }
  if (busy && !message.content) body.append(Object.assign(document.createElement("span"), { className: "wait" }));
  if (message.role === "assistant" && !busy) node.append(metaRow(message, index, last));
}

function draw() {
  const thread = $("thread");
  thread.replaceChildren(
    ...chat.messages.map((message, index) => {
      const node = document.createElement("div");
      paint(node, message, index);
      return node;
    }),
  );
  toEnd();
}

function keep() {
  save(KEY_CHAT, chat);
}

/* ---- asking ---- */

function requestBody() {
  const messages = settings.system.trim() ? [{ role: "system", content: settings.system }] : [];
  for (const m of chat.messages)
    if (m !== run.message && (m.content || m.role === "user")) messages.push({ role: m.role, content: m.content });
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  if (settings.model) body.model = settings.model;
  if (settings.temperature !== "") body.temperature = Number(settings.temperature);
  if (settings.max !== "") body.max_completion_tokens = Number(settings.max);
  return body;
}

/* Yields the objects of a server-sent event stream; bytes may be cut anywhere. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.search(/\r?\n\r?\n/)) >= 0) {
      const block = text.slice(0, end);
      text = text.slice(end).replace(/^\r?\n\r?\n/, "");
      const data = block
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart())
        .join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

function take(event, message) {
  if (event.error) throw new Error(event.error.message || "The server gave up on this answer.");
  if (event.model) message.model = event.model;
  if (event.usage) run.tokens = event.usage.completion_tokens;
  const choice = event.choices && event.choices[0];
  if (!choice) return;
  const piece = choice.delta && choice.delta.content;
  if (piece) {
    run.first ??= performance.now();
    run.last = performance.now();
    run.pieces++;
    message.content += piece;
  }
  if (choice.finish_reason) message.finish = choice.finish_reason;
}

function measure(message) {
  const tokens = run.tokens || run.pieces;
  const seconds = (run.last - run.first) / 1000;
  message.stats = {
    tokens,
    first: run.first ? (run.first - run.start) / 1000 : 0,
    rate: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : 0,
  };
}

async function answer() {
  const message = { role: "assistant", content: "" };
  chat.messages.push(message);
  run = { message, abort: new AbortController(), start: performance.now(), first: null, last: 0, pieces: 0, tokens: 0 };
  notice("");
  busyControls();
  draw();
  const node = $("thread").lastElementChild;
  const index = chat.messages.length - 1;
  let waiting = false;
  const repaint = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (!run || run.message !== message) return;
      const follow = nearEnd();
      paint(node, message, index);
      if (follow) toEnd();
    });
  };
  const ticker = setInterval(liveStatus, 250);
  const keeper = setInterval(keep, 1000); /* a reload in mid-answer keeps what was written */
  try {
    const body = JSON.stringify(requestBody());
    const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body, signal: run.abort.signal });
    if (!response.ok) throw new Error(await problem(response));
    for await (const event of events(response)) {
      take(event, message);
      repaint();
    }
    if (!message.finish) throw new Error("The connection was lost before the answer was complete.");
  } catch (error) {
    if (error.name === "AbortError") message.finish = "stopped";
    else message.error = error instanceof TypeError ? "The server cannot be reached. Is Hearth still running?" : error.message;
  } finally {
    clearInterval(ticker);
    clearInterval(keeper);
    measure(message);
    run = null;
    keep();
    const follow = nearEnd();
    paint(node, message, index);
    if (follow) toEnd();
    busyControls();
  }
}

function liveStatus() {
  if (!run) return;
  const seconds = (performance.now() - (run.first || run.start)) / 1000;
  $("status").textContent = run.first
    ? run.pieces + " tokens" + (seconds > 0.3 ? " · " + (run.pieces / seconds).toFixed(1) + " tokens/s" : "")
    : "reading, " + seconds.toFixed(1) + " s";
}

function busyControls() {
  $("stop").hidden = !run;
  $("send").hidden = !!run;
  $("send").disabled = !$("input").value.trim();
  if (!run) $("status").textContent = "";
}

function send() {
  const text = $("input").value.trim();
  if (!text || run) return;
  $("input").value = "";
  fit();
  for (const m of chat.messages) delete m.retry;
  chat.messages.push({ role: "user", content: text });
  keep();
  answer();
}

function again(index) {
  if (run) return;
  chat.messages.length = index;
  answer();
}

/* ---- controls ---- */

function fit() {
  const input = $("input");
  input.style.height = "auto";
  input.style.height = input.scrollHeight + "px";
  busyControls();
}

/* The model that is in memory already: the one the server was started with, as a rule. */
async function loaded(list) {
  try {
    const response = await fetch("/api/ps", { headers: headers() });
    const names = (await response.json()).models.map((m) => m.name);
    return names.find((name) => list.includes(name));
  } catch {
    return undefined; /* the list of models has its own words for a server that is gone */
  }
}

async function models() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    if (response.status === 401) {
      notice("This server asks for an API key: put yours in Settings.");
      return;
    }
    if (!response.ok) throw new Error(await problem(response));
    const list = (await response.json()).data.map((m) => m.id);
    if (!list.includes(settings.model)) settings.model = (await loaded(list)) || list[0] || "";
    $("model").replaceChildren(...list.map((id) => new Option(id, id, false, id === settings.model)));
    if (!list.length) notice("No model is here yet. Get one with: hearth pull smollm2:135m");
  } catch (error) {
    notice(error instanceof TypeError ? "The server cannot be reached. Is Hearth still running?" : error.message);
  }
}

function openSettings() {
  $("set-system").value = settings.system;
  $("set-temperature").value = settings.temperature;
  $("set-max").value = settings.max;
  $("set-key").value = settings.key;
  $("settings").showModal();
}

function closeSettings() {
  settings.system = $("set-system").value;
  settings.temperature = $("set-temperature").validity.valid ? $("set-temperature").value : "";
  settings.max = $("set-max").validity.valid ? $("set-max").value : "";
  const key = $("set-key").value.trim();
  const changed = key !== settings.key;
  settings.key = key;
  save(KEY_SET, settings);
  if (changed) {
    notice("");
    models();
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("input").addEventListener("input", fit);
$("input").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  if (matchMedia("(pointer: coarse)").matches) return; /* on a phone Enter is a new line */
  event.preventDefault();
  send();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && run && !$("settings").open) run.abort.abort();
});
$("stop").addEventListener("click", () => run && run.abort.abort());
$("new").addEventListener("click", () => {
  if (run) run.abort.abort();
  if (chat.messages.length) save(KEY_LAST, chat);
  chat = { messages: [] };
  keep();
  draw();
  notice("");
  $("restore").hidden = !load(KEY_LAST, { messages: [] }).messages.length;
  $("input").focus();
});
$("restore").addEventListener("click", () => {
  chat = load(KEY_LAST, { messages: [] });
  keep();
  draw();
});
$("model").addEventListener("change", () => {
  settings.model = $("model").value;
  save(KEY_SET, settings);
});
$("settings-open").addEventListener("click", openSettings);
$("settings").addEventListener("close", closeSettings);

$("restore").hidden = !load(KEY_LAST, { messages: [] }).messages.length;
draw();
fit();
models();
