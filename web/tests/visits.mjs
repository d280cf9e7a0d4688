// A job that counts visits, whose events may hold any text; and texts that a page must show as they are.
import path from "node:path";
import { fits, Job, picture, repository } from "./support.mjs";

export const SCRIPT = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">`;
export const RIGHT_TO_LEFT = "\u202eמימין לשמאל\u202c";
export const LONG = "long-".repeat(400);

export const visits = (test) => Job.start(test, { PIPELINES: path.join(repository, "web/tests/visits/pipeline.yaml") });

export const visit = (fields) => ({
  id: crypto.randomUUID(),
  at: new Date().toISOString(),
  place: "park",
  stay: 10,
  ...fields,
});

/** A time before now, at the beginning of one of the windows of ten seconds. */
export const windowStart = (secondsAgo) => Math.floor((Date.now() - secondsAgo * 1_000) / 10_000) * 10_000;

export const instant = (ms) => new Date(ms).toISOString();

/** What a killed rank makes a browser say. */
export const CUT = /ERR_(CONNECTION|INCOMPLETE|EMPTY|ABORTED)|network error|Failed to (load|fetch)/;

/** The page as it is, on a telephone: nothing is wider than its screen but what scrolls by itself. */
export async function narrow(page, name) {
  const before = page.viewportSize();
  await page.setViewportSize({ width: 390, height: 844 });
  await fits(page);
  await picture(page, `${name}-narrow`);
  await page.setViewportSize(before);
}
