// The layout of a pipeline's flow, without a page.
import assert from "node:assert/strict";
import test from "node:test";
import * as esbuild from "esbuild";

const { outputFiles } = await esbuild.build({
  entryPoints: [new URL("../src/views/pipelines/flow.ts", import.meta.url).pathname],
  bundle: true,
  format: "esm",
  write: false,
});
const { graph } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);

const PIPELINE = { name: "p", topics: ["a", "b"], windows: ["w"], version: "1", text: "" };
const NOTHING = { windows: [], views: [], emits: [], alerts: [], webhooks: [] };
const CLUSTER = { pipelines: [], ranks: [], topics: [] };
const name = (node) => `${node.kind} ${node.name}`.trim();
const edges = (drawn) => drawn.edges.map(({ from, to }) => `${name(from)} > ${name(to)}`);

test("what leads to what", () => {
  const check = (flow, expected) => {
    const drawn = graph({ ...PIPELINE, flow: { ...NOTHING, ...flow } }, CLUSTER);
    const always = ["topic a > process", "topic b > process", "process > letters"];
    assert.deepEqual(
      edges(drawn).filter((edge) => !always.includes(edge)),
      expected,
    );
  };
  check({}, []);
  check({ windows: [{ window: "w", topic: "t" }] }, ["process > window w", "window w > emitted t"]);
  check({ views: ["v"], emits: [{ topic: "t", from: ["a"] }] }, ["process > view v", "process > emitted t"]);
  check(
    {
      windows: [{ window: "w", topic: null }],
      alerts: [
        { alert: "surge", on: "w", topic: "t" },
        { alert: "blocked", on: null, topic: "t" },
      ],
      webhooks: [{ webhook: "ops", on: ["surge", "blocked"] }],
    },
    [
      "process > window w",
      "window w > alert surge",
      "alert surge > emitted t",
      "process > alert blocked",
      "alert blocked > emitted t",
      "alert surge > webhook ops",
      "alert blocked > webhook ops",
    ],
  );
});

test("nodes lie in columns from left to right, and none upon another", () => {
  const flow = {
    windows: Array.from({ length: 12 }, (_, at) => ({ window: `w${at}`, topic: `t${at % 3}` })),
    views: ["v"],
    emits: [],
    alerts: Array.from({ length: 9 }, (_, at) => ({ alert: `a${at}`, on: `w${at}`, topic: "t0" })),
    webhooks: [{ webhook: "h", on: ["a1", "a2"] }],
  };
  const { nodes, edges, width, height } = graph({ ...PIPELINE, flow }, CLUSTER);
  for (const { from, to } of edges) assert.ok(from.x < to.x, `${name(from)} > ${name(to)}`);
  assert.equal(new Set(nodes.map(({ x, y }) => `${x} ${y}`)).size, nodes.length);
  for (const node of nodes) assert.ok(node.x >= 0 && node.y >= 0 && node.x < width && node.y < height, name(node));
});

test("rates are those of the topic and of the window; none of a window that the job does not know yet", () => {
  const flow = { ...NOTHING, windows: [{ window: "w", topic: null }] };
  const rates = (cluster) => graph({ ...PIPELINE, flow }, cluster).edges.map((edge) => edge.rate);
  const fates = (accepted, invalid) => ({ per_second: { accepted, counted: 0, invalid, late: 1 } });
  assert.deepEqual(rates(CLUSTER), [0, 0, null, 0]);
  const told = {
    topics: [
      { topic: "a", ...fates(5, 2) },
      { topic: "c", ...fates(9, 9) },
    ],
    pipelines: [{ pipeline: "p", windows: [{ window: "w", rows_per_second: 4 }] }],
    ranks: [],
  };
  assert.deepEqual(rates(told), [5, 0, 4, 3]);
});
