// What somebody does who has read the README and nothing else: all of it in the page.
import assert from "node:assert/strict";
import test from "node:test";
import { Job, openPage, picture, until } from "./support.mjs";

test("from the first event to a pipeline of one's own", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: /404 \(Not Found\)/ });
  await page.goto(job.page);
  const view = (name) => page.getByRole("banner").getByRole("link", { name, exact: true });

  // An event is triggered, and counted.
  await view("Trigger").click();
  await page.getByLabel("Topic").selectOption("security.incident");
  await page.locator("#trigger-send").click();
  await page.locator("#trigger-result", { hasText: "counted at offset 0" }).waitFor();
  const sent = JSON.parse(await page.locator("#trigger-json").inputValue());
  await view("Overview").click();
  await until("it is in the ledger", async () =>
    (await page.locator("#ledger").textContent()).replace(/\s/g, "").includes("counted1"),
  );

  // The events behind a number.
  await view("Windows").click();
  await page.locator("#rows tbody tr", { hasText: sent.region }).first().getByRole("link").first().click();
  await page.getByRole("link", { name: `Event ${sent.event_id}` }).click();
  await page.getByRole("heading", { name: sent.event_id }).waitFor();

  // A refused event is mended.
  await view("Trigger").click();
  await page.getByLabel("Topic").selectOption("security.incident");
  const json = page.locator("#trigger-json");
  const wrong = JSON.parse(await json.inputValue());
  await json.fill(JSON.stringify({ ...wrong, region: "nowhere" }));
  await page.locator("#trigger-send").click();
  await page.locator("#trigger-result", { hasText: "invalid" }).waitFor();
  await view("Dead letters").click();
  await page.locator("#letters tbody").getByRole("link").first().click();
  const editor = page.getByLabel("The event to send in its place");
  await editor.fill((await editor.inputValue()).replace("nowhere", wrong.region));
  await page.getByRole("button", { name: "Send in its place" }).click();
  await page.getByText("The new event is counted").waitFor();

  // A pipeline is written, and its chart is seen.
  await view("Pipelines").click();
  await page.getByRole("link", { name: "New pipeline" }).click();
  await page.getByLabel("It reads").selectOption("security.incident");
  await page.getByRole("button", { name: "Write it" }).click();
  await page.getByText("pipeline my_pipeline is added").waitFor();
  await page.getByLabel("with the log's past, from").check();
  await page.getByRole("button", { name: "Add to the job" }).click();
  await page.getByRole("region", { name: "Flow of my_pipeline" }).waitFor();
  await page
    .getByRole("region", { name: "Flow of my_pipeline" })
    .getByRole("link", { name: /^window / })
    .click();
  await page.locator("figure").first().waitFor();
  await until("its row is shown", async () => (await page.locator("#rows tbody tr a").count()) > 0);
  const { windows } = await job.json("/windows?pipeline=my_pipeline");
  assert.equal(
    windows.reduce((sum, row) => sum + row.event_count, 0),
    2,
  );
  await picture(page, "newcomer");
});
