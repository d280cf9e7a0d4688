// A pipeline's flow as a picture, and the same as a table. Nodes lead to the views that show what is in them.
import { useId } from "preact/hooks";
import { number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { type Level, level, Pressure } from "../../parts/pressure.tsx";
import { Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { Cluster, Pipeline } from "../../types.ts";
import { type Edge, type Graph, graph, type Node, NODE_HEIGHT, NODE_WIDTH } from "./flow.ts";

/** Room around the picture, for the ring of a node that has the focus. */
const MARGIN = 4;

export function Picture({ pipeline, cluster }: { pipeline: Pipeline; cluster: Cluster }) {
  const say = words().pipelines;
  const drawn = graph(pipeline, cluster);
  // What is read waits for the rank that has come least far.
  const share = Math.max(0, ...cluster.ranks.map((rank) => rank.back_pressure));
  return (
    <>
      <div class="scroll flow" tabIndex={0} role="region" aria-label={say.flowOf(pipeline.name)}>
        <div class="canvas" style={{ width: px(drawn.width + 2 * MARGIN), height: px(drawn.height + 2 * MARGIN) }}>
          <Edges drawn={drawn} pressure={level(share)} />
          {drawn.nodes.map((node) => (
            <Box key={node.id} node={node} pipeline={pipeline.name} share={share} />
          ))}
        </div>
      </div>
      <details>
        <summary>{words().common.asTable}</summary>
        <Table
          caption={say.flowOf(pipeline.name)}
          quiet
          rows={drawn.edges}
          keyOf={keyOf}
          empty={words().common.none}
          columns={[
            { head: say.from, cell: (edge) => titleOf(edge.from) },
            { head: say.to, cell: (edge) => titleOf(edge.to) },
            { head: say.flow, numeric: true, cell: (edge) => rateOf(edge) ?? "–" },
            {
              head: say.pressure,
              cell: (edge) => (edge.to.kind === "process" ? <Pressure share={share} /> : ""),
            },
          ]}
        />
      </details>
    </>
  );
}

const keyOf = ({ from, to }: Edge) => `${from.id} ${to.id}`;

function px(length: number): string {
  return `${length}px`;
}

function titleOf({ kind, name }: Node): string {
  const { kinds } = words().pipelines;
  return name === "" ? kinds[kind] : `${kinds[kind]} ${name}`;
}

function rateOf({ rate, of }: Edge): string | null {
  return rate === null ? null : words().pipelines.rates[of](number(rate));
}

function Edges({ drawn: { edges, width, height }, pressure }: { drawn: Graph; pressure: Level }) {
  const arrow = useId();
  return (
    <svg width={width + 2 * MARGIN} height={height + 2 * MARGIN} aria-hidden="true">
      <marker
        id={arrow}
        viewBox="0 0 8 8"
        refX="7"
        refY="4"
        markerWidth="9"
        markerHeight="9"
        markerUnits="userSpaceOnUse"
        orient="auto"
      >
        <path d="M0 0 L8 4 L0 8 z" />
      </marker>
      {edges.map((edge) => {
        const { of, rate, to } = edge;
        const waits = to.kind === "process" && pressure !== "ok";
        const kind = waits ? `level-${pressure}` : rate === 0 ? "still" : of === "rejected" ? "bad" : "";
        return (
          <g key={keyOf(edge)} class={`edge ${kind}`}>
            <path d={curve(edge)} marker-end={`url(#${arrow})`} />
          </g>
        );
      })}
      {/* Above all lines. */}
      {edges.map((edge) => (
        <Rate key={keyOf(edge)} edge={edge} pressure={pressure} />
      ))}
    </svg>
  );
}

function curve({ from, to }: Edge): string {
  const [x1, y1] = [MARGIN + from.x + NODE_WIDTH, MARGIN + from.y + NODE_HEIGHT / 2];
  const [x2, y2] = [MARGIN + to.x - 1, MARGIN + to.y + NODE_HEIGHT / 2];
  const bend = (x2 - x1) / 2;
  return `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** Baselines of two lines of text above an edge, and of two below it, from the edge. */
const ABOVE = [-19, -6] as const;
const BELOW = [15, 28] as const;

/**
 * Beside the end that no other edge shares: how much comes, and whether that has to wait. Where the edge rises from there both stand below it, where it
 * falls both above, so that it does not run through them; a level one has them on both sides.
 */
function Rate({ edge, pressure }: { edge: Edge; pressure: Level }) {
  const text = rateOf(edge);
  if (text === null) return null;
  const waits = edge.to.kind === "process";
  const [near, far] = waits ? [edge.from, edge.to] : [edge.to, edge.from];
  const x = MARGIN + (waits ? near.x + NODE_WIDTH + 6 : near.x - 9);
  const y = MARGIN + near.y + NODE_HEIGHT / 2;
  const rises = far.y < near.y;
  const isFlat = far.y === near.y;
  const [first, second] = isFlat ? [ABOVE[1], BELOW[0]] : rises ? BELOW : ABOVE;
  return (
    <text class="edge-text" text-anchor={waits ? "start" : "end"}>
      <tspan x={x} y={y + (waits ? first : rises ? BELOW[0] : ABOVE[1])}>
        {text}
      </tspan>
      {waits && (
        <tspan class={`level-${pressure}`} x={x} y={y + second}>
          {words().common.level[pressure]}
        </tspan>
      )}
    </text>
  );
}

function Box({ node, pipeline, share }: { node: Node; pipeline: string; share: number }) {
  const say = words().pipelines;
  const { kind, name } = node;
  const place = {
    left: px(MARGIN + node.x),
    top: px(MARGIN + node.y),
    width: px(NODE_WIDTH),
    height: px(NODE_HEIGHT),
  };
  if (kind === "process") {
    return (
      <a class="node process" style={place} href={to("ranks")}>
        <span class="kind">{say.steps}</span>
        <span>
          {say.pressure} <Pressure share={share} />
        </span>
      </a>
    );
  }
  return (
    <a class={`node ${kind}`} style={place} href={addressOf(node, pipeline)} title={name}>
      <span class="kind">{say.kinds[kind]}</span> <bdi class="name">{name === "" ? say.letters : name}</bdi>
    </a>
  );
}

/** Where what is in a node is shown. */
function addressOf({ kind, name }: Node, pipeline: string): string {
  switch (kind) {
    case "topic":
    case "emitted":
      return to("events", [], { topic: name });
    case "window":
      return to("windows", [pipeline, name]);
    case "alert":
      return to("overview", [], { pipeline, alert: name });
    case "letters":
      return to("letters");
    case "view":
      return to("pipelines", [pipeline], { view: name });
    case "webhook":
      return to("pipelines", [pipeline], { webhook: name });
    case "process":
      return to("ranks");
  }
}
