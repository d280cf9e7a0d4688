// Builds the page into dist/, which the program embeds: one script, one style sheet, and the editor in a script of its own that is loaded when it is
// needed. File names do not change, so that no page of an older job asks for a file that is not there; each file lies there gzipped as well. What has
// not changed is not written again: the program would be compiled anew for it.
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import path from "node:path";
import * as esbuild from "esbuild";
import { circle, FIRST_PAINT_BYTES_MAX, firstPaintBytes } from "./limits.mjs";

const root = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(root, "dist");
const watch = process.argv.includes("--watch");

async function put(files) {
  await mkdir(dist, { recursive: true });
  for (const name of await readdir(dist)) {
    if (name !== ".gitkeep" && !files.has(name)) await rm(path.join(dist, name));
  }
  for (const [name, bytes] of files) {
    const file = path.join(dist, name);
    const old = await readFile(file).catch(() => null);
    if (old === null || !old.equals(bytes)) await writeFile(file, bytes);
  }
}

function faultsOf(files, { inputs, outputs }) {
  const faults = [];
  const bytes = firstPaintBytes(files, outputs);
  if (bytes > FIRST_PAINT_BYTES_MAX) {
    faults.push(`before the first paint come ${bytes} bytes gzipped, more than ${FIRST_PAINT_BYTES_MAX}`);
  }
  const round = circle(inputs);
  if (round !== null) faults.push(`files import each other: ${round.join(" > ")}`);
  return faults;
}

const finish = {
  name: "finish",
  setup(build) {
    build.onEnd(async ({ errors, metafile, outputFiles }) => {
      if (errors.length > 0) return;
      const files = new Map(outputFiles.map((file) => [path.basename(file.path), Buffer.from(file.contents)]));
      for (const name of ["index.html", "favicon.svg"]) files.set(name, await readFile(path.join(root, name)));
      const faults = watch ? [] : faultsOf(files, metafile);
      if (faults.length > 0) return { errors: faults.map((text) => ({ text })) };
      for (const [name, bytes] of [...files]) files.set(`${name}.gz`, gzipSync(bytes, { level: 9 }));
      await put(files);
    });
  },
};

const options = {
  absWorkingDir: root,
  entryPoints: { app: "src/main.tsx", style: "style.css" },
  outdir: dist,
  bundle: true,
  splitting: true,
  // A script that is loaded later has the name of the file it begins with; what several share is `chunk`.
  chunkNames: "[name]",
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: !watch,
  legalComments: "linked",
  write: false,
  metafile: true,
  plugins: [finish],
  logLevel: "warning",
};
if (watch) {
  await (await esbuild.context(options)).watch();
} else {
  await esbuild.build(options);
}
