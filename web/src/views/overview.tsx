// How the job does: rates, latency, the ledger, the log and the store, alerts.
import { bytes, clock, duration, number, percent } from "../format.ts";
import { words } from "../i18n/words.ts";
import { history, snapshot } from "../live.ts";
import { Chart } from "../parts/chart.tsx";
import { Figures } from "../parts/facts.tsx";
import { usePipelines } from "../parts/pipelines.ts";
import { Said } from "../parts/said.tsx";
import { Table } from "../parts/table.tsx";
import { to } from "../router.ts";
import type { Ledger, Pipeline, Snapshot } from "../types.ts";
import { Alerts } from "./overview/alerts.tsx";
import { Verdict } from "./overview/verdict.tsx";
import { slowest } from "./pipelines/lag.ts";
import { PipelineTable } from "./pipelines/status.tsx";

export function Overview() {
  const now = snapshot.value;
  const pipelines = usePipelines().data?.pipelines ?? [];
  if (now === null) return <Said data={now} problem={null} />;
  return (
    <div class="cards">
      <Verdict now={now} />
      <Now now={now} pipelines={pipelines} />
      <Charts />
      <LedgerCard ledger={now.ledger} />
      <section class="card" aria-labelledby="h-pipelines">
        <h2 id="h-pipelines">
          <a href={to("pipelines")}>{words().views.pipelines}</a>
        </h2>
        <PipelineTable cluster={now.cluster} pipelines={pipelines} />
      </section>
      <Alerts />
    </div>
  );
}

function Now({ now: { cluster, ledger }, pipelines }: { now: Snapshot; pipelines: readonly Pipeline[] }) {
  const say = words().overview;
  const last = slowest(pipelines, cluster);
  const ms = (value: number | null) => (value === null ? "–" : duration(value));
  const { store, store_away_since: away } = cluster;
  return (
    <Figures
      label={say.now}
      of={[
        { id: "accepted-rate", name: `${say.accepted}/s`, text: number(cluster.accepted_per_second) },
        { id: "committed-rate", name: `${say.counted}/s`, text: number(cluster.committed_per_second) },
        { id: "rejected-rate", name: `${say.rejected}/s`, text: number(history.value.at(-1)?.rejected ?? 0) },
        { id: "p50", name: say.p50, text: ms(cluster.latency_p50_ms), note: say.latency },
        { id: "p99", name: say.p99, text: ms(cluster.latency_p99_ms), note: say.latency },
        { id: "in-flight", name: words().fates.in_flight, text: number(ledger.in_flight) },
        {
          id: "watermark",
          name: say.watermarkLag,
          text: last === null ? say.idle : duration(last.behind),
          note: cluster.pipelines.length > 1 ? last?.pipeline : undefined,
        },
        { id: "log", name: say.log, text: bytes(cluster.log_bytes), note: say.logOf(bytes(cluster.log.bytes_max)) },
        {
          id: "store",
          name: say.store,
          text: away === null ? say.storeWell : say.storeAway(clock(away)),
          note: store.kind,
        },
      ]}
    />
  );
}

function Charts() {
  const say = words().overview;
  const samples = history.value;
  const times = samples.map((sample) => sample.at);
  return (
    <>
      <section class="card">
        <Chart
          title={say.rates}
          unit="1/s"
          times={times}
          lines={[
            { label: say.accepted, colour: 1, values: samples.map((sample) => sample.accepted) },
            { label: say.counted, colour: 2, values: samples.map((sample) => sample.counted) },
            { label: say.rejected, colour: 3, values: samples.map((sample) => sample.rejected) },
          ]}
        />
      </section>
      <section class="card">
        <Chart
          title={say.latencyTitle}
          unit={say.milliseconds}
          times={times}
          lines={[
            { label: say.p50, colour: 1, values: samples.map((sample) => sample.p50) },
            { label: say.p99, colour: 4, values: samples.map((sample) => sample.p99) },
          ]}
        />
      </section>
    </>
  );
}

const FATES = ["counted", "duplicate", "filtered", "invalid", "late", "in_flight"] as const;

/** The fates as parts of one bar, as long as what was accepted. */
function LedgerCard({ ledger }: { ledger: Ledger }) {
  const say = words().overview;
  const sum = FATES.reduce((total, fate) => total + ledger[fate], 0);
  const balanced = sum === ledger.accepted;
  return (
    <section class="card" aria-labelledby="h-ledger">
      <h2 id="h-ledger">{say.ledger}</h2>
      <LedgerBar ledger={ledger} sum={sum} />
      <Table
        id="ledger"
        caption={say.ledgerCaption}
        rows={["accepted", ...FATES] as (keyof Ledger)[]}
        keyOf={(fate) => fate}
        empty=""
        columns={[
          {
            head: "",
            cell: (fate) => (
              <>
                {fate !== "accepted" && <span class={`dot fate-${fate}`} />}
                {words().fates[fate]}
              </>
            ),
          },
          { head: words().common.eventCount, numeric: true, cell: (fate) => number(ledger[fate]) },
          {
            head: say.share,
            numeric: true,
            cell: (fate) => (sum === 0 ? "–" : percent(ledger[fate] / ledger.accepted)),
          },
        ]}
      />
      <p id="balances" class={balanced ? "good" : "bad"}>
        {balanced ? `${say.balances} ✓` : say.unbalanced}
      </p>
    </section>
  );
}

function LedgerBar({ ledger, sum }: { ledger: Ledger; sum: number }) {
  let from = 0;
  return (
    <svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      {FATES.map((fate) => {
        const width = sum === 0 ? 0 : (ledger[fate] / sum) * 100;
        const x = from;
        from += width;
        return <rect key={fate} class={`fate-${fate}`} x={x} y={0} width={width} height={4} />;
      })}
    </svg>
  );
}
