// What a new pipeline is to read, before it is written.
import type { TargetedSubmitEvent } from "preact";
import { get } from "../../api.ts";
import { words } from "../../i18n/words.ts";
import { snapshot } from "../../live.ts";
import { useLoad } from "../../parts/load.ts";
import type { Pipeline, Topic } from "../../types.ts";
import { draft, nameIn } from "./draft.ts";
import { template } from "./template.ts";

export function Begin({ pipelines }: { pipelines: Pipeline[] }) {
  const say = words().pipelines;
  const { data, problem } = useLoad(() => get<{ topics: Topic[] }>("/topics"), [snapshot.value?.cluster.generation]);
  const begin = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const topic = String(new FormData(event.currentTarget).get("topic") ?? "");
    const texts = template(topic === "" ? null : topic);
    const now = { ...texts, file: named(texts.file, pipelines) };
    draft.value = { name: null, version: null, before: { file: "", schemas: {} }, now };
  };
  return (
    <form class="card" onSubmit={begin}>
      <h2>{say.newTitle}</h2>
      {problem !== null && <p class="bad">{problem.message}</p>}
      <label for="topic">{say.reads}</label>
      <select id="topic" name="topic">
        {(data?.topics ?? []).map((topic) => (
          <option key={topic.name} value={topic.name}>
            {topic.name}
          </option>
        ))}
        <option value="">{say.ownTopic}</option>
      </select>
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
