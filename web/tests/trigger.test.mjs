import assert from "node:assert/strict";
import path from "node:path";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";
import { accessible, fits, Job, openPage, picture, repository, until } from "./support.mjs";
import { CUT, narrow } from "./visits.mjs";

/** What the browser says of an answer that was cut. */
const LOST = /ERR_FAILED/;

/** The job takes the next request to this address, and its answer never comes. */
const loseAnswer = (page, address, times = 1) =>
  page.route(
    address,
    async (route) => {
      await route.fetch();
      await route.abort();
    },
    { times },
  );

/** The log's events of the topic; closed rows have offsets too. */
const taken = async (job) => (await job.json("/topics/security.incident/events?limit=1000")).events.length;

test("an event of each topic is sent from its form, and is counted", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t);
  await page.goto(`${job.page}/#/trigger`);
  const topics = ["security.incident", "survey.victimization", "migration.case"];
  for (const [offset, topic] of topics.entries()) {
    await page.getByLabel("Topic").selectOption(topic);
    await page.locator("#trigger-send").click();
    await page.locator("#trigger-result", { hasText: `counted at offset ${offset}` }).waitFor();
    const sent = JSON.parse(await page.locator("#trigger-json").inputValue());
    const known = await job.json(`/events/${sent.event_id}`);
    assert.equal(known.events[0].topic, topic);
    assert.deepEqual(known.events[0].event, sent);
    // The event, and its rows of both windows.
    await until("its rows are named", async () => (await page.locator("#trigger-went a").count()) === 3);
  }
  await accessible(page);
  await picture(page, "trigger");
});

test("the form and the JSON are one event; what was written by hand is sent as it is", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /Failed to load resource: .* status of 400/ });
  await page.goto(`${job.page}/#/trigger?topic=security.incident`);
  const json = page.locator("#trigger-json");
  const version = page.getByLabel("schema_version", { exact: true });
  await version.fill(`<script>document.title = "owned"</script>`);
  assert.match(JSON.parse(await json.inputValue()).schema_version, /^<script>/);
  await json.fill(JSON.stringify({ ...JSON.parse(await json.inputValue()), schema_version: "9", event_id: "by-hand" }));
  assert.equal(await version.inputValue(), "9");
  const send = page.locator("#trigger-send");
  const result = page.locator("#trigger-result");
  await send.click();
  // An id that no schema takes: the reason is shown.
  await result.filter({ hasText: "invalid at offset 0: " }).waitFor();
  await json.fill("{ this is no JSON");
  await page.locator("#trigger-json-note.bad").waitFor();
  await send.click();
  // A body that is no JSON is refused as a whole: nothing of it is kept.
  await result.filter({ hasText: "the body is not JSON that can be cut into events" }).waitFor();
  assert.equal((await job.json("/ledger")).accepted, 1);
  assert.doesNotMatch(await page.title(), /owned/);
});

test("many at once, at a rate, and as a command that does the same", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`${job.page}/#/trigger?topic=security.incident`);
  await page.getByLabel("How many").fill("50");
  await page.getByLabel("A second (0: all at once)").fill("0");
  await page.locator("#repeat-send").click();
  await page.locator("#repeat-result", { hasText: "50 of 50 events sent; 50 events counted" }).waitFor();
  await page.getByLabel("How many").fill("10");
  await page.getByLabel("A second (0: all at once)").fill("40");
  await page.locator("#repeat-send").click();
  await page.locator("#repeat-result", { hasText: "10 of 10 events sent; 10 events counted" }).waitFor();

  await page.getByRole("button", { name: "Copy as curl" }).click();
  await page.getByText("Copied.").waitFor();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  // Not in this process's way: it may be the page's server.
  const { stdout } = await promisify(execFile)("bash", ["-c", `${command} --silent --show-error`]);
  assert.equal(JSON.parse(stdout).counted, 1, `${command}: ${stdout}`);
});

