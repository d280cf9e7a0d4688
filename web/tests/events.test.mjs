import assert from "node:assert/strict";
import test from "node:test";
import { accessible, openPage, picture, until } from "./support.mjs";
import { CUT, instant, LONG, narrow, RIGHT_TO_LEFT, SCRIPT, visit, visits } from "./visits.mjs";

/** Closed rows of the window are events of the topic `places`, and come when they come. */
const rows = (page, table) => page.locator(`${table} tbody tr`, { has: page.locator("a"), hasNotText: "places" });

test("events as they come, of all topics and of one, also after a relaunch", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: CUT });
  await page.goto(`${job.page}/#/events`);
  await page.getByText("No event has come yet").waitFor();
  const hostile = visit({ place: SCRIPT, note: `${RIGHT_TO_LEFT} "${LONG}` });
  await job.post("visit", [hostile, visit({})]);
  await job.post("leave", [visit({})]);
  await until("all three are shown", async () => (await rows(page, "#tail").count()) === 3);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await accessible(page);
  await picture(page, "events");
  await narrow(page, "events");

  // Held while somebody points at it, or has the focus in it.
  await page.locator("#tail a").first().focus();
  await page.locator("#tail-state", { hasText: "held while you look" }).waitFor();
  await job.post("visit", [visit({})]);
  await page.locator("#tail-state", { hasText: /[1-9] newer/ }).waitFor();
  assert.equal(await rows(page, "#tail").count(), 3);
  await page.getByRole("button", { name: "Stop" }).focus();
  await until("the fourth is shown", async () => (await rows(page, "#tail").count()) === 4);

  const topic = page.getByRole("combobox", { name: "Topic" });
  await topic.focus();
  await topic.selectOption("leave");
  await page.locator("#tail-state", { hasText: "events/s" }).waitFor();
  assert.equal(await topic.evaluate((element) => element === document.activeElement), true);
  const before = visit({});
  await until("the stream has begun", async () => {
    await job.post("leave", [visit({})]);
    return (await rows(page, "#tail").count()) > 0;
  });
  await job.post("leave", [before]);
  await page.locator("#tail", { hasText: before.id }).waitFor();
  assert.match(page.url(), /topic=leave/);

  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await job.ready();
  await page.locator("#tail", { hasText: before.id }).waitFor();
  const after = visit({});
  await job.post("leave", [after]);
  await page.locator("#tail", { hasText: after.id }).waitFor();

  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Start" }).waitFor();
  const shown = await rows(page, "#tail").count();
  const unseen = visit({});
  await job.post("leave", [unseen]);
  await until("the job shows it", async () => {
    const { events } = await job.json("/topics/leave/events?limit=1000");
    return events.some(({ event }) => event.id === unseen.id);
  });
  // Another page, whose stream begins later, has what came after it: this one has had all the time that it would have needed.
  const other = await page.context().newPage();
  await other.goto(`${job.page}/#/events?topic=leave`);
  const later = visit({});
  await until("the other page shows what comes", async () => {
    await job.post("leave", [later]);
    return (await other.locator("#tail", { hasText: later.id }).count()) > 0;
  });
  assert.equal(await page.locator("#tail", { hasText: unseen.id }).count(), 0);
  assert.equal(await rows(page, "#tail").count(), shown);
});

test("an event by its id, a text, a field and a time, and refusals in the server's words", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: /404 \(Not Found\)|400 \(Bad Request\)/ });
  const begun = new Date(Date.now() - 1_000).toISOString();
  const wanted = visit({ place: "pier", note: SCRIPT, trip: "a/b?c=&d" });
  // JSON.parse would make another number of it.
  const line = JSON.stringify(wanted).replace("}", ',"serial":9007199254740993}');
  await job.json("/topics/visit/events?ack=applied", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: line,
  });
  await job.post("visit", [visit({ note: "pier" }), visit({ stay: -1, id: wanted.id, note: "refused" })]);

  await page.goto(`${job.page}/#/events`);
  await page.getByLabel("Contains").fill("pier");
  await page.keyboard.press("Enter");
  await until("two hold the text", async () => (await rows(page, "#found").count()) === 2);
  await page.getByLabel("in the field").fill("place");
  await page.getByRole("button", { name: "Search" }).click();
  await until("one has it in the field", async () => (await rows(page, "#found").count()) === 1);
  await page.getByLabel("Taken in since").fill(begun.slice(0, 19));
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("choose one").waitFor();
  await page.getByRole("combobox", { name: "Topic" }).selectOption("visit");
  await until("the log has it too", async () => (await rows(page, "#found").count()) === 1);
  await accessible(page);

  await page.getByRole("link", { name: `Event ${wanted.id}` }).click();
  await page.locator("pre", { hasText: "9007199254740993" }).waitFor();
  await page.locator("pre", { hasText: JSON.stringify(SCRIPT) }).waitFor();
  await page.locator(".facts", { hasText: "counted" }).waitFor();
  await page.locator("#letters-of", { hasText: "/stay" }).waitFor();
  await page.locator("#metrics", { hasText: "visits.by_place" }).waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await accessible(page);
  await picture(page, "event");
  await narrow(page, "event");

  await page.goto(`${job.page}/#/events`);
  await page.getByLabel("Id of an event").fill("nobody's");
  await page.getByRole("button", { name: "Open event" }).click();
  await page.getByText(`no event with the id "nobody's" is kept here`).waitFor();
  await page.goto(`${job.page}/#/events?topic=nowhere`);
  await page.getByText('there is no topic "nowhere": there are visit, leave, places').waitFor();
});

test("the story of a correlation, to scale in time", async (t) => {
  const job = await visits(t);
  const page = await openPage(t);
  const trip = `${SCRIPT} & "${RIGHT_TO_LEFT}`;
  const start = Date.now() - 60_000;
  const at = (seconds) => ({ at: instant(start + seconds * 1_000), trip });
  const [first, ...others] = [visit(at(0)), visit(at(0.1)), visit(at(5)), visit({ ...at(20), place: LONG })];
  await job.post("visit", [first, ...others]);
  await job.post("leave", [visit(at(10))]);
  await job.post("visit", [visit({})]);
  await page.goto(`${job.page}/#/events`);
  await page.getByLabel("Id of an event").fill(trip);
  await page.getByRole("button", { name: "Open story" }).click();
  await page.getByText("5 events within 20 s").waitFor();
  await until("all are in the table", async () => (await rows(page, "#story").count()) === 5);
  const after = await page.locator("#story tbody td:first-child").allTextContents();
  assert.deepEqual(after, ["0 ms", "100 ms", "5 s", "10 s", "20 s"]);
  // The one at 5 s stands a quarter of the way from the first to the last.
  const x = (nth) => page.locator(".mark-1 circle").nth(nth).getAttribute("cx").then(Number);
  const [from, quarter, to] = [await x(0), await x(1), await x(2)];
  assert.ok(Math.abs((quarter - from) / (to - from) - 0.25) < 0.01, `${from} ${quarter} ${to}`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await accessible(page);
  await picture(page, "story");
  await narrow(page, "story");
  await page.locator(".mark-1").nth(1).click();
  await page.getByRole("heading", { name: others[1].id }).waitFor();
});
