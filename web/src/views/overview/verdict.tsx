// What is wrong with the job, if anything: what somebody on call looks at first.
import type { ComponentChildren } from "preact";
import { get } from "../../api.ts";
import { bytes, clock, number, percent } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { history, lost, snapshot } from "../../live.ts";
import { useLoad } from "../../parts/load.ts";
import { level } from "../../parts/pressure.tsx";
import { to } from "../../router.ts";
import type { Snapshot } from "../../types.ts";
import { CLEARED_MS, raised } from "./raised.ts";

/** Standing alerts are counted no further than this. */
const COUNT_MAX = 100;
/** A log that has this share of what it may have is told of. */
const LOG_FULL = 0.8;
/** Refused and late events are told of for so long. */
const REJECTS_SAMPLES = 30;

export function Verdict({ now }: { now: Snapshot }) {
  const say = words().overview;
  const standing = useLoad(
    () => get<{ alerts: unknown[]; next: string | null }>(`/alerts?active=true&limit=${COUNT_MAX}`),
    [raised()],
    CLEARED_MS,
  );
  const count = standing.data?.alerts.length ?? 0;
  const wrong = [...ofJob(now), ...ofEvents()];
  if (count > 0) {
    const text = standing.data?.next === null ? say.standing(count) : say.standingMany(count);
    wrong.push(<a href={to("overview", [], { active: "true" })}>{text}</a>);
  }
  return (
    <div id="verdict" class={`verdict wide ${wrong.length === 0 ? "good" : "wrong"}`}>
      {wrong.length === 0 ? (
        say.well
      ) : (
        <ul aria-label={say.wrong}>
          {wrong.map((one, at) => (
            <li key={at}>{one}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

function ofJob({ cluster }: Snapshot): ComponentChildren[] {
  const say = words().overview;
  const wrong: ComponentChildren[] = [];
  const bad = (text: string) => wrong.push(<span class="bad">{text}</span>);
  if (lost.value !== null && snapshot.value !== null) bad(say.lost);
  if (cluster.store_away_since !== null) bad(say.storeGone(clock(cluster.store_away_since)));
  if (cluster.phase !== "serving") bad(say.phase(words().state.phase[cluster.phase]));
  if (cluster.log.bytes > LOG_FULL * cluster.log.bytes_max) {
    bad(say.logFull(bytes(cluster.log.bytes), bytes(cluster.log.bytes_max)));
  }
  for (const rank of cluster.ranks) {
    if (level(rank.back_pressure) === "ok") continue;
    const text = say.pressed(rank.rank, percent(rank.back_pressure));
    wrong.push(<a href={to("ranks")}>{text}</a>);
  }
  return wrong;
}

/** Of the last half minute, so that one can read it. */
function ofEvents(): ComponentChildren[] {
  const samples = history.value.slice(-REJECTS_SAMPLES);
  const rate = samples.reduce((sum, sample) => sum + sample.rejected, 0) / Math.max(1, samples.length);
  if (rate === 0) return [];
  return [<a href={to("letters")}>{words().overview.rejects(number(Math.max(rate, 0.01)))}</a>];
}
