// What the page as it was built must keep to: what comes before its first paint is small, and no file needs itself in order to be read.
import { gzipSync } from "node:zlib";
import path from "node:path";

export const FIRST_PAINT_BYTES_MAX = 150_000;

/** What comes before the first paint, gzipped: the page, its style, its script, and what that imports at once. */
export function firstPaintBytes(files, outputs) {
  const imports = new Map(Object.entries(outputs).map(([at, { imports }]) => [path.basename(at), imports]));
  const wanted = new Set(["index.html", "favicon.svg", "style.css", "app.js"]);
  for (const name of wanted) {
    for (const { path: at, kind } of imports.get(name) ?? []) {
      if (kind !== "dynamic-import") wanted.add(path.basename(at));
    }
  }
  return [...wanted].reduce((sum, name) => sum + gzipSync(files.get(name), { level: 9 }).length, 0);
}

/** Files that import each other in a circle, where one reads what another has not set yet; null where there is none. */
export function circle(inputs) {
  const done = new Set();
  const from = (file, way) => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const { path: at } of inputs[file]?.imports ?? []) {
      const found = from(at, [...way, file]);
      if (found !== null) return found;
    }
    done.add(file);
    return null;
  };
  for (const file of Object.keys(inputs).filter((file) => file.startsWith("src/"))) {
    const found = from(file, []);
    if (found !== null) return found;
  }
  return null;
}
