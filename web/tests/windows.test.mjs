import assert from "node:assert/strict";
import test from "node:test";
import { accessible, openPage, picture, until } from "./support.mjs";
import { CUT, instant, LONG, narrow, RIGHT_TO_LEFT, SCRIPT, visit, visits, windowStart } from "./visits.mjs";

/** Whether a canvas shows more than axes and their texts, which are grey: anything in a colour. */
const isDrawn = (canvas) =>
  canvas.evaluate((element) => {
    const { data } = element.getContext("2d").getImageData(0, 0, element.width, element.height);
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, seen] = data.slice(at, at + 4);
      if (seen > 200 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) return true;
    }
    return false;
  });

test("rows by group, a late revision, and the way to the events and back", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: CUT });
  await page.goto(`${job.page}/#/windows`);
  await page.getByText("No row yet").waitFor();

  const start = windowStart(120);
  const late = visit({ at: instant(start + 5_000), stay: 31.5 });
  await job.post("visit", [
    visit({ at: instant(start + 1_000), stay: 1 }),
    visit({ at: instant(start + 2_000), place: SCRIPT, note: RIGHT_TO_LEFT }),
    visit({ at: instant(start + 3_000), place: LONG }),
  ]);
  await job.post("visit", [visit({ at: instant(start + 40_000), place: "pier" })]);
  const row = page.locator("#rows tbody tr", { hasText: "park" });
  await row.getByText("closed").waitFor();
  assert.deepEqual(await row.locator("td.n").allTextContents(), ["1", "1", "1", "1"]);
  await page.locator("#rows").getByText(SCRIPT).waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);

  await job.post("visit", [late]);
  await row.getByText("revised").waitFor();
  await row.getByText("was n 1").waitFor();
  assert.deepEqual(await row.locator("td.n").allTextContents(), ["2", "16.3", "31.5", "2"]);
  await page.locator(".u-legend", { hasText: "park" }).waitFor();
  await until("the chart has lines", () => isDrawn(page.locator("figure canvas").first()));
  await accessible(page);
  await picture(page, "windows");
  await narrow(page, "windows");

  // By keyboard to the events behind the row, to one of them, to a row that it went into.
  await row.getByRole("link").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "by_place · park" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "by_place · park");
  await until("both events are there", async () => (await page.locator("#lineage tbody tr").count()) === 2);
  await until("both publications are there", async () => (await page.locator("#revisions tbody tr").count()) === 2);
  assert.deepEqual(await page.locator("#revisions mark").allTextContents(), ["2", "16.3", "31.5"]);
  await accessible(page);
  await picture(page, "windows-row");
  await narrow(page, "windows-row");
  await page.getByRole("link", { name: `Event ${late.id}` }).click();
  await page.locator("pre", { hasText: "31.5" }).waitFor();
  await page.locator("#metrics").getByRole("link", { name: "visits.by_place" }).click();
  await page.getByRole("heading", { name: "by_place · park" }).waitFor();
  await page.getByRole("link", { name: "All rows" }).click();

  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await job.ready();
  await row.getByText("closed").waitFor();
  await job.post("visit", [visit({ at: instant(start + 6_000), stay: 0 })]);
  await row.getByText("revised 2 ×").waitFor();
});

test("filters stand in the address, and a refused one shows the server's words", async (t) => {
  const job = await visits(t);
  const page = await openPage(t, { allowed: /400 \(Bad Request\)|404 \(Not Found\)/ });
  const start = windowStart(300);
  const places = ["a", "b", "c", "d", "e", "f", "g", "h"];
  await job.post(
    "visit",
    [0, 1, 2].flatMap((window) =>
      places.map((place, nth) => visit({ at: instant(start + window * 10_000), place, stay: nth })),
    ),
  );
  await page.goto(`${job.page}/#/windows/visits/by_place?metric=longest`);
  await page.getByText("2 smaller groups are in the table only: g, h").waitFor();
  assert.equal(await page.getByLabel("Metric").inputValue(), "longest");
  const place = page.getByRole("combobox", { name: "place", exact: true });
  await place.fill("c");
  await place.press("Enter");
  await until("only its rows are shown", async () => (await page.locator("#rows tbody tr").count()) === 3);
  assert.match(page.url(), /group\.place=c/);
  await page.getByLabel("Shows").selectOption("a time span …");
  await page.getByLabel("Before (UTC)").fill(instant(start + 10_000).slice(0, 19));
  await until("only the first is shown", async () => (await page.locator("#rows tbody tr").count()) === 1);
  const address = page.url();
  await page.goto("about:blank");
  await page.goto(address);
  await until("a link opens the same", async () => (await page.locator("#rows tbody tr").count()) === 1);
  await page.getByRole("link", { name: "Clear filters" }).click();
  await until("all are shown", async () => (await page.locator("#rows tbody tr").count()) === 24);

  await page.goto(`${job.page}/#/windows/visits/by_nothing`);
  await page.getByText('window="by_nothing": allowed are by_place').waitFor();
  await page.goto(`${job.page}/#/windows/${crypto.randomUUID()}`);
  await page.getByText("This row is not there yet").waitFor();
  await page.getByText("no row has the metric_id").waitFor();
  await accessible(page);
});
