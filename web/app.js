// The page: a form made from the topics' schemas, and tables fed by one stream of snapshots.
// Whatever comes from an event is put in as text, never as markup.

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const show = (n) => (n === null || n === undefined ? "–" : number.format(n));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---- asking ----

const TOKEN = "caudal-token";

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) $("token-form").hidden = false;
  return answer;
}

async function json(path, options) {
  const answer = await ask(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, $("token").value.trim());
  $("token").value = "";
  $("token-form").hidden = true;
  wake();
  loadTopics();
});

// ---- tables: a row stays the same element while its key is there, so that focus and clicks are not lost ----

const CODE = new Set(["Event", "Body", "Detail"]);

function fill(table, items, key, cells) {
  const body = table.tBodies[0];
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, at) => {
    const name = String(key(item));
    const row = old.get(name) || element("tr");
    old.delete(name);
    row.dataset.key = name;
    cells(item, row).forEach((cell, i) => {
      const head = heads[i];
      const td = row.cells[i] || row.appendChild(element("td", {
        className: head?.classList.contains("n") ? "n" : head && CODE.has(head.textContent) ? "code" : "",
      }));
      if (typeof cell === "function") cell(td);
      else if (td.textContent !== String(cell)) td.textContent = cell;
    });
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] || null);
  });
  for (const row of old.values()) row.remove();
}

const pairs = (object) => Object.entries(object).map(([k, v]) => `${k} ${typeof v === "number" ? show(v) : v ?? "–"}`).join(" · ");
const group = (object) => Object.values(object).map((v) => v ?? "–").join(" · ") || "all";
const clock = (time) => time.replace("T", " ").replace("Z", "");
const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const eventCells = (e) => [e.offset, clock(e.time), e.topic, text(e.event)];

// ---- snapshots ----

const FATES = ["accepted", "counted", "duplicate", "filtered", "invalid", "late", "in_flight"];

function render({ cluster, ledger, rows, events, dead_letters, store_problem }) {
  state(`${cluster.phase}, generation ${cluster.generation}${store_problem ? `. ${store_problem}` : ""}`);
  $("watermark").textContent = cluster.watermark ? cluster.watermark.slice(11, 19) : "–";
  $("watermark").title = cluster.watermark ?? "";
  $("accepted-rate").textContent = show(cluster.accepted_per_second);
  $("committed-rate").textContent = show(cluster.committed_per_second);
  for (const p of ["p50", "p99"]) {
    const ms = cluster[`latency_${p}_ms`];
    $(p).textContent = ms === null ? "–" : `${show(ms)} ms`;
  }
  $("in-flight").textContent = show(ledger.in_flight);

  for (const fate of FATES) {
    const id = `ledger-${fate.replace("_", "-")}`;
    if (!$(id)) {
      const head = element("th", { scope: "row", textContent: fate.replace("_", " ") });
      $("ledger").tBodies[0].append(element("tr", {}, head, element("td", { id, className: "n" })));
    }
    $(id).textContent = show(ledger[fate]);
  }
  const balanced = ledger.accepted === FATES.slice(1).reduce((sum, fate) => sum + ledger[fate], 0);
  $("balances").textContent = balanced ? "balances ✓" : "does not balance";
  $("balances").className = balanced ? "good" : "bad";

  fill($("ranks"), cluster.ranks, (r) => r.rank, (r) => [
    r.rank, r.host, r.pid, show(r.events), `${show(r.queue_bytes / 1024)} KiB`, `${show(r.back_pressure * 100)} %`,
    r.key_groups, show(r.ids), show(r.panes), `${show(r.memory_bytes / 1048576)} MiB`,
  ]);
  fill($("counts"), counts(rows), (c) => c.key, (c) => [c.window, c.group, show(c.events), (td) => {
    const meter = td.firstChild || td.appendChild(element("meter", { min: 0, ariaLabel: "share" }));
    meter.max = c.most;
    meter.value = c.events;
  }]);
  const newest = [...rows].sort((a, b) => (a.window_start < b.window_start ? 1 : a.window_start > b.window_start ? -1 : 0));
  fill($("windows"), newest, (r) => r.metric_id, (r, row) => {
    row.dataset.metricId = r.metric_id;
    const open = (td) => {
      const button = td.firstChild || td.appendChild(lineageButton(r.metric_id, clock(r.window_start)));
      button.setAttribute("aria-label", `Events of ${r.window} ${group(r.group)} at ${clock(r.window_start)}`);
    };
    const closed = r.closed ? (r.revision ? `closed, revision ${r.revision}` : "closed") : "open";
    return [open, r.window, group(r.group), pairs(r.values), show(r.event_count), closed];
  });
  fill($("events"), events, (e) => e.offset, eventCells);
  fill($("dead-letters"), dead_letters, (d) => d.offset, (d) => {
    const retried = d.retried_as === null ? "" : `, retried as ${d.retried_as}`;
    return [d.offset, d.topic ?? "–", d.reason + retried, d.detail, d.body];
  });
}

