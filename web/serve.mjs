// The page's files from dist/, before a job that answers every other call: for whoever works on the page, and for tests.
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { pipeline } from "node:stream";
import { fileURLToPath } from "node:url";

const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), "dist");
// As the job sends it: what it forbids must not work here either.
const policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const kinds = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };

function passOn(job, request, response) {
  // The job answers to its own name only, and to pages of its own.
  const headers = { ...request.headers, host: job.host, ...(request.headers.origin && { origin: job.origin }) };
  const onward = http.request(
    { host: job.hostname, port: job.port, method: request.method, path: request.url, headers },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      // Cut where the job's answer is cut.
      pipeline(answer, response, () => {});
    },
  );
  onward.on("error", (error) =>
    response.headersSent ? response.destroy() : response.writeHead(502).end(String(error)),
  );
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

/** `job` is its URL. */
export function serve(job, port) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const name =
      pathname === "/" ? "index.html" : (/^\/(?:assets\/)?([\w.-]+\.(?:js|css|svg))$/.exec(pathname)?.[1] ?? "");
    const bytes = name && (await readFile(path.join(dist, name)).catch(() => null));
    if (!bytes) return passOn(job, request, response);
    const kind = kinds[name.split(".").pop()];
    const headers = { "Content-Type": kind, "Cache-Control": "no-store", "Content-Security-Policy": policy };
    response.writeHead(200, headers).end(bytes);
  });
  return server.listen(port, "127.0.0.1");
}
