// The README's pictures: a job under load, light and dark, on a desk and on a telephone.
//
//     CAUDAL_BIN=…/target/release/caudal npm run pictures
import path from "node:path";
import { Job, openPage, repository, until } from "./tests/support.mjs";

const ends = [];
const scope = { after: (end) => ends.push(end) };
const job = await Job.start(scope, {}, 4);
try {
  await job.json("/generator", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      rate: 200,
      seed: 11,
      duplicates: 0.02,
      invalid: 0.004,
      late: 0.002,
      out_of_order_ms: 1_000,
    }),
  });
  const desk = await openPage(scope, { viewport: { width: 1280, height: 1000 } });
  const dark = await openPage(scope, { viewport: { width: 1280, height: 1000 }, colorScheme: "dark" });
  const telephone = await openPage(scope, { viewport: { width: 390, height: 844 } });
  await desk.goto(`${job.page}/#/overview`);
  await dark.goto(`${job.page}/#/windows/civic_safety/by_region`);
  await telephone.goto(`${job.page}/#/overview`);
  await until("some windows are closed", async () => (await job.json("/ledger")).counted > 8_000);
  const shoot = (page, name) => page.screenshot({ path: path.join(repository, "docs", name) });
  await shoot(desk, "page.png");
  await shoot(dark, "page-dark.png");
  await shoot(telephone, "page-narrow.png");
} finally {
  for (const end of ends.reverse()) await end();
}
