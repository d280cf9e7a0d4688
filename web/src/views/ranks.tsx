// The job's processes: how busy each is, what it holds, and what happened when one died.
import { useEffect, useState } from "preact/hooks";
import { bytes, duration, number, time } from "../format.ts";
import { words } from "../i18n/words.ts";
import { history, lost, snapshot } from "../live.ts";
import { type Figure, Figures } from "../parts/facts.tsx";
import { level, Pressure } from "../parts/pressure.tsx";
import { Said } from "../parts/said.tsx";
import { Spark } from "../parts/spark.tsx";
import { type Column, Table } from "../parts/table.tsx";
import type { Cluster, Process, Rank, Start } from "../types.ts";

export function Ranks() {
  const now = snapshot.value;
  if (now === null) return <Said data={now} problem={null} />;
  const { cluster } = now;
  return (
    <div class="cards">
      <section class="card wide" aria-labelledby="h-ranks">
        <h2 id="h-ranks">{words().ranks.ranks}</h2>
        <Verdict cluster={cluster} />
        <RankTable cluster={cluster} />
        <Meanings />
      </section>
      <Checkpoints cluster={cluster} />
      <Starts starts={cluster.starts} phase={cluster.phase} />
    </div>
  );
}

/** What is wrong, in one sentence. */
function Verdict({ cluster }: { cluster: Cluster }) {
  const say = words().ranks;
  const since = useSecondsSince(lost.value !== null);
  if (lost.value !== null) {
    return <p class="verdict warn">{say.away(duration(since * 1_000))}</p>;
  }
  if (cluster.phase !== "serving") {
    return <p class="verdict warn">{words().overview.phase(words().state.phase[cluster.phase])}</p>;
  }
  const pressed = cluster.ranks.filter((rank) => level(rank.back_pressure) !== "ok");
  return (
    <p id="verdict" class={`verdict ${pressed.length === 0 ? "good" : "warn"}`}>
      {pressed.length === 0
        ? say.well(cluster.ranks.length)
        : say.pressed(
            pressed
              .map((rank) => `${say.rankN(rank.rank)} (${words().common.level[level(rank.back_pressure)]})`)
              .join(", "),
          )}
    </p>
  );
}

/** Seconds since `counting` has become true. */
function useSecondsSince(counting: boolean): number {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    setSeconds(0);
    if (!counting) return;
    const from = Date.now();
    const timer = setInterval(() => setSeconds(Math.round((Date.now() - from) / 1_000)), 1_000);
    return () => clearInterval(timer);
  }, [counting]);
  return seconds;
}

interface Line {
  rank: number;
  process: Process;
  /** Rank 0 has no figures of a worker, unless it is one as well. */
  worker: Rank | null;
}

function lines(cluster: Cluster): Line[] {
  const workers = cluster.ranks.map((rank) => ({ rank: rank.rank, process: rank, worker: rank }));
  if (workers.some((line) => line.rank === 0)) return workers;
  return [{ rank: 0, process: cluster.rank0, worker: null }, ...workers];
}

