import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import { incident } from "./incident.mjs";
import { accessible, fits, Job, openPage, picture, repository, until } from "./support.mjs";

const AWAY = /ERR_(CONNECTION|INCOMPLETE|EMPTY)|network error|Failed to load/;
/** What a browser says of an answer that is an error. */
const REFUSED = /status of (409|412|422|502|503)|ERR_(CONNECTION|INCOMPLETE|EMPTY)|network error|Failed to load/;
const NOTES = `
pipeline: notes
topics: {note: {schema: note.json}}
id: id
time: {field: at}
views: {latest: {key: author, latest: [text]}}
`;
const NOTE = JSON.stringify({
  type: "object",
  required: ["id", "at", "author"],
  properties: {
    id: { type: "string" },
    at: { type: "string", format: "date-time" },
    author: { type: "string" },
    text: { type: "string" },
  },
});
const HOSTILE = [`<script>document.title = "taken"</script>`, `"quotes' & <b>`, "x".repeat(1_000), "\u202eمرحبا"];

const editor = (page, of = "pipeline file") => page.getByRole("textbox", { name: `Text of ${of}` });

/** Opens a pipeline's file in the editor. */
async function openFile(page, job, name) {
  await page.goto(`${job.page}/#/pipelines/${name}?tab=file`);
  await page.locator(".cm-line").first().waitFor();
  await page.getByText("No faults.").waitFor();
}

/** Puts a text in the place of the whole file, as somebody does who pastes it. */
async function write(page, text, of = "pipeline file") {
  await editor(page, of).click();
  await page.keyboard.press("Control+a");
  await editor(page, of).evaluate((element, pasted) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", pasted);
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}

test("a pipeline's flow is a picture of links, and a table", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: AWAY });
  await job.post("security.incident", [incident()]);
  await page.goto(`${job.page}/#/pipelines`);
  await page.locator("#pipelines tbody tr", { hasText: "civic_safety" }).waitFor();
  const flow = page.getByRole("region", { name: "Flow of civic_safety" }).first();
  await flow.getByRole("link", { name: "window by_region" }).waitFor();
  for (const [name, address] of [
    ["topic security.incident", "#/events?topic=security.incident"],
    ["window daily", "#/windows/civic_safety/daily"],
    ["view last_by_region", "#/pipelines/civic_safety?view=last_by_region"],
  ]) {
    assert.equal(await flow.getByRole("link", { name, exact: true }).getAttribute("href"), address);
  }
  await flow.getByRole("link", { name: /Back-pressure OK/ }).waitFor();
  await page.getByText("As a table").click();
  await page.getByRole("row", { name: /^topic security.incident validate, deduplicate, filter/ }).waitFor();
  await accessible(page);
  await picture(page, "pipelines");

  await flow.getByRole("link", { name: "view last_by_region" }).click();
  await page.locator("#entries tbody tr", { hasText: "RM" }).waitFor();
  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await page.locator("#entries tbody tr", { hasText: "RM" }).waitFor();
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);
  await picture(page, "pipeline-narrow");
});

test("hostile texts in a view stay text", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t);
  const body = JSON.stringify({ file: NOTES, schemas: { "note.json": NOTE } });
  await job.json("/pipelines/notes", { method: "PUT", headers: { "content-type": "application/json" }, body });
  const at = new Date().toISOString();
  const notes = HOSTILE.map((text, id) => ({ id: String(id), at, author: text, text }));
  const { counted } = await job.post("note", notes);
  assert.equal(counted, HOSTILE.length);
  await page.goto(`${job.page}/#/pipelines/notes?view=latest`);
  for (const text of HOSTILE) {
    await until(`${text} is shown`, async () =>
      (await page.locator("#entries tbody td:first-child").allTextContents()).includes(text),
    );
  }
  assert.equal(await page.title(), "Pipelines · Caudal");
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);
});

test("a file is checked while it is written, and applied to the running job", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: REFUSED });
  const file = path.join(repository, "pipelines/civic_safety/pipeline.yaml");
  const text = await readFile(file, "utf8");
  await openFile(page, job, "civic_safety");
  await accessible(page);
  await picture(page, "pipeline-file");

  await write(page, text.replace("dedup:", "dedupp:"));
  await page.getByText('unknown key "dedupp"').first().waitFor();
  await page.locator(".cm-lintRange-error").waitFor();
  assert.equal(await page.getByRole("button", { name: "Apply", exact: true }).isDisabled(), true);
  await page.getByRole("button", { name: "line 12, column 1" }).click();
  assert.equal(await page.locator(".cm-activeLine").textContent(), "dedupp: {remember: 24h}");
  await picture(page, "pipeline-fault");

  // What kept state forbids is told with the way out, before it is tried and after.
  await write(page, text.replace("n > 100", "n > 50"));
  await page.getByText("Way out: give the changed alert another name").waitFor();
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByRole("alert").getByText("give the changed alert another name").first().waitFor();

  const test = `  - name: none
    topic: security.incident
    given: []
    expect: {duplicate: 1}
`;
  await write(page, text + test);
  await page.getByText('test "none" failed: duplicate: 1 expected, 0 found').first().waitFor();

  // What is written outlives the job's life.
  await write(page, text);
  const changed = `${text}# more\n`;
  await page.keyboard.press("Control+End");
  await page.keyboard.type("# more\n");
  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await page.getByText("pipeline civic_safety is changed").waitFor();
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByText(/^Applied, from epoch/).waitFor();
  assert.equal((await job.json("/pipelines/civic_safety")).text, changed);
});

