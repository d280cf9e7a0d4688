// What somebody does who has read the README and nothing else: all of it in the page.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test from "node:test";
import { accessible, Job, openPage, picture, repository, until } from "./support.mjs";

/** What somebody pastes over a whole text of the editor. */
async function paste(page, of, text) {
  // Until the editor is there a plain field stands in its place.
  const editor = page.locator(".cm-content").and(page.getByRole("textbox", { name: `Text of ${of}` }));
  await editor.click();
  await page.keyboard.press("Control+a");
  await editor.evaluate((element, pasted) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", pasted);
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, text);
}

/** The text that the tutorial has its reader write to this file. */
function fileOf(tutorial, name) {
  const begin = `$ cat > ${name} <<'END'\n`;
  const from = tutorial.indexOf(begin) + begin.length;
  assert.ok(from >= begin.length, name);
  return tutorial.slice(from, tutorial.indexOf("\nEND\n", from) + 1);
}

test("the tutorial's words lead through the page", async (t) => {
  const tutorial = await readFile(path.join(repository, "docs/tutorial.md"), "utf8");
  /** Words of the tutorial for what the page shows: they are those of the page. */
  const told = (words) => {
    assert.ok(tutorial.includes(words), `the tutorial does not say ${words}`);
    return words.replaceAll(/[*`]/g, "");
  };
  const job = await Job.start(t);
  const page = await openPage(t);
  await page.goto(job.page);
  const view = (name) => page.getByRole("banner").getByRole("link", { name: told(`**${name}**`), exact: true });
  const button = (name) => page.getByRole("button", { name, exact: true });

  await view("Trigger").click();
  await button(told("**Send**")).click();
  await page.locator("#trigger-result", { hasText: told("`counted at offset 0`") }).waitFor();
  told("three links");
  const links = page.locator("#trigger-went a");
  await until("there are three links", async () => (await links.count()) === 3);
  assert.equal(await links.first().textContent(), told("*the event itself*"));
  told("begins with *into*");
  await links
    .filter({ hasText: /^into / })
    .first()
    .click();
  await page.locator("#lineage tbody tr a").first().waitFor();
  await view("Overview").click();
  const ledger = () => page.locator("#ledger tbody tr td:nth-child(2)").allTextContents();
  told("Some ten seconds later it has two of each");
  await until("the closed row is an event too", async () => (await ledger()).slice(0, 2).join() === "2,2");

  await view("Trigger").click();
  const json = page.locator("#trigger-json");
  told("change `severity` to something that the schema does not allow");
  await json.fill((await json.inputValue()).replace(/("severity": )"\w+"/, '$1"dreadful"'));
  await button("Send").click();
  await page.locator("#trigger-result", { hasText: told("`invalid`") }).waitFor();
  await view("Dead letters").click();
  await page.locator("#letters tbody").getByRole("link").first().click();
  assert.equal(await page.locator("pre mark").textContent(), '"dreadful"');
  await button(told("*Select the fault in the text*")).click();
  const selected = () => document.activeElement.value.slice(document.activeElement.selectionStart).slice(0, 10);
  assert.equal(await page.evaluate(selected), '"dreadful"');
  await page.keyboard.type('"low"');
  await button(told("*Send in its place*")).click();
  await page.getByText("The new event is counted").waitFor();

  await view("Pipelines").click();
  await page.getByRole("link", { name: told("*New pipeline*") }).click();
  await page.getByLabel("It reads").selectOption(told("*a topic of its own, with its schema*"));
  await button(told("*Write it*")).click();
  await paste(page, "pipeline file", fileOf(tutorial, "bikes/bikes.yaml"));
  await page
    .getByText(told("the text of the schema `trip.json` is not there").replace("trip.json", '"trip.json"'))
    .first()
    .waitFor();
  await accessible(page);
  await picture(page, "newcomer-schema");
  await button(told("*Add a schema trip.json*")).click();
  await paste(page, "trip.json", fileOf(tutorial, "bikes/trip.json"));
  await page.getByText("pipeline bikes is added").waitFor();
  await page.getByText("The file's tests pass.").waitFor();
  await button(told("*Add to the job*")).click();
  await page.getByRole("region", { name: "Flow of bikes" }).waitFor();
  assert.deepEqual(Object.keys((await job.json("/pipelines/bikes")).schemas), ["trip.json"]);
});

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