function counts(rows) {
  const all = new Map();
  const most = {};
  for (const row of rows) {
    const key = `${row.window} ${JSON.stringify(row.group)}`;
    const count = all.get(key) || { key, window: row.window, group: group(row.group), events: 0 };
    count.events += row.event_count;
    most[row.window] = Math.max(most[row.window] || 1, count.events);
    all.set(key, count);
  }
  const list = [...all.values()].map((count) => ({ ...count, most: most[count.window] }));
  return list.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function state(words) {
  if ($("state").textContent !== words) $("state").textContent = words;
}

let wake = () => {};

// EventSource sends no headers, so the stream is read by fetch.
async function live() {
  for (;;) {
    try {
      const answer = await ask("/live");
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        const data = parts.map((part) => part.split("\n").find((line) => line.startsWith("data: "))).filter(Boolean).pop();
        if (data) render(JSON.parse(data.slice(6)));
      }
      state("Connection lost; connecting again …");
    } catch (error) {
      state(`Not connected: ${error.message}`);
    }
    await Promise.race([sleep(1000), new Promise((done) => { wake = done; })]);
  }
}

// ---- lineage ----

function lineageButton(id, label) {
  return element("button", { type: "button", textContent: label, onclick: () => lineage(id) });
}

// An event names its rows before those of open windows are shown for the first time: then the row is asked for again.
const LINEAGE_TRIES = 15;

async function lineage(id) {
  const section = $("lineage");
  section.hidden = false;
  section.dataset.metricId = id;
  $("lineage-note").textContent = "…";
  $("lineage-more").hidden = true;
  fill(section.querySelector("table"), [], () => 0, () => []);
  $("h-lineage").focus();
  for (let tries = 0; tries < LINEAGE_TRIES && section.dataset.metricId === id; tries++) {
    try {
      const row = await json(`/windows/${id}`);
      const title = `${row.window}, ${group(row.group)}, from ${clock(row.window_start)}: ${events(row.event_count)}`;
      return await lineagePage(`/windows/${id}/events`, [], title);
    } catch (error) {
      $("lineage-note").textContent = error.message;
      await sleep(1000);
    }
  }
}

const events = (n) => (n === 1 ? "1 event" : `${show(n)} events`);

async function lineagePage(path, before, title) {
  const page = await json(path);
  const all = before.concat(page.events);
  $("lineage-note").textContent = title + (page.audit === "none" ? " (this pipeline keeps no lineage: audit: none)" : "");
  fill($("lineage").querySelector("table"), all, (e) => e.offset, eventCells);
  $("lineage-more").hidden = !page.next;
  $("lineage-more").onclick = () => lineagePage(page.next, all, title);
}

// ---- trigger: a form from a topic's JSON Schema ----

let topics = [];
let fields = [];

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6] & 15) | 64;
  b[8] = (b[8] & 63) | 128;
  const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function resolve(schema, root) {
  let found = schema;
  for (let i = 0; i < 16 && found?.$ref?.startsWith("#"); i++) {
    found = found.$ref.slice(1).split("/").filter(Boolean).reduce((at, name) => at?.[name], root);
  }
  return typeof found === "object" && found ? found : {};
}

// The leaves of a schema: {path, schema, required, auto}.
function leaves(schema, root, topic, path = [], required = true, depth = 0) {
  const known = resolve(schema, root);
  if (known.properties && depth < 8) {
    return Object.entries(known.properties).flatMap(([name, inner]) =>
      leaves(inner, root, topic, [...path, name], required && (known.required || []).includes(name), depth + 1));
  }
  const name = path.join(".");
  const auto = known.format === "uuid" || name === topic.id ? uuid
    : known.format === "date-time" || name === topic.time ? () => new Date().toISOString() : null;
  return path.length ? [{ path, name, schema: known, required, auto }] : [];
}

const kind = (schema) => [schema.type].flat().find((t) => t && t !== "null") || "string";

// What a field holds at first: as in the topic's example event, where the server could make one.
function sample({ path, schema, auto }, topic) {
  if (auto) return auto();
  const example = path.reduce((at, name) => at?.[name], topic.example);
  return example ?? schema.const ?? schema.examples?.[0] ?? schema.default;
}

function control(field, id, topic) {
  const { schema, required } = field;
  const value = sample(field, topic);
  const choices = schema.enum || (schema.const !== undefined ? [schema.const] : kind(schema) === "boolean" ? [true, false] : null);
  if (choices) {
    const select = element("select", { id });
    if (!required) select.append(element("option", { value: "", textContent: "(left out)" }));
    for (const choice of choices) select.append(element("option", { value: JSON.stringify(choice), textContent: text(choice) }));
    if (value !== undefined) select.value = JSON.stringify(value);
    return select;
  }
  const numeric = kind(schema) === "integer" || kind(schema) === "number";
  const input = element("input", { id, type: numeric ? "number" : "text", required, value: value === undefined ? "" : text(value) });
  if (numeric) Object.assign(input, { min: schema.minimum ?? "", max: schema.maximum ?? "", step: kind(schema) === "integer" ? 1 : "any" });
  return input;
}

