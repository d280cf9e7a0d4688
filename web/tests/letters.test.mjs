import assert from "node:assert/strict";
import test from "node:test";
import { accessible, openPage, picture, until } from "./support.mjs";
import { CUT, LONG, narrow, RIGHT_TO_LEFT, SCRIPT, visit, visits } from "./visits.mjs";

const rows = (page) => page.locator("#letters tbody tr", { has: page.locator("a") });

test("letters by reason, the fault marked, mended and sent again, also after a relaunch", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: CUT });
  await page.goto(`${job.page}/#/letters`);
  await page.getByText("There is no such letter").waitFor();

  const wrong = visit({ stay: -3, note: `${SCRIPT}${RIGHT_TO_LEFT}"${LONG}` });
  await job.post("visit", [wrong, visit({ [SCRIPT]: 1 }), visit({ place: undefined })]);
  await job.json("/topics/leave/events?ack=applied", {
    method: "POST",
    headers: { "content-type": "application/x-ndjson" },
    body: '{"note":"ñ","stay":01}\n',
  });
  // An empty list fills by itself; a list that somebody reads does not move.
  await until("letters are shown", async () => (await rows(page).count()) > 0);
  await page.reload();
  await until("all are shown", async () => (await rows(page).count()) === 4);
  const reasons = await page.getByRole("navigation", { name: "By reason" }).getByRole("link").allTextContents();
  assert.deepEqual(
    reasons.map((one) => one.match(/^\d+ \w+/)[0]),
    ["4 all", "3 schema", "1 json"],
  );
  await accessible(page);
  await picture(page, "letters");
  await narrow(page, "letters");
  await job.post("visit", [visit({ stay: -4 })]);
  await page.getByText("1 more event was refused").waitFor();
  await page.getByRole("button", { name: "Show" }).click();
  await until("the fifth is shown", async () => (await rows(page).count()) === 5);

  await page.getByRole("link", { name: /^1 json/ }).click();
  await until("one is left", async () => (await rows(page).count()) === 1);
  await rows(page).getByRole("link").first().click();
  assert.equal(await page.locator("pre mark").textContent(), "01");
  await page.goto(`${job.page}/#/letters?reason=schema`);
  await rows(page).getByRole("link").nth(2).click();
  assert.equal(await page.locator("pre mark").textContent(), `${JSON.stringify(SCRIPT)}: 1`);
  await page.goBack();
  await rows(page).getByRole("link").last().click();
  assert.equal(await page.locator("pre mark").textContent(), "-3");
  await narrow(page, "letter");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  await accessible(page);

  const editor = page.getByLabel("The event to send in its place");
  const send = page.getByRole("button", { name: "Send in its place" });
  const text = await editor.inputValue();
  await editor.fill(text.replace('"stay": -3', '"stay": -3 oh'));
  await page.getByText("Not JSON yet").waitFor();
  assert.equal(await send.isDisabled(), true);
  await editor.fill(text.replace('"stay": -3', '"stay": 3'));

  // What somebody has written outlives the job.
  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await job.ready();
  assert.match(await editor.inputValue(), /"stay": 3,/);
  await send.click();
  await page.getByText("The new event is counted").waitFor();
  await picture(page, "letter-retried");
  await page.getByRole("link", { name: "Open the event" }).click();
  await page.getByRole("heading", { name: wrong.id }).waitFor();
  await page.locator(".facts", { hasText: "counted" }).waitFor();
});

test("all of a reason, a refusal in the server's words, and a discard that asks first", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: /409 \(Conflict\)|404 \(Not Found\)/ });
  await job.post(
    "visit",
    Array.from({ length: 1_203 }, () => visit({ stay: -1 })),
  );
  await page.goto(`${job.page}/#/letters?reason=schema`);
  await until("a page is shown", async () => (await rows(page).count()) === 50);
  await page.getByRole("button", { name: "More" }).click();
  await until("two pages are shown", async () => (await rows(page).count()) === 100);
  await page.getByRole("button", { name: "Retry all" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Send them again" }).click();
  await page.getByText("1,203 letters were sent again: 1,203 invalid.").waitFor();
  await page.getByRole("link", { name: /^1,203 schema/ }).waitFor();
  await page.getByLabel("State").selectOption("retried");
  await page.getByRole("link", { name: "retried as" }).first().click();
  // The retry became a dead letter itself.
  await page.getByRole("heading", { name: /^Letter \d+$/ }).waitFor();

  // Somebody else was faster.
  const offset = Number((await page.getByRole("heading", { name: /^Letter/ }).textContent()).match(/\d+/)[0]);
  await page.getByLabel("The event to send in its place").fill("{}");
  await job.json(`/dead-letters/${offset}/retry?ack=applied`, { method: "POST" });
  await page.getByRole("button", { name: "Send again as it is" }).click();
  await page.getByText(/was retried as the event \d+/).waitFor();
  await page.locator("#outcome").waitFor();

  const discard = page.getByRole("button", { name: "Discard" });
  await discard.click();
  await accessible(page);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Discard");
  await discard.click();
  await page.getByRole("dialog").getByRole("button", { name: "Discard" }).click();
  await page.getByRole("navigation", { name: "By reason" }).waitFor();
  await page.goto(`${job.page}/#/letters/${offset}`);
  await page.getByText(`there is no dead letter ${offset}`).waitFor();
});

test("a late event has its time marked, and goes with another time and id only", async (t) => {
  const job = await visits(t);
  const page = await openPage(t);
  const at = new Date(Date.now() - 7_200_000).toISOString();
  await until("one comes late", async () => {
    await job.post("visit", [visit({})]);
    return (await job.post("visit", [visit({ at })])).late === 1;
  });
  await page.goto(`${job.page}/#/letters?reason=late`);
  await page.getByText("Late events are sent again one by one").waitFor();
  assert.equal(await page.getByRole("button", { name: "Retry all" }).count(), 0);
  await rows(page).getByRole("link").first().click();
  assert.equal(await page.locator("pre mark").textContent(), JSON.stringify(at));
  await page.getByText("A late event is not sent as it is").waitFor();
  assert.equal(await page.getByRole("button", { name: "Send again as it is" }).count(), 0);
  const editor = page.getByLabel("The event to send in its place");
  await editor.fill(JSON.stringify(visit({})));
  await page.getByRole("button", { name: "Send in its place" }).click();
  await page.getByText("The new event is counted").waitFor();
});

test("a letter whose answer is lost is retried once, however often it is sent", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: /ERR_FAILED|409 \(Conflict\)/ });
  const wrong = visit({ stay: -1 });
  await job.post("visit", [wrong]);
  await page.goto(`${job.page}/#/letters/0`);
  const editor = page.getByLabel("The event to send in its place");
  await editor.fill((await editor.inputValue()).replace('"stay": -1', '"stay": 1'));
  // What became of it the page learns only when it asks, which does not happen now.
  await page.route("**/dead-letters/0", (route) => route.abort());
  await page.route(
    "**/dead-letters/0/retry?*",
    async (route) => {
      await route.fetch();
      await route.abort();
    },
    { times: 1 },
  );
  const send = page.getByRole("button", { name: "Send in its place" });
  await send.click();
  await page.getByText("There was no answer: the event may have been taken, or not.").waitFor();
  await send.click();
  await page.getByText(/was retried as the event 1/).waitFor();
  assert.equal((await job.json(`/events/${wrong.id}`)).events.length, 1);
  await page.unroute("**/dead-letters/0");
  await page.locator("#outcome").waitFor();
});
