// What no view shows, in either language: a value that was not there.
import assert from "node:assert/strict";
import test from "node:test";
import { incident } from "./incident.mjs";
import { Job, openPage, until } from "./support.mjs";

const VIEWS = ["overview", "pipelines", "pipelines/civic_safety", "pipelines/civic_safety?tab=file", "pipelines?new=1"];
VIEWS.push("windows", "windows/civic_safety/daily", "events", "events?topic=security.incident", "trigger", "letters");
VIEWS.push("ranks");

test("no view shows what is undefined or no number, and each choice has its words", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t);
  const event = incident();
  await job.post("security.incident", [event, { broken: true }]);
  await until("its row is there", async () => (await job.json("/windows")).windows.length > 0);
  const [row] = (await job.json("/windows")).windows;
  const places = [...VIEWS, `windows/${row.metric_id}`, `events/id/${event.event_id}`, "letters/1"];
  for (const language of ["en", "es"]) {
    await page.goto(job.page);
    await page.locator("header select").nth(1).selectOption(language);
    for (const place of places) {
      await page.goto(`${job.page}/#/${place}`);
      await page.locator("#state.good").waitFor();
      const shown = () => page.locator("body").evaluate((body) => `${body.innerText}\n${body.textContent}`);
      await until(`${place} has loaded`, async () => !/Loading …|Cargando …/.test(await shown()));
      assert.doesNotMatch(await shown(), /undefined|\bNaN\b|\[object|Invalid Date/, place);
    }
  }
  await page.goto(`${job.page}/#/windows`);
  const spans = async (label) => {
    const shows = page.getByRole("combobox", { name: label, exact: true });
    await shows.waitFor();
    assert.equal(await shows.inputValue(), "60");
    return shows.locator("option").allTextContents();
  };
  const last = (n) => `las últimas ${n} ventanas`;
  assert.deepEqual(await spans("Muestra"), [last(20), last(60), last(240), "un intervalo …"]);
  await page.locator("header select").nth(1).selectOption("en");
  const newest = (n) => `the last ${n} windows`;
  assert.deepEqual(await spans("Shows"), [newest(20), newest(60), newest(240), "a time span …"]);
});
