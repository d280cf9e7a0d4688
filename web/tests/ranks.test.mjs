import assert from "node:assert/strict";
import test from "node:test";
import { incident } from "./incident.mjs";
import { accessible, fits, Job, openPage, picture, until } from "./support.mjs";

const AWAY = /ERR_(CONNECTION|INCOMPLETE|EMPTY)|network error|Failed to load/;

test("ranks are shown with what they do, and what happened when one died", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { allowed: AWAY });
  await page.goto(`${job.page}/#/ranks`);
  await page.locator("#verdict", { hasText: "2 workers, none under pressure." }).waitFor();
  const column = async (head) => {
    const heads = await page.locator("#ranks thead th").allTextContents();
    return page.locator(`#ranks tbody td:nth-child(${heads.indexOf(head) + 1})`).allTextContents();
  };
  const events = async () => (await column("Events")).reduce((sum, text) => sum + Number(text), 0);

  await job.post(
    "security.incident",
    Array.from({ length: 60 }, () => incident()),
  );
  await until("the ranks have decoded them", async () => (await events()) >= 60);
  const { ranks } = await job.json("/cluster");
  assert.deepEqual(
    (await column("pid")).filter((pid) => ranks.some((rank) => String(rank.pid) === pid)),
    ranks.map((rank) => String(rank.pid)),
  );
  assert.match((await column("Back-pressure")).at(-1), /^OK \S+ %$/);
  await page.getByText("What these are").click();
  await page.getByText("event ids that it remembers").waitFor();
  await accessible(page);
  await picture(page, "ranks");

  await job.kill(1);
  await page.getByText(/^serving, generation 2/).waitFor();
  const start = page.locator('#starts tbody tr[data-key="2"]');
  await until("the second life is listed with its reason", async () => {
    const [generation, , why] = await start.locator("td").allTextContents();
    return generation === "2" && why.includes("rank 1 was killed by signal 9");
  });
  assert.equal(await page.locator("#starts tbody tr").count(), 2);
  await until("the new processes are shown", async () => {
    const now = (await job.json("/cluster")).ranks.map((rank) => String(rank.pid));
    const shown = await column("pid");
    return now.every((pid) => shown.includes(pid));
  });
  await page.locator("#verdict", { hasText: "none under pressure" }).waitFor();
  await picture(page, "ranks-relaunched");
});

test("back-pressure is OK, LOW or HIGH: of a rank, in what is said of the job, and on the way into a pipeline", async (t) => {
  const job = await Job.start(t, {}, 5);
  const page = await openPage(t);
  const { body } = await fetch(`${job.base}/live`);
  let snapshot = "";
  for await (const bytes of body.pipeThrough(new TextDecoderStream())) {
    snapshot += bytes;
    if (/^data: .*\n\n/m.test(snapshot)) break;
  }
  const now = JSON.parse(/^data: (.*)$/m.exec(snapshot)[1]);
  const shares = [0.1, 0.11, 0.5, 0.51];
  now.cluster.ranks.forEach((rank, nth) => (rank.back_pressure = shares[nth]));
  // The job's own stream, with other shares.
  await page.addInitScript(
    (frame) => {
      const ask = window.fetch;
      const start = (out) => void setInterval(() => out.enqueue(new TextEncoder().encode(frame)), 500);
      window.fetch = (call, options) =>
        call === "/live" ? Promise.resolve(new Response(new ReadableStream({ start }))) : ask(call, options);
    },
    `data: ${JSON.stringify(now)}\n\n`,
  );
  await page.goto(`${job.page}/#/ranks`);
  await page.locator("#ranks .badge").first().waitFor();
  assert.deepEqual(await page.locator("#ranks .badge").allTextContents(), [
    "OK 10 %",
    "LOW 11 %",
    "LOW 50 %",
    "HIGH 51 %",
  ]);
  await page.locator("#verdict", { hasText: "Under pressure: rank 2 (LOW), rank 3 (LOW), rank 4 (HIGH)." }).waitFor();
  await page.goto(`${job.page}/#/overview`);
  await page.locator("#verdict", { hasText: "Rank 4 has no credit 51 % of the time" }).waitFor();
  await page.goto(`${job.page}/#/pipelines/civic_safety`);
  await page.locator(".edge-text .level-high").first().waitFor();
  assert.deepEqual(await page.locator(".edge-text .level-high").allTextContents(), ["HIGH", "HIGH", "HIGH"]);
  await page.getByRole("link", { name: /Back-pressure HIGH 51 %/ }).waitFor();
  await accessible(page);
  await picture(page, "pipeline-pressed");
});

test("on a telephone, dark and in Spanish, the table scrolls in its own region", async (t) => {
  const job = await Job.start(t);
  const page = await openPage(t, { locale: "es-CL", colorScheme: "dark", viewport: { width: 390, height: 844 } });
  await page.goto(`${job.page}/#/ranks`);
  await page.getByText("2 procesos de trabajo, ninguno bajo presión.").waitFor();
  await accessible(page);
  await fits(page);
  await picture(page, "ranks-dark-narrow");
});
