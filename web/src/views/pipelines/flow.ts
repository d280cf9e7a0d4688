// What a pipeline consists of as a graph, and where its nodes stand: columns in the order an event travels. Knows nothing of the page.
import type { Cluster, Pipeline } from "../../types.ts";

export type Kind = "topic" | "process" | "letters" | "window" | "view" | "emitted" | "alert" | "webhook";

export interface Node {
  id: string;
  kind: Kind;
  /** Empty where the kind says it all. */
  name: string;
  column: number;
  x: number;
  y: number;
}

export interface Edge {
  from: Node;
  to: Node;
  /** A second; null where the job does not tell. */
  rate: number | null;
  of: "events" | "rows" | "rejected";
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  width: number;
  height: number;
}

export const NODE_WIDTH = 184;
export const NODE_HEIGHT = 50;
const GAP_X = 70;
const GAP_Y = 14;

export function graph(pipeline: Pipeline, cluster: Cluster): Graph {
  const { flow } = pipeline;
  const nodes = new Map<string, Node>();
  const edges: Edge[] = [];
  const node = (kind: Kind, name: string, column: number): Node => {
    const id = `${kind} ${name}`;
    const there = nodes.get(id);
    if (there !== undefined) {
      there.column = Math.max(there.column, column);
      return there;
    }
    const made = { id, kind, name, column, x: 0, y: 0 };
    nodes.set(id, made);
    return made;
  };
  const edge = (from: Node, to: Node, rate: number | null, of: Edge["of"] = "events") => {
    edges.push({ from, to, rate, of });
  };
  const rates = ratesOf(pipeline, cluster);

  const process = node("process", "", 1);
  for (const topic of pipeline.topics) edge(node("topic", topic, 0), process, rates.topic(topic));
  for (const { window, topic } of flow.windows) {
    const to = node("window", window, 2);
    edge(process, to, rates.rows(window), "rows");
    if (topic !== null) edge(to, node("emitted", topic, 3), rates.topic(topic));
  }
  for (const view of flow.views) edge(process, node("view", view, 2), null);
  for (const { topic } of flow.emits) edge(process, node("emitted", topic, 2), rates.topic(topic));
  for (const { alert, on, topic } of flow.alerts) {
    // A pattern is seen in the events themselves.
    const from = on === null ? process : node("window", on, 2);
    const to = node("alert", alert, from.column + 1);
    edge(from, to, null);
    if (topic !== null) edge(to, node("emitted", topic, to.column + 1), null);
  }
  for (const { webhook, on } of flow.webhooks) {
    const alerts = on.map((alert) => node("alert", alert, 2));
    const to = node("webhook", webhook, Math.max(2, ...alerts.map((alert) => alert.column)) + 1);
    for (const alert of alerts) edge(alert, to, null);
  }
  edge(process, node("letters", "", 2), rates.rejected, "rejected");
  return { nodes: [...nodes.values()], edges, ...place([...nodes.values()], edges) };
}

function ratesOf(pipeline: Pipeline, cluster: Cluster) {
  const windows = cluster.pipelines.find((status) => status.pipeline === pipeline.name)?.windows;
  const of = (name: string) => cluster.topics.find((topic) => topic.topic === name)?.per_second;
  const rejected = pipeline.topics.map((name) => (of(name)?.invalid ?? 0) + (of(name)?.late ?? 0));
  return {
    topic: (name: string) => of(name)?.accepted ?? 0,
    rows: (name: string) => windows?.find((window) => window.window === name)?.rows_per_second ?? null,
    rejected: rejected.reduce((sum, rate) => sum + rate, 0),
  };
}

/** Columns without nodes take no room; in each, nodes stand in the order of what leads to them, and dead letters last. */
function place(nodes: Node[], edges: Edge[]): { width: number; height: number } {
  const used = [...new Set(nodes.map((node) => node.column))].sort((a, b) => a - b);
  const columns = used.map((column) => nodes.filter((node) => node.column === column));
  const rows = Math.max(...columns.map((column) => column.length));
  const height = rows * (NODE_HEIGHT + GAP_Y) - GAP_Y;
  columns.forEach((column, at) => {
    const heights = new Map(column.map((node) => [node, fromY(node, edges)]));
    column.sort((a, b) => (heights.get(a) ?? 0) - (heights.get(b) ?? 0));
    const used = column.length * (NODE_HEIGHT + GAP_Y) - GAP_Y;
    column.forEach((node, row) => {
      node.x = at * (NODE_WIDTH + GAP_X);
      node.y = (height - used) / 2 + row * (NODE_HEIGHT + GAP_Y);
    });
  });
  return { width: columns.length * (NODE_WIDTH + GAP_X) - GAP_X, height };
}

/** The middle of what leads to a node. */
function fromY(node: Node, edges: Edge[]): number {
  if (node.kind === "letters") return Infinity;
  const before = edges.filter((edge) => edge.to === node).map((edge) => edge.from.y);
  return before.length === 0 ? 0 : before.reduce((sum, y) => sum + y, 0) / before.length;
}
