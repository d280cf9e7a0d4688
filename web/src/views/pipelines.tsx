// The job's pipelines: what flows through them and how well, and their files, to be changed while the job runs.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api.ts";
import { clock } from "../format.ts";
import { words } from "../i18n/words.ts";
import { snapshot } from "../live.ts";
import { Dialog } from "../parts/dialog.tsx";
import { useLoad } from "../parts/load.ts";
import { Said } from "../parts/said.tsx";
import { go, hold, place, to } from "../router.ts";
import type { Cluster, Pipeline, Replay } from "../types.ts";
import { draft, isChanged } from "./pipelines/draft.ts";
import { File } from "./pipelines/file.tsx";
import { Begin } from "./pipelines/new.tsx";
import { One } from "./pipelines/one.tsx";
import { Picture } from "./pipelines/picture.tsx";
import { Replaying } from "./pipelines/replay.tsx";
import { PipelineTable } from "./pipelines/status.tsx";

/** The list brings all files, so it is not asked for often, unless something is on its way. */
const LIST_MS = 10_000;
const REPLAY_MS = 1_000;

interface List {
  pipelines: Pipeline[];
  replay: Replay | null;
}

export function Pipelines() {
  const { parts, query } = place.value;
  const [name] = parts;
  const [replaying, setReplaying] = useState(false);
  // A new life of the job is asked at once.
  const generation = snapshot.value?.cluster.generation;
  const every = replaying ? REPLAY_MS : LIST_MS;
  const list = useLoad(() => get<List>("/pipelines"), [name, every, generation], every);
  const inForce = list.data?.pipelines ?? [];
  const { data } = list;
  const replay = data?.replay ?? null;
  useEffect(() => setReplaying(replay !== null && replay.state !== "failed"), [replay?.state]);
  const now = snapshot.value;
  const isNew = name === undefined && query.has("new");
  const first = useRef(true);
  // What had the focus may be gone with the place that it was in.
  useEffect(() => {
    if (!first.current && document.activeElement === document.body) document.getElementById("main")?.focus();
    first.current = false;
  }, [name]);
  return (
    <>
      <Leaving />
      <Said data={now === null ? null : data} problem={list.problem} />
      {replay !== null && <Replaying replay={replay} again={list.again} />}
      {data === null || now === null ? null : isNew ? (
        <New pipelines={inForce} />
      ) : name === undefined ? (
        <All pipelines={inForce} cluster={now.cluster} />
      ) : (
        <One name={name} pipeline={inForce.find((one) => one.name === name)} again={list.again} />
      )}
    </>
  );
}

function All({ pipelines, cluster }: { pipelines: Pipeline[]; cluster: Cluster }) {
  const say = words().pipelines;
  const names = (of: (one: Pipeline) => string[]) => (name: string) => {
    const found = pipelines.find((one) => one.name === name);
    return found === undefined ? "" : of(found).join(", ");
  };
  return (
    <div class="stack">
      <section class="card" aria-label={say.list}>
        {cluster.store_away_since !== null && <p class="bad">{say.storeAway(clock(cluster.store_away_since))}</p>}
        <PipelineTable
          cluster={cluster}
          pipelines={pipelines}
          more={[
            { head: say.topics, cell: names((one) => one.topics) },
            { head: say.windows, cell: names((one) => one.windows) },
          ]}
        />
        <p class="after">
          <a href={to("pipelines", [], { new: "1" })}>{say.create}</a>
        </p>
      </section>
      {pipelines.map((one) => (
        <section key={one.name} class="card" aria-labelledby={`h-${one.name}`}>
          <h2 id={`h-${one.name}`}>
            <a href={to("pipelines", [one.name])}>{one.name}</a>
          </h2>
          <Picture pipeline={one} cluster={cluster} />
        </section>
      ))}
    </div>
  );
}

function New({ pipelines }: { pipelines: Pipeline[] }) {
  const say = words().pipelines;
  const { value } = draft;
  return (
    <div class="stack">
      <p>
        <a href={to("pipelines")}>← {say.all}</a>
      </p>
      {value?.name === null ? <File draft={value} /> : <Begin pipelines={pipelines} />}
    </div>
  );
}

/** Asks before what is written is lost: by another place of this page, or by leaving it. */
function Leaving() {
  const say = words().pipelines;
  const [wanted, setWanted] = useState<string | null>(null);
  const changed = isChanged.value;
  const name = draft.value?.name ?? null;
  useEffect(() => {
    if (!changed) return;
    hold((next, address) => {
      // What it is by now: it may have been applied, or begun anew under another name.
      const edited = draft.value?.name ?? null;
      const same = next.view === "pipelines" && (edited === null ? next.query.has("new") : next.parts[0] === edited);
      const lost = isChanged.value && !same;
      if (lost) setWanted(address);
      return lost;
    });
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => {
      hold(null);
      removeEventListener("beforeunload", ask);
    };
  }, [changed]);
  if (wanted === null) return null;
  const leave = () => {
    draft.value = null;
    setWanted(null);
    go(wanted);
  };
  return (
    <Dialog title={say.leaveTitle} act={say.leave} dangerous onAct={leave} onClose={() => setWanted(null)}>
      <p>{say.leaveText(name ?? say.aNew)}</p>
    </Dialog>
  );
}
