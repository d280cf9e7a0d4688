import assert from "node:assert/strict";
import test from "node:test";
import { accessible, Job, openPage, picture, until } from "./support.mjs";

const event = (id) => ({
  event_id: id,
  timestamp: new Date().toISOString(),
  region: "RM",
  source: "security.incident",
  schema_version: "1.0",
  correlation_id: "099950d8-36f6-45cc-81e7-4ef5e8e25d94",
  payload: {
    crime_type: "assault",
    severity: "medium",
    location: { lat: -33.4, lon: -70.6 },
    reported_by: "citizen",
  },
});

test("the overview shows the ledger as it is, and survives a relaunch", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /ERR_(CONNECTION|INCOMPLETE|EMPTY)|network error|Failed to load/ });
  await page.goto(job.page);
  await page.getByText(/^serving, generation 1/).waitFor();

  const id = crypto.randomUUID();
  await job.post("security.incident", [event(id), event(id), { broken: true }]);
  const ledger = () => page.locator("#ledger tbody tr td:last-child").allTextContents();
  await until("the ledger shows them", async () => (await ledger()).join() === "3,1,1,0,1,0,0");
  assert.equal(await page.locator("#balances").textContent(), "balances ✓");
  await accessible(page);
  await picture(page, "overview");

  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  await page.locator("#missed", { hasText: "generation 1 → 2" }).waitFor();
  const fates = ["accepted", "counted", "duplicate", "filtered", "invalid", "late", "in_flight"];
  await until("the ledger is the job's", async () => {
    const known = await job.json("/ledger");
    return (await ledger()).join() === fates.map((fate) => known[fate]).join();
  });
});

test("it speaks Spanish, and is dark where that is asked for", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { locale: "es-CL", colorScheme: "dark" });
  await page.goto(job.page);
  await page.getByText(/^en servicio, generación 1/).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "es");
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, "the page is wider than a telephone");
  await picture(page, "overview-dark-narrow");
  await page.getByLabel("Idioma").selectOption("en");
  await page.getByText(/^serving, generation 1/).waitFor();
});