test("a change over somebody else's is refused, and goes on over theirs", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: REFUSED });
  const { text } = await job.json("/pipelines/civic_safety");
  await openFile(page, job, "civic_safety");
  await write(page, `${text}# mine\n`);
  const headers = { "content-type": "application/yaml" };
  await job.json("/pipelines/civic_safety", { method: "PUT", headers, body: `${text}# theirs\n` });
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByRole("alert").getByText("changed meanwhile by somebody else").waitFor();
  await page.getByRole("button", { name: "Go on with my text over theirs" }).click();
  await page.getByRole("button", { name: "Apply", exact: true }).click();
  await page.getByText(/^Applied, from epoch/).waitFor();
  assert.equal((await job.json("/pipelines/civic_safety")).text, `${text}# mine\n`);

  // A file that says another name is another pipeline.
  await write(page, NOTES.replace("notes", "other_notes"));
  await page.getByRole("button", { name: "Add it as a new pipeline" }).click();
  await page.getByText('The text of the schema "note.json" is not there.').first().waitFor();
  await page.getByText("Add a schema", { exact: true }).click();
  await page.getByLabel("Path, as the file writes it").fill("note.json");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("textbox", { name: "Text of note.json" }).waitFor();
  await write(page, NOTE, "note.json");
  await page.getByText("pipeline other_notes is added").waitFor();
  await page.getByRole("button", { name: "Add to the job" }).click();
  await page.getByRole("region", { name: "Flow of other_notes" }).waitFor();
  assert.deepEqual((await job.json("/pipelines/other_notes")).schemas, { "note.json": NOTE });
});

test("a change whose answer is lost is no change by somebody else when it is sent again", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /ERR_FAILED|status of 412/ });
  const { text } = await job.json("/pipelines/civic_safety");
  await openFile(page, job, "civic_safety");
  await write(page, `${text}# mine\n`);
  await page.getByText("pipeline civic_safety is changed").waitFor();
  let isLost = false;
  const lose = async (route) => {
    if (isLost || route.request().method() !== "PUT") return route.continue();
    isLost = true;
    await route.fetch();
    await route.abort();
  };
  await page.route("**/pipelines/civic_safety", lose);
  const apply = page.getByRole("button", { name: "Apply", exact: true });
  await apply.click();
  await page.getByRole("alert").getByText("There was no answer: the change may have been made, or not.").waitFor();
  assert.equal((await job.json("/pipelines/civic_safety")).text, `${text}# mine\n`);
  await apply.click();
  await page.getByText("Nothing was to be changed.").waitFor();
  assert.equal(await page.getByText("changed meanwhile by somebody else").count(), 0);
});

test("whoever leaves what is not applied is asked", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t);
  const { text } = await job.json("/pipelines/civic_safety");
  await openFile(page, job, "civic_safety");
  await write(page, `${text}# mine\n`);
  await page.getByRole("link", { name: "Ranks" }).click();
  const dialog = page.getByRole("dialog", { name: "Leave without applying?" });
  await dialog.waitFor();
  await accessible(page);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  assert.match(page.url(), /#\/pipelines\/civic_safety\?tab=file$/);

  // Another part of the same pipeline is no leaving.
  await page.getByRole("link", { name: "Flow", exact: true }).click();
  await page.getByRole("region", { name: "Flow of civic_safety" }).waitFor();
  await page.getByRole("link", { name: "File", exact: true }).click();
  await page.getByText("pipeline civic_safety is changed").waitFor();
  await page.getByRole("link", { name: "Ranks" }).click();
  await dialog.getByRole("button", { name: "Leave and discard" }).click();
  await page.locator("#ranks").waitFor();
  await page.goBack();
  await page.getByText("This is what the job runs.").waitFor();
});

test("a new pipeline begins with the log's past, and is deleted again", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: REFUSED });
  await job.post("security.incident", [incident(), incident()]);
  await page.goto(`${job.page}/#/pipelines`);
  await page.getByRole("link", { name: "New pipeline" }).click();
  await page.getByLabel("It reads").selectOption("security.incident");
  await page.getByRole("button", { name: "Write it" }).press("Enter");
  await page.locator(".cm-content:focus").waitFor();
  await page.getByText("pipeline my_pipeline is added").waitFor();
  await page.getByLabel("with the log's past, from").check();
  await accessible(page);
  await picture(page, "pipeline-new");
  await page.getByRole("button", { name: "Add to the job" }).click();
  await page.getByRole("region", { name: "Flow of my_pipeline" }).waitFor();
  await until("it has counted the past", async () => {
    const { windows } = await job.json("/windows?pipeline=my_pipeline").catch(() => ({ windows: [] }));
    return windows.some((row) => row.values.n === 2);
  });

  const remove = page.getByRole("button", { name: "Delete" });
  await remove.click();
  const dialog = page.getByRole("dialog", { name: "Delete my_pipeline?" });
  await accessible(page);
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.equal(await remove.evaluate((element) => element === document.activeElement), true);
  await remove.click();
  await dialog.getByRole("button", { name: "Delete" }).click();
  await until("it is gone", async () => (await job.json("/pipelines")).pipelines.length === 1);
  await page.waitForURL(/#\/pipelines$/);
  await page.locator("main:focus").waitFor();

  // The last one cannot be deleted, and the job says why.
  await page.locator("#pipelines").getByRole("link", { name: "civic_safety" }).click();
  await remove.click();
  const last = page.getByRole("dialog", { name: "Delete civic_safety?" });
  await last.getByRole("button", { name: "Delete" }).click();
  await last.getByText("is the job's last pipeline").waitFor();
});
