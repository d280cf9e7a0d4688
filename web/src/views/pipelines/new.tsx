// What a new pipeline is to read, before it is written.
import type { TargetedSubmitEvent } from "preact";
import { useState } from "preact/hooks";
import { words } from "../../i18n/words.ts";
import { Refused } from "../../parts/said.tsx";
import { Select } from "../../parts/select.tsx";
import { useTopics } from "../../parts/topics.ts";
import type { Pipeline } from "../../types.ts";
import { draft, nameIn } from "./draft.ts";
import { template } from "./template.ts";

export function Begin({ pipelines }: { pipelines: Pipeline[] }) {
  const say = words().pipelines;
  const { data, problem } = useTopics();
  const names = data?.topics.map(({ name }) => name) ?? [];
  const [chosen, setChosen] = useState<string | null>(null);
  const topic = chosen ?? names[0] ?? "";
  const begin = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const texts = template(topic === "" ? null : topic);
    const now = { ...texts, file: named(texts.file, pipelines) };
    draft.value = { name: null, version: null, before: { file: "", schemas: {} }, now };
  };
  return (
    <form class="card" onSubmit={begin}>
      <h2>{say.newTitle}</h2>
      <Refused problem={problem} />
      <Select
        label={say.reads}
        value={topic}
        options={[...names.map((name) => [name, name] as const), ["", say.ownTopic]]}
        onChoice={setChosen}
      />
      <p>
        <button>{say.begin}</button>
      </p>
    </form>
  );
}

/** With a name that no pipeline of the job has. */
function named(file: string, pipelines: Pipeline[]): string {
  const name = nameIn(file) ?? "";
  let free = name;
  for (let n = 2; pipelines.some((one) => one.name === free); n += 1) free = `${name}_${n}`;
  return file.replace(`pipeline: ${name}`, `pipeline: ${free}`);
}
