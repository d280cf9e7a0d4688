// A real job and a real browser for a test of the page. Both end with the test.
import { AxeBuilder } from "@axe-core/playwright";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { access, mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "../serve.mjs";

export const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
/** Whatever is waited for comes within this, on a busy machine too. */
const PATIENCE_MS = 60_000;

export async function until(what, done) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await done();
    if (found) return found;
    assert.ok(Date.now() < end, `after ${PATIENCE_MS} ms: ${what}`);
    await new Promise((again) => setTimeout(again, 50));
  }
}

const opened = new WeakMap();

/** What a test opens is closed at its end, the last first: the page before the job that it asks. */
function atEnd(test, close) {
  if (!opened.has(test)) {
    const all = [];
    opened.set(test, all);
    test.after(async () => {
      const ended = [];
      for (const one of all.reverse()) ended.push(...(await Promise.allSettled([one()])));
      const failed = ended.find((one) => one.status === "rejected");
      if (failed) throw failed.reason;
    });
  }
  opened.get(test).push(close);
}

async function freePort() {
  const server = net.createServer();
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

/** A job under run_mpi.sh, on a port and in a folder of its own. */
export class Job {
  /** `env` goes over the settings: PIPELINES names the civic-safety application's file otherwise. */
  static async start(test, env = {}, ranks = 3) {
    const binary = process.env.CAUDAL_BIN;
    assert.ok(binary, "CAUDAL_BIN names no program: CAUDAL_BIN=…/target/release/caudal npm test");
    await access(binary);
    const job = new Job();
    job.folder = await mkdtemp(path.join(os.tmpdir(), "caudal-page-"));
    job.port = await freePort();
    job.base = `http://127.0.0.1:${job.port}`;
    job.output = path.join(job.folder, "output");
    const output = await open(job.output, "w");
    const settings = {
      CAUDAL_BIN: binary,
      DATA_DIR: path.join(job.folder, "data"),
      HTTP_PORT: String(job.port),
      PIPELINES: path.join(repository, "pipelines/civic_safety/pipeline.yaml"),
      LOG_RETENTION: "1d",
      ...env,
    };
    const kept = Object.entries(process.env).filter(([name]) => !/^(DB_|API_TOKENS|HTTP_|TLS_)/.test(name));
    job.script = spawn("bash", [path.join(repository, "run_mpi.sh"), "-n", String(ranks), "run"], {
      cwd: job.folder,
      env: { ...Object.fromEntries(kept), ...settings },
      stdio: ["ignore", output.fd, output.fd],
    });
    job.ended = new Promise((ended) => job.script.on("exit", ended));
    await output.close();
    atEnd(test, () => job.stop());
    await job.ready();
    job.page = process.env.PAGE_FROM_DIST ? await job.fromDist(test) : job.base;
    return job;
  }

  /** The page as it is in dist/ now, before the job whose program has embedded another. */
  async fromDist(test) {
    const port = await freePort();
    const server = serve(new URL(this.base), port);
    atEnd(test, () => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${port}`;
  }

  /** Waits until POST is served. */
  async ready() {
    await until("the job is ready", async () => {
      if (this.script.exitCode !== null) assert.fail(`the job ended:\n${await readFile(this.output, "utf8")}`);
      return fetch(`${this.base}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
    });
  }

  async json(call, options) {
    const answer = await fetch(`${this.base}${call}`, options);
    const text = await answer.text();
    assert.ok(answer.ok, `${call}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  /** Posts events, an object or an array, and waits for their fates. */
  post(topic, events) {
    const headers = { "content-type": "application/json" };
    return this.json(`/topics/${topic}/events?ack=applied`, { method: "POST", headers, body: JSON.stringify(events) });
  }

  /** Kills a rank; the script starts the job again. */
  async kill(rank) {
    for (const pid of await readdir("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const environment = (await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "")).split("\0");
      if (
        environment.includes(`DATA_DIR=${path.join(this.folder, "data")}`) &&
        environment.includes(`OMPI_COMM_WORLD_RANK=${rank}`)
      ) {
        process.kill(Number(pid), "SIGKILL");
        return;
      }
    }
    assert.fail(`no rank ${rank} runs`);
  }

  async stop() {
    if (this.script.exitCode === null) this.script.kill("SIGTERM");
    const code = await this.ended;
    const output = await readFile(this.output, "utf8");
    await rm(this.folder, { recursive: true });
    assert.equal(code, 0, `the job ended with ${code}:\n${output}`);
  }
}

/** A page of a browser; at the end of the test it must have complained of nothing but what `allowed` matches. */
export async function openPage(test, { allowed = /^$/, ...options } = {}) {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  await access(executablePath).catch(() => assert.fail(`${executablePath} is missing: apt-get install chromium`));
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  // In a context of its own: axe opens a second page beside it.
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.text()} ${message.location().url}`);
  });
  atEnd(test, async () => {
    await browser.close();
    assert.deepEqual(
      complaints.filter((complaint) => !allowed.test(complaint)),
      [],
    );
  });
  return page;
}

/** Nothing serious is in the way of whoever uses a screen reader or the keyboard. */
export async function accessible(page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  assert.deepEqual(
    serious.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(" ")}`),
    [],
  );
}

/** Nothing is wider than the window; charts take its new width a moment after it has changed. */
export async function fits(page) {
  await until("nothing is wider than the window", () =>
    page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
  );
}

/** Where PICTURES names a folder, a picture of the page as it is. */
export async function picture(page, name) {
  const folder = process.env.PICTURES;
  if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
}
