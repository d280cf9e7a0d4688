// How far each pipeline has come, and what it could not take, as a table.
import type { ComponentChildren } from "preact";
import { duration, number } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { type Column, Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { Cluster, PipelineStatus } from "../../types.ts";

interface Props {
  cluster: Cluster;
  /** Columns beside the figures. */
  more?: { head: string; cell: (name: string) => ComponentChildren }[];
}

export function PipelineTable({ cluster, more = [] }: Props) {
  const say = words().pipelines;
  const late = (one: PipelineStatus) => Object.values(one.late).reduce((sum, n) => sum + n, 0);
  const trouble = (n: number) => <span class={n > 0 ? "warn" : undefined}>{number(n)}</span>;
  const columns: Column<PipelineStatus>[] = [
    { head: say.pipeline, cell: ({ pipeline }) => <a href={to("pipelines", [pipeline])}>{pipeline}</a> },
    ...more.map(({ head, cell }) => ({ head, cell: (one: PipelineStatus) => cell(one.pipeline) })),
    { head: say.lag, numeric: true, cell: (one) => lagOf(one) ?? say.noEvent },
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

/** How far the watermark is behind; null before the first event. */
function lagOf({ watermark, watermark_lag_ms }: PipelineStatus): string | null {
  if (watermark === null) return null;
  return duration(Math.max(0, watermark_lag_ms ?? Date.now() - Date.parse(watermark)));
}
