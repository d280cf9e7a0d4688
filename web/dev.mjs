// The page while one works on it: built anew at each change, its files served from dist/, every other call passed on to a running job.
//
//     npm run dev                        the job is at http://localhost:5000, the page at http://localhost:5173
//     CAUDAL_URL=… PORT=… npm run dev
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const job = new URL(process.env.CAUDAL_URL ?? "http://localhost:5000");
const port = Number(process.env.PORT ?? 5173);
const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), "dist");
// As the job sends it: what it forbids must not work here either.
const policy = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const kinds = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };

function passOn(request, response) {
  // The job answers to its own name only, and to pages of its own.
  const headers = { ...request.headers, host: job.host, ...(request.headers.origin && { origin: job.origin }) };
  const onward = http.request(
    { host: job.hostname, port: job.port, method: request.method, path: request.url, headers },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    },
  );
  onward.on("error", (error) => response.writeHead(502).end(String(error)));
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

http
  .createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const name =
      pathname === "/" ? "index.html" : (/^\/(?:assets\/)?([\w.-]+\.(?:js|css|svg))$/.exec(pathname)?.[1] ?? "");
    const bytes = name && (await readFile(path.join(dist, name)).catch(() => null));
    if (!bytes) return passOn(request, response);
    const kind = kinds[name.split(".").pop()];
    const headers = { "Content-Type": kind, "Cache-Control": "no-store", "Content-Security-Policy": policy };
    response.writeHead(200, headers).end(bytes);
  })
  .listen(port, "127.0.0.1", () => console.log(`http://localhost:${port}/ for the job at ${job.origin}`));

process.argv.push("--watch");
await import("./build.mjs");
