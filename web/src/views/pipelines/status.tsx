// How far each pipeline has come, and what it could not take, as a table.
import type { ComponentChildren } from "preact";
import { clock, duration, number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { type Column, Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { Cluster, Pipeline, PipelineStatus } from "../../types.ts";
import { type Lag, lagOf } from "./lag.ts";

interface Props {
  cluster: Cluster;
  /** What they read. */
  pipelines: readonly Pipeline[];
  /** Columns beside the figures. */
  more?: { head: string; cell: (name: string) => ComponentChildren }[];
}

export function PipelineTable({ cluster, pipelines, more = [] }: Props) {
  const say = words().pipelines;
  const late = (one: PipelineStatus) => Object.values(one.late).reduce((sum, n) => sum + n, 0);
  const trouble = (n: number) => <span class={n > 0 ? "warn" : undefined}>{number(n)}</span>;
  const columns: Column<PipelineStatus>[] = [
    { head: say.pipeline, cell: ({ pipeline }) => <a href={to("pipelines", [pipeline])}>{pipeline}</a> },
    ...more.map(({ head, cell }) => ({ head, cell: (one: PipelineStatus) => cell(one.pipeline) })),
    { head: say.lag, numeric: true, cell: (one) => <Behind status={one} lag={lagOf(one, pipelines, cluster)} /> },
    { head: say.late, numeric: true, cell: (one) => trouble(late(one)) },
    { head: say.errors, numeric: true, cell: (one) => trouble(one.expression_errors) },
  ];
  return (
    <Table
      id="pipelines"
      caption={say.list}
      quiet
      rows={cluster.pipelines}
      keyOf={(one) => one.pipeline}
      empty={words().common.none}
      columns={columns}
    />
  );
}

function Behind({ status: { watermark }, lag: { behind, idle } }: { status: PipelineStatus; lag: Lag }) {
  const say = words().pipelines;
  if (watermark === null || behind === null) return <span class="note">{say.noEvent}</span>;
  if (!idle) return <>{duration(behind)}</>;
  return (
    <span class="note" title={say.idleMeans}>
      {say.idleAt(clock(watermark))}
    </span>
  );
}