function valueOf({ schema, input }) {
  if (input.value === "") return undefined;
  const type = kind(schema);
  if (input.tagName === "SELECT" || type === "array" || type === "object" || type === "integer" || type === "number") {
    try { return JSON.parse(input.value); } catch { return input.value; }
  }
  return input.value;
}

function writeJson() {
  const event = {};
  for (const field of fields) {
    const value = valueOf(field);
    if (value === undefined) continue;
    let at = event;
    for (const name of field.path.slice(0, -1)) {
      if (!Object.hasOwn(at, name)) Object.defineProperty(at, name, { value: {}, enumerable: true });
      at = at[name];
    }
    Object.defineProperty(at, field.path.at(-1), { value, enumerable: true });
  }
  $("trigger-json").value = JSON.stringify(event, null, 2);
}

function makeForm() {
  const topic = topics.find((t) => t.name === $("trigger-topic").value);
  fields = topic ? leaves(topic.schema, topic.schema, topic) : [];
  $("trigger-fields").replaceChildren(...fields.map((field, i) => {
    const id = `trigger-field-${i}`;
    field.input = control(field, id, topic);
    field.input.dataset.path = field.name;
    field.input.addEventListener("input", () => {
      field.written = true;
      writeJson();
    });
    return element("div", {}, element("label", { htmlFor: id, textContent: field.name + (field.required ? "" : " (optional)") }), field.input);
  }));
  writeJson();
}

// Each event is sent with a new id and the time of now, but for what somebody wrote: sending that twice is meant.
let byHand = false;

function refresh() {
  for (const field of fields) if (field.auto && !field.written) field.input.value = field.auto();
  writeJson();
}

async function loadTopics() {
  try {
    topics = (await json("/topics")).topics.filter((topic) => topic.post);
    $("trigger-topic").replaceChildren(...topics.map((t) => element("option", { textContent: t.name })));
    makeForm();
  } catch (error) {
    result(error.message, false);
  }
}

function result(words, good) {
  $("trigger-result").textContent = words;
  $("trigger-result").className = good ? "good" : "bad";
}

async function send(event) {
  event.preventDefault();
  const button = $("trigger-send");
  if (!byHand) refresh();
  const body = $("trigger-json").value;
  button.disabled = true;
  $("trigger-metrics").replaceChildren();
  result("sending …", true);
  const started = performance.now();
  try {
    const path = `/topics/${encodeURIComponent($("trigger-topic").value)}/events?ack=applied`;
    const answer = await json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const took = Math.round(performance.now() - started);
    const fates = answer.items.map((i) => `${i.status} at offset ${i.offset}${i.reason ? `: ${i.reason}` : ""}`).join("; ");
    result(`${fates} (${took} ms)`, answer.counted === answer.accepted);
    if (answer.counted === 1 && answer.accepted === 1) await wentInto(body);
  } catch (error) {
    result(error.message, false);
  } finally {
    button.disabled = false;
  }
}

async function wentInto(body) {
  const topic = topics.find((t) => t.name === $("trigger-topic").value);
  const id = topic?.id?.split(".").reduce((at, name) => at?.[name], JSON.parse(body));
  if (!id) return;
  const answer = await ask(`/events/${encodeURIComponent(id)}`);
  if (!answer.ok) return;
  const fates = await answer.json();
  const metrics = fates.events.filter((e) => e.topic === topic.name).flatMap((e) => e.metrics);
  $("trigger-metrics").replaceChildren(...metrics.map((m) => element("li", {}, "in ", lineageButton(m, m))));
}

$("trigger-topic").addEventListener("change", () => { byHand = false; makeForm(); });
$("trigger-json").addEventListener("input", () => { byHand = true; });
$("trigger-fields").addEventListener("input", () => { byHand = false; });
$("trigger-form").addEventListener("submit", send);

// ---- generator ----

async function generator(options) {
  try {
    const g = await json("/generator", options);
    if (g.running && document.activeElement !== $("generator-rate")) $("generator-rate").value = g.settings.rate;
    const trouble = g.trouble ? ` (${g.trouble})` : "";
    $("generator-state").textContent = g.running
      ? `running at ${show(g.settings.rate)}/s, seed ${g.settings.seed}: ${show(g.accepted)} accepted, ${show(g.refused)} refused${trouble}`
      : g.settings ? `stopped: ${show(g.accepted)} accepted, ${show(g.refused)} refused${trouble}` : "off";
    return g.running;
  } catch (error) {
    $("generator-state").textContent = error.message;
    return false;
  }
}

async function follow(options) {
  let running = await generator(options);
  while (running) {
    await sleep(2000);
    running = await generator();
  }
}

$("generator-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = JSON.stringify({ rate: Number($("generator-rate").value) });
  follow({ method: "POST", headers: { "Content-Type": "application/json" }, body });
});
$("generator-stop").addEventListener("click", () => generator({ method: "DELETE" }));

loadTopics();
follow();
live();
