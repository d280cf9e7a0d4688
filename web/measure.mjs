// What the page costs, on this machine: its first paint, its bytes, and the CPU of rank 0 for the live streams of 100
// browsers. The pages of one browser share a stream.
//
//     CAUDAL_BIN=…/target/release/caudal npm run measure
import { readdir, readFile, stat } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { Job, openPage } from "./tests/support.mjs";

const PAINTS = 7;
const BROWSERS = 100;
const SECONDS = 20;
/** The kernel counts CPU in hundredths of a second. */
const TICKS_PER_SECOND = 100;

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1_000));

async function paints(job, ends) {
  const page = await openPage({ after: (end) => ends.push(end) });
  const firsts = [];
  for (let i = 0; i < PAINTS; i++) {
    await page.goto("about:blank");
    await page.goto(job.base);
    await page.locator("#ledger").waitFor();
    const script = () => performance.getEntriesByName("first-contentful-paint")[0].startTime;
    firsts.push(await page.evaluate(script));
  }
  return median(firsts);
}

/** What comes before the first paint, gzipped. */
async function transferred(job) {
  let sum = 0;
  for (const call of ["/", "/assets/app.js", "/assets/style.css", "/favicon.svg"]) {
    sum += await new Promise((done, fail) => {
      const headers = { "accept-encoding": "gzip" };
      http
        .get(`${job.base}${call}`, { headers }, (answer) => {
          let length = 0;
          answer.on("data", (bytes) => (length += bytes.length));
          answer.on("end", () => done(length));
        })
        .on("error", fail);
    });
  }
  return sum;
}

async function rankZero(job) {
  for (const pid of await readdir("/proc")) {
    const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    const data = `DATA_DIR=${path.join(job.folder, "data")}`;
    if (environment.includes(`${data}\0`) && environment.includes("OMPI_COMM_WORLD_RANK=0\0")) return pid;
  }
  throw new Error("rank 0 was not found");
}

/** The share of a core that rank 0 takes over the next seconds. */
async function load(pid) {
  const ticks = async () => {
    const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1].split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  const before = await ticks();
  await wait(SECONDS);
  return ((await ticks()) - before) / TICKS_PER_SECOND / SECONDS;
}

async function pages(job) {
  const pid = await rankZero(job);
  const alone = await load(pid);
  const open = [];
  let bytes = 0;
  for (let i = 0; i < BROWSERS; i++) {
    const request = http.get(`${job.base}/live`, { agent: false }, (answer) => {
      answer.on("data", (data) => (bytes += data.length));
    });
    request.on("error", () => {});
    open.push(request);
  }
  await wait(2);
  const watched = await load(pid);
  open.forEach((request) => request.destroy());
  return { alone, watched, bytes };
}

const ends = [];
const job = await Job.start({ after: (end) => ends.push(end) });
try {
  await job.json("/generator", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ rate: Number(process.env.RATE ?? 20) }),
  });
  const { size } = await stat(process.env.CAUDAL_BIN);
  const percent = (share) => `${(share * 100).toFixed(1)} % of a core`;
  console.log(`first contentful paint, median of ${PAINTS}: ${(await paints(job, ends)).toFixed(0)} ms`);
  console.log(`before the first paint: ${((await transferred(job)) / 1_000).toFixed(1)} kB gzipped`);
  const { alone, watched, bytes } = await pages(job);
  console.log(
    `rank 0 alone ${percent(alone)}, with the streams of ${BROWSERS} browsers ${percent(watched)}: ${percent(watched - alone)} for them`,
  );
  console.log(
    `sent to them: ${(bytes / 1e6 / SECONDS).toFixed(2)} MB/s; the program has ${(size / 1e6).toFixed(0)} MB`,
  );
} finally {
  for (const end of ends.reverse()) await end();
}