function RankTable({ cluster }: { cluster: Cluster }) {
  const say = words().ranks;
  const samples = history.value;
  const values = (rank: number) => samples.map((sample) => sample.ranks.get(rank) ?? 0);
  const top = Math.max(1, ...samples.flatMap((sample) => [...sample.ranks.values()]));
  const rows = lines(cluster);
  const of = (text: (rank: Rank) => string) => (line: Line) => (line.worker === null ? "" : text(line.worker));
  const columns: Column<Line>[] = [
    { head: say.rank, cell: ({ rank, worker }) => (worker === null ? `${rank} ${say.coordinator}` : rank) },
    {
      head: say.pressure,
      cell: ({ worker }) => worker !== null && <Pressure share={worker.back_pressure} />,
    },
    {
      head: say.rate,
      numeric: true,
      cell: ({ worker }) =>
        worker !== null && (
          <span class="rate">
            <Spark values={values(worker.rank)} top={top} />
            <span class="figure">{number(worker.events_per_second)}</span>
          </span>
        ),
    },
    { head: say.queue, numeric: true, cell: of((rank) => bytes(rank.queue_bytes)) },
    {
      head: say.credit,
      numeric: true,
      cell: of((rank) => say.creditOf(bytes(rank.credit_free_bytes), bytes(rank.credit_bytes))),
    },
    {
      head: say.cpu,
      numeric: true,
      cell: ({ process }) => say.cores(process.cpu_cores),
    },
    { head: say.memory, numeric: true, cell: ({ process }) => bytes(process.memory_bytes) },
    { head: say.host, cell: ({ process }) => process.host },
    { head: say.pid, numeric: true, cell: ({ process }) => String(process.pid) },
    { head: say.groups, numeric: true, cell: of((rank) => number(rank.key_groups)) },
    { head: say.ids, numeric: true, cell: of((rank) => number(rank.ids)) },
    { head: say.panes, numeric: true, cell: of((rank) => number(rank.panes)) },
    { head: say.keys, numeric: true, cell: of((rank) => number(rank.keys)) },
    { head: say.events, numeric: true, cell: of((rank) => number(rank.events)) },
    {
      head: say.up,
      numeric: true,
      cell: ({ process }) => (process.up_since === null ? "–" : duration(since(process.up_since, cluster))),
    },
  ];
  return (
    <Table id="ranks" caption={say.ranks} quiet rows={rows} keyOf={(line) => line.rank} empty="" columns={columns} />
  );
}

/** Milliseconds by the job's own clock. */
function since(at: string, { now }: Cluster): number {
  return Math.max(0, Date.parse(now) - Date.parse(at));
}

function Meanings() {
  const say = words().ranks;
  return (
    <details>
      <summary>{say.meaning}</summary>
      <dl class="meanings">
        {(Object.keys(say.meanings) as (keyof typeof say.meanings)[]).map((name) => (
          <div key={name}>
            <dt>{say[name]}</dt>
            <dd>{say.meanings[name]}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function Checkpoints({ cluster }: { cluster: Cluster }) {
  const say = words().ranks;
  const { checkpoint } = cluster;
  const figures: Figure[] = [
    { name: say.generation, text: number(cluster.generation) },
    { name: say.epoch, text: number(cluster.epoch_committed) },
    { name: say.checkpoint, text: number(cluster.epoch_checkpoint) },
  ];
  if (checkpoint.at !== null) figures.push({ name: say.checkpointAge, text: duration(since(checkpoint.at, cluster)) });
  if (checkpoint.bytes !== null) figures.push({ name: say.checkpointSize, text: bytes(checkpoint.bytes) });
  if (checkpoint.took_ms !== null) figures.push({ name: say.checkpointTook, text: duration(checkpoint.took_ms) });
  return <Figures label={say.checkpoints} of={figures} />;
}

function Starts({ starts, phase }: { starts: Start[]; phase: Cluster["phase"] }) {
  const say = words().ranks;
  const newest = starts.at(-1)?.generation;
  const end = (start: Start) => {
    if (start.generation === newest) return phase === "draining" ? words().state.phase.draining : say.running;
    return start.drained ? say.drained : <span class="warn">{say.died}</span>;
  };
  return (
    <section class="card wide" aria-labelledby="h-starts">
      <h2 id="h-starts">{say.starts}</h2>
      <Table
        id="starts"
        caption={say.startsCaption}
        rows={[...starts].reverse()}
        keyOf={(start) => start.generation}
        empty={words().common.none}
        columns={[
          { head: say.from, numeric: true, cell: (start) => String(start.generation) },
          { head: say.at, cell: (start) => time(start.at) },
          { head: say.why, cell: (start) => start.why ?? say.first },
          {
            head: say.ready,
            numeric: true,
            cell: ({ at, ready_at }) =>
              ready_at === null ? say.notReady : duration(Math.max(0, Date.parse(ready_at) - Date.parse(at))),
          },
          { head: say.replayed, numeric: true, cell: (start) => words().common.events(start.replayed) },
          { head: say.ended, cell: end },
        ]}
      />
    </section>
  );
}
