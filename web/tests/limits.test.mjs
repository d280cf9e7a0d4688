// What the build refuses, without a page.
import assert from "node:assert/strict";
import test from "node:test";
import { circle, firstPaintBytes } from "../limits.mjs";

test("files that import each other in a circle are found", () => {
  const inputs = (edges) =>
    Object.fromEntries(Object.entries(edges).map(([from, to]) => [from, { imports: to.map((path) => ({ path })) }]));
  const check = (edges, expected) => assert.deepEqual(circle(inputs(edges)), expected);
  check({}, null);
  check({ "src/a": ["src/b", "src/c"], "src/b": ["src/c"], "src/c": [] }, null);
  check({ "src/a": ["src/b"], "src/b": ["src/c"], "src/c": ["src/b"] }, ["src/b", "src/c", "src/b"]);
});

test("before the first paint comes what the page's script imports at once, and nothing that it loads later", () => {
  const bytes = (size) => crypto.getRandomValues(Buffer.alloc(size));
  const files = new Map([
    ["index.html", bytes(10)],
    ["favicon.svg", bytes(10)],
    ["style.css", bytes(10)],
    ["app.js", bytes(1_000)],
    ["chunk.js", bytes(10_000)],
    ["later.js", bytes(60_000)],
  ]);
  const imports = [
    { path: "dist/chunk.js", kind: "import-statement" },
    { path: "dist/later.js", kind: "dynamic-import" },
  ];
  const sum = firstPaintBytes(files, { "dist/app.js": { imports }, "dist/chunk.js": { imports: [] } });
  // Random bytes are not made smaller; gzip adds some of its own to each.
  assert.ok(sum > 11_030 && sum < 11_300, `${sum}`);
});
