import assert from "node:assert/strict";
import path from "node:path";
import test from "node:test";
import { incident } from "./incident.mjs";
import { accessible, fits, Job, openPage, picture, repository, until } from "./support.mjs";

test("the overview shows the ledger as it is, and survives a relaunch", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /ERR_(CONNECTION|INCOMPLETE|EMPTY)|network error|Failed to load/ });
  await page.goto(job.page);
  await page.getByText(/^serving, generation 1/).waitFor();

  const id = crypto.randomUUID();
  await job.post("security.incident", [incident({ event_id: id }), incident({ event_id: id }), { broken: true }]);
  const ledger = () => page.locator("#ledger tbody tr td:nth-child(2)").allTextContents();
  await until("the ledger shows them", async () => (await ledger()).join() === "3,1,1,0,1,0,0");
  assert.equal(await page.locator("#balances").textContent(), "balances ✓");
  // While nobody points at a chart, its legend has the newest figures.
  const legend = page.locator(".u-legend").first();
  await legend.filter({ hasText: /Time\s*\d\d:\d\d:\d\d/ }).waitFor();
  await legend.filter({ hasText: /accepted\s*\d/ }).waitFor();
  await page.locator("#verdict", { hasText: "Events refused or late: " }).waitFor();
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
  assert.equal(await page.locator("#balances").textContent(), "balances ✓");
});

test("alerts are shown with their state and what raised them, and a refusal in the server's words", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /status of 400/ });
  await page.goto(`${job.page}/#/overview`);
  await page.locator("#verdict", { hasText: "All is well." }).waitFor();
  await job.post(
    "security.incident",
    Array.from({ length: 101 }, () => incident()),
  );
  const row = page.locator("#alerts tbody tr", { hasText: "civic_safety.surge" });
  await row.getByText("security.incident · RM").waitFor();
  await row.getByText(/^n 101/).waitFor();
  await accessible(page);
  await picture(page, "overview-alert");

  await page.goto(`${job.page}/#/overview?pipeline=none`);
  await page.locator("#alerts .bad", { hasText: "pipeline" }).waitFor();
});

test("how far behind the slowest pipeline is that has events; one that has none is idle", async (t) => {
  const files = ["civic_safety/pipeline.yaml", "login_guard/pipeline.yaml", "login_guard/states.yaml"];
  const PIPELINES = files.map((file) => path.join(repository, "pipelines", file)).join();
  const job = await Job.start(t, { PIPELINES });
  const page = await openPage(t);
  await page.goto(`${job.page}/#/overview`);
  await page.locator("#watermark", { hasText: "idle" }).waitFor();
  const lag = (name) => page.locator("#pipelines tbody tr", { hasText: name }).locator("td").nth(1);
  await until("the figure is that of the one with events", async () => {
    await job.post("security.incident", [incident()]);
    const of = await page.locator("#watermark + small").allTextContents();
    return of.join() === "civic_safety" && /^\d.* m?s$/.test(await page.locator("#watermark").textContent());
  });
  assert.match(await lag("civic_safety").textContent(), /^\d.* m?s$/);
  assert.match(await lag("login_states").textContent(), /^(no event yet|idle, at )/);
  await lag("civic_safety")
    .filter({ hasText: /^idle, at \d\d:\d\d:\d\d$/ })
    .waitFor();
  await page.locator("#watermark", { hasText: "idle" }).waitFor();
});

test("it speaks Spanish, and is dark where that is asked for", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { locale: "es-CL", colorScheme: "dark" });
  await page.goto(job.page);
  await page.getByText(/^en servicio, generación 1/).waitFor();
  assert.equal(await page.locator("html").getAttribute("lang"), "es");
  await accessible(page);
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);
  await picture(page, "overview-dark-narrow");
  await page.getByLabel("Idioma").selectOption("en");
  await page.getByText(/^serving, generation 1/).waitFor();
});
