// One pipeline: its flow, what a part of it holds, and its file.
import { useEffect, useState } from "preact/hooks";
import { ask, get } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { snapshot } from "../../live.ts";
import { useAct } from "../../parts/act.ts";
import { Dialog } from "../../parts/dialog.tsx";
import { useLoad } from "../../parts/load.ts";
import { Refused, Said } from "../../parts/said.tsx";
import { go, place, to } from "../../router.ts";
import type { Pipeline, PipelineFile } from "../../types.ts";
import { Deliveries } from "./deliveries.tsx";
import { address, draft, isChanged, open } from "./draft.ts";
import { Entries } from "./entries.tsx";
import { File } from "./file.tsx";
import { Picture } from "./picture.tsx";

interface Props {
  name: string;
  /** Undefined: the job has none of this name, or not yet. */
  pipeline: Pipeline | undefined;
  again: () => void;
}

export function One({ name, pipeline, again }: Props) {
  const say = words().pipelines;
  const { query } = place.value;
  const tab = query.get("tab") === "file" ? "file" : "flow";
  const [view, webhook] = [query.get("view"), query.get("webhook")];
  const now = snapshot.value;
  return (
    <div class="stack">
      <div class="title">
        <p>
          <a href={to("pipelines")}>← {say.all}</a>
        </p>
        <h2>{name}</h2>
        <nav class="tabs" aria-label={say.parts(name)}>
          <ul>
            <li>
              <a href={to("pipelines", [name])} aria-current={tab === "flow" ? "page" : undefined}>
                {say.tabFlow}
              </a>
            </li>
            <li>
              <a href={to("pipelines", [name], { tab: "file" })} aria-current={tab === "file" ? "page" : undefined}>
                {say.tabFile}
              </a>
            </li>
          </ul>
        </nav>
        {pipeline !== undefined && <Remove pipeline={pipeline} again={again} />}
      </div>
      {pipeline === undefined && <p class="note">{say.unknown(name)}</p>}
      {pipeline !== undefined && now !== null && tab === "flow" && (
        <section class="card" aria-label={say.tabFlow}>
          <Picture pipeline={pipeline} cluster={now.cluster} />
        </section>
      )}
      {tab === "flow" && view !== null && <Entries key={view} view={view} />}
      {tab === "flow" && webhook !== null && <Deliveries key={webhook} pipeline={name} webhook={webhook} />}
      {tab === "file" && <Edited key={name} name={name} version={pipeline?.version} />}
    </div>
  );
}

/** The file that the job has, or what was made of it. It follows the job's as long as nobody has changed it. */
function Edited({ name, version }: { name: string; version: string | undefined }) {
  const generation = snapshot.value?.cluster.generation;
  const { data, problem } = useLoad(() => get<PipelineFile>(address(name)), [name, version, generation]);
  useEffect(() => {
    const mine = draft.value?.name === name;
    if (data?.text !== undefined && !(mine && isChanged.value)) open(data);
  }, [data]);
  const { value } = draft;
  if (value?.name === name) return <File draft={value} />;
  return <Said data={null} problem={problem} />;
}

function Remove({ pipeline: { name, version }, again }: { pipeline: Pipeline; again: () => void }) {
  const say = words().pipelines;
  const [asks, setAsks] = useState(false);
  const { busy, problem, act, forget } = useAct();
  const close = () => {
    setAsks(false);
    forget();
  };
  const remove = () =>
    act(async () => {
      await ask(address(name), { method: "DELETE", headers: { "If-Match": `"${version}"` } });
      draft.value = null;
      close();
      again();
      go(to("pipelines"));
    });
  return (
    <>
      <button type="button" class="danger" onClick={() => setAsks(true)}>
        {say.remove}
      </button>
      {asks && (
        <Dialog
          title={say.deleteTitle(name)}
          act={say.remove}
          dangerous
          busy={busy}
          onAct={() => void remove()}
          onClose={close}
        >
          <p>{say.deleteText}</p>
          <Refused problem={problem} />
        </Dialog>
      )}
    </>
  );
}
