/*
 * markdown: the Markdown that models write, as DOM nodes. Never innerHTML: what a model writes is
 * untrusted, so HTML in it stays text, and links lead only to http, https and mailto.
 */

const FENCE = /^(\s{0,3})(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^\s{0,3}([-*_])\s*(?:\1\s*){2,}$/;
const BULLET = /^(\s*)([-*+]|\d{1,9}[.)])(\s+)(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const SAFE_URL = /^(https?:|mailto:)/i;
const DEPTH_MAX = 12; /* quotes and lists nested deeper stay text */

function element(name, children = [], className = "") {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/* The inline rules, tried in order at each place; code first, since nothing is marked up inside it. */
const INLINE = [
  [/^(`+)([\s\S]*?[^`])\1(?!`)/, (m) => element("code", [m[2].replace(/^ (.*[^ ].*) $/, "$1")])],
  [/^\\([\\`*_{}[\]()#+\-.!|~>])/, (m) => m[1]],
  [/^\[((?:[^[\]\\]|\\.)*)\]\(\s*<?([^\s()<>]+(?:\([^\s()]*\)[^\s()<>]*)?)>?(?:\s+"[^"]*")?\s*\)/, link],
  [/^(https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}*_`])/, (m) => link([m[0], m[1], m[1]])],
  [/^\*\*\*(?=\S)([\s\S]*?\S)\*\*\*/, (m, d) => element("strong", [element("em", inline(m[1], d))])],
  [/^\*\*(?=\S)([\s\S]*?\S)\*\*(?!\*)/, (m, d) => element("strong", inline(m[1], d))],
  [/^__(?=\S)([\s\S]*?\S)__(?!\w)/, (m, d) => element("strong", inline(m[1], d))],
  [/^\*(?=\S)((?:[^*]|\*\*[^*]*\*\*)*?\S)\*(?!\*)/, (m, d) => element("em", inline(m[1], d))],
  [/^_(?=\S)([^_]*?\S)_(?!\w)/, (m, d) => element("em", inline(m[1], d))],
  [/^~~(?=\S)([\s\S]*?\S)~~/, (m, d) => element("del", inline(m[1], d))],
  [/^( {2,}|\\)\n/, () => element("br")],
  [/^\n/, () => element("br")],
];
const SPECIAL = /[`\\[*_~\n]|https?:\/\/| {2,}\n/g;
const INLINE_MAX = 20000; /* characters of one paragraph that are searched for marks */

function link(m, depth = 0) {
  if (!SAFE_URL.test(m[2])) return m[0];
  const node = element("a", m[1] === m[2] ? [m[1]] : inline(m[1], depth));
  node.href = m[2];
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  return node;
}

function inline(text, depth = 0) {
  if (depth > DEPTH_MAX || text.length > INLINE_MAX) return [text];
  const out = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    const next = SPECIAL.exec(text);
    const stop = next ? next.index : text.length;
    plain += text.slice(at, stop);
    at = stop;
    if (!next) break;
    const word = /\w/.test(text[at - 1] || "");
    const rest = text.slice(at);
    let hit = null;
    for (const [pattern, make] of INLINE) {
      if (word && rest[0] === "_") break;
      const m = pattern.exec(rest);
      if (m) {
        hit = [m[0].length, make(m, depth + 1)];
        break;
      }
    }
    if (!hit) {
      plain += text[at++];
      continue;
    }
    if (typeof hit[1] === "string") {
      plain += hit[1];
    } else {
      if (plain) out.push(plain);
      plain = "";
      out.push(hit[1]);
    }
    at += hit[0];
  }
  if (plain) out.push(plain);
  return out;
}

function copyButton(text) {
  const button = element("button", ["Copy"]);
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text)) ? "Copied" : "Could not copy";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

/* The clipboard API is there only on secure origins and loopback; elsewhere the old way. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function codeBlock(text, language) {
  const bar = element("div", [element("span", [language || "text"]), copyButton(text)], "bar");
  return element("div", [bar, element("pre", [element("code", [text])])], "code");
}

function cells(line) {
  const body = line.trim().replace(/^\|/, "").replace(/([^\\]|^)\|$/, "$1");
  return body.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function table(lines) {
  const align = cells(lines[1]).map((c) => (/^:-+:$/.test(c) ? "center" : /-:$/.test(c) ? "right" : ""));
  const row = (line, name) => {
    const parts = cells(line);
    return element("tr", align.map((side, i) => element(name, inline(parts[i] || "", 1), side)));
  };
  const head = element("thead", [row(lines[0], "th")]);
  const body = element("tbody", lines.slice(2).map((line) => row(line, "td")));
  return element("div", [element("table", [head, body])], "scroll-x");
}

/* A list: items at the same indent; deeper lines belong to the item and are parsed as its blocks. */
function list(lines, start, depth) {
  const first = BULLET.exec(lines[start]);
  const ordered = /\d/.test(first[2]);
  const indent = first[1].length;
  const node = element(ordered ? "ol" : "ul");
  if (ordered && parseInt(first[2], 10) !== 1) node.start = parseInt(first[2], 10);
  let i = start;
  while (i < lines.length) {
    const m = BULLET.exec(lines[i]);
    if (!m || m[1].length > indent + 1 || m[1].length < indent || /\d/.test(m[2]) !== ordered || RULE.test(lines[i])) break;
    const width = m[1].length + m[2].length + Math.min(m[3].length, 4);
    const body = [m[4]];
    for (i++; i < lines.length; i++) {
      const line = lines[i];
      const deeper = /^\s*/.exec(line)[0].length;
      if (!line.trim()) {
        const after = lines[i + 1];
        if (after === undefined || !(/^\s*/.exec(after)[0].length > indent + 1)) break;
        body.push("");
      } else if (deeper > indent + 1) {
        body.push(line.slice(Math.min(deeper, width)));
      } else if (BULLET.test(line) || !body[body.length - 1].trim() || startsBlock(line)) {
        break;
      } else {
        body.push(line.trim());
      }
    }
    node.append(element("li", blocks(body, depth + 1, true)));
    while (i < lines.length - 1 && !lines[i].trim() && BULLET.test(lines[i + 1])) i++;
  }
  return [node, i];
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || /^\s{0,3}>/.test(line);
}

function fenced(lines, start) {
  const m = FENCE.exec(lines[start]);
  const body = [];
  let i = start + 1;
  for (; i < lines.length; i++) {
    const end = FENCE.exec(lines[i]);
    if (end && end[2][0] === m[2][0] && end[2].length >= m[2].length && !end[3]) break;
    body.push(lines[i].replace(new RegExp("^\\s{0," + m[1].length + "}"), ""));
  }
  return [codeBlock(body.join("\n"), m[3]), i + 1];
}

function quote(lines, start, depth) {
  const body = [];
  let i = start;
  while (i < lines.length && lines[i].trim() && (/^\s{0,3}>/.test(lines[i]) || !startsBlock(lines[i])))
    body.push(lines[i++].replace(/^\s{0,3}> ?/, ""));
  return [element("blockquote", blocks(body, depth + 1)), i];
}

function blocks(lines, depth, tight = false) {
  const out = [];
  if (depth > DEPTH_MAX) return [element("p", [lines.join("\n")])];
  let i = 0;
  while (i < lines.length) {
    const line = lines[i];
    let made = null;
    if (!line.trim()) {
      i++;
      continue;
    }
    if (FENCE.test(line)) made = fenced(lines, i);
    else if (HEADING.test(line)) {
      const m = HEADING.exec(line);
      made = [element("h" + m[1].length, inline(m[2])), i + 1];
    } else if (RULE.test(line)) made = [element("hr"), i + 1];
    else if (/^\s{0,3}>/.test(line)) made = quote(lines, i, depth);
    else if (BULLET.test(line)) made = list(lines, i, depth);
    else if (line.includes("|") && TABLE_RULE.test(lines[i + 1] || "") && lines[i + 1].includes("-")) {
      let end = i + 2;
      while (end < lines.length && lines[end].includes("|")) end++;
      made = [table(lines.slice(i, end)), end];
    }
    if (made) {
      out.push(made[0]);
      i = made[1];
      continue;
    }
    let end = i + 1;
    while (end < lines.length && lines[end].trim() && !startsBlock(lines[end]) && !BULLET.test(lines[end])) end++;
    const text = inline(lines.slice(i, end).join("\n").trim());
    out.push(tight && out.length === 0 && end === lines.length ? element("span", text) : element("p", text));
    i = end;
  }
  return out;
}

/* The nodes for a whole text. Time is linear in practice; a half-written text renders as far as it goes. */
export function markdown(text) {
  return blocks(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0);
}