test("the generator is started with its dials, and stopped; a refusal says why", async (t) => {
  const job = await Job.start(t, { PIPELINES: path.join(repository, "pipelines/music_fest/*.yaml") });
  const page = await openPage(t, { allowed: /Failed to load resource.*\/generator/ });
  await page.goto(`${job.page}/#/trigger`);
  const state = page.locator("#generator-state");
  await state.filter({ hasText: "It is off." }).waitFor();
  await page.getByLabel("Events a second").fill("90000000");
  await page.locator("#generator-start").click();
  await page.locator(".bad", { hasText: "200000" }).waitFor();
  await page.getByLabel("Events a second").fill("200");
  await page.getByLabel("Duplicates (%)").fill("10");
  await page.locator("#generator-start").click();
  await state.filter({ hasText: "Running at 200 a second" }).waitFor();
  await until("duplicates are found", async () => (await job.json("/ledger")).duplicate > 0);
  await page.locator("#generator-stop").click();
  await state.filter({ hasText: "Stopped" }).waitFor();
  await accessible(page);
});

test("what got no answer is sent again as the same event, and is counted once", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: LOST });
  const address = /\/topics\/security\.incident\/events/;
  await page.goto(`${job.page}/#/trigger?topic=security.incident`);
  const send = page.locator("#trigger-send");
  const result = page.locator("#trigger-result");
  await loseAnswer(page, address);
  await send.click();
  await result.filter({ hasText: "There was no answer: the event may have been taken, or not." }).waitFor();
  const { event_id } = JSON.parse(await page.locator("#trigger-json").inputValue());
  await picture(page, "trigger-unanswered");
  await send.click();
  await result.filter({ hasText: "It had been taken already, at offset 0, and was not taken again." }).waitFor();
  assert.equal(JSON.parse(await page.locator("#trigger-json").inputValue()).event_id, event_id);
  await until("its rows are named", async () => (await page.locator("#trigger-went a").count()) === 3);
  assert.equal(await taken(job), 1);

  // The next one is another event; so is one that was changed after it got no answer.
  await send.click();
  await result.filter({ hasText: "counted at offset" }).waitFor();
  await loseAnswer(page, address);
  await send.click();
  await result.filter({ hasText: "There was no answer" }).waitFor();
  await page.getByLabel("region", { exact: true }).selectOption({ index: 2 });
  assert.equal(await result.textContent(), "");
  await send.click();
  await result.filter({ hasText: "counted at offset" }).waitFor();

  // A batch goes again by itself, until there is an answer.
  await loseAnswer(page, address, 2);
  await page.getByLabel("How many").fill("50");
  await page.getByLabel("A second (0: all at once)").fill("0");
  await page.locator("#repeat-send").click();
  await page.locator("#repeat-result", { hasText: "No answer to the last 50 events" }).waitFor();
  const all =
    "50 of 50 events sent; 0 events counted; 50 events taken by a request whose answer was lost, and not twice";
  await page.locator("#repeat-result", { hasText: all }).waitFor();
  assert.equal(await taken(job), 54);

  await page.getByLabel("Language").selectOption("es");
  await loseAnswer(page, address);
  await send.click();
  await result.filter({ hasText: "No hubo respuesta" }).waitFor();
});

test("on a telephone, an event is kept while the job is away, and is sent when it is back", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: CUT });
  await page.goto(`${job.page}/#/trigger?topic=security.incident`);
  await page.locator("#trigger-send").waitFor();
  await narrow(page, "trigger");
  await page.setViewportSize({ width: 390, height: 844 });
  const version = page.getByLabel("schema_version", { exact: true });
  await version.fill("1.1");
  const kept = await page.locator("#trigger-json").inputValue();
  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await job.ready();
  assert.equal(await page.locator("#trigger-json").inputValue(), kept);
  await page.locator("#trigger-send").click();
  await page.locator("#trigger-result", { hasText: "at offset 0" }).waitFor();
  assert.equal(await taken(job), 1);
  await fits(page);
  await accessible(page);
});
