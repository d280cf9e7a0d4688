// Many pages in one browser, which opens no more than six connections to a host.
import assert from "node:assert/strict";
import test from "node:test";
import { incident } from "./incident.mjs";
import { Job, openPage, until } from "./support.mjs";
import { CUT } from "./visits.mjs";

const TABS = 8;

/** Tabs of the page's browser, itself among them, opened one after the other; `before` is done with those that are open. */
async function openTabs(page, address, before = async () => {}) {
  const tabs = [page];
  await page.goto(address);
  while (tabs.length < TABS) {
    await page.getByText(/^serving, generation 1/).waitFor();
    await before(tabs.at(-1));
    const tab = await page.context().newPage();
    tabs.push(tab);
    await tab.goto(address);
  }
  return tabs;
}

/** Headless Chromium shows all of its pages: whether somebody sees one is told to it here. */
const see = (tab, seen) =>
  tab.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, !seen);

/** How many /live streams are open in these tabs' browser. */
function streams(page) {
  const open = new Set();
  const isLive = (request) => new URL(request.url()).pathname === "/live";
  page.context().on("request", (request) => isLive(request) && open.add(request));
  page.context().on("requestfailed", (request) => open.delete(request));
  page.context().on("requestfinished", (request) => open.delete(request));
  return () => [...open].filter((request) => !request.frame().page().isClosed()).length;
}

const accepted = (tab) => tab.locator("#ledger tbody tr td:nth-child(2)").first().textContent();

test("eight tabs that are all seen share a stream, and each can ask", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: CUT });
  const open = streams(page);
  const tabs = await openTabs(page, `${job.page}/#/overview`);
  for (const tab of tabs) await tab.getByText(/^serving, generation 1/).waitFor();
  assert.equal(open(), 1);
  await tabs.at(-1).getByRole("link", { name: "Trigger" }).click();
  await tabs.at(-1).locator("#trigger-send").click();
  await tabs.at(-1).locator("#trigger-result", { hasText: "counted at offset 0" }).waitFor();
  for (const tab of tabs.slice(0, -1)) await until("all tabs know", async () => (await accepted(tab)) === "1");

  // The tab that reads is closed: another reads on, and nobody has missed anything.
  await page.close();
  await job.post("security.incident", [incident()]);
  for (const tab of tabs.slice(1, -1)) await until("the others know", async () => (await accepted(tab)) === "2");
  assert.equal(open(), 1);
  assert.equal(await tabs[1].locator("#missed").count(), 0);

  await job.kill(1);
  for (const tab of tabs.slice(1)) await tab.locator("#missed", { hasText: "generation 1 → 2" }).waitFor();
});

test("a tab that nobody sees holds no connection, and says what it missed when it is seen again", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: CUT });
  // As where the page has no secure origin: each tab reads for itself.
  await page.context().addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  const open = streams(page);
  const tabs = await openTabs(page, `${job.page}/#/overview`, async (tab) => {
    await tab.getByText(/^serving, generation 1/).waitFor();
    await see(tab, false);
  });
  const last = tabs.at(-1);
  await last.getByText(/^serving, generation 1/).waitFor();
  assert.equal(open(), 1);
  await see(page, true);
  await until("it reads at once", () => open() === 2);
  await job.post("security.incident", [incident()]);
  await until("it is up to date", async () => (await accepted(page)) === "1");
  assert.equal(await page.locator("#missed").count(), 0);

  await see(page, false);
  await until("it has let go", () => open() === 1);
  await job.kill(1);
  await last.getByText(/^serving, generation 2/).waitFor();
  await job.ready();
  await job.post("security.incident", [incident()]);
  await see(page, true);
  await page.locator("#missed", { hasText: "generation 1 → 2" }).waitFor();
  await page.locator("#missed", { hasText: "Nobody saw this page" }).waitFor();
  assert.match(await page.locator("#missed").textContent(), /Meanwhile 1 event came in and 1 were counted/);
});
