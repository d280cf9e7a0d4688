// A pipeline's file and its schemas, to be changed: checked by the server at each pause, and applied to the running job.
import type { TargetedSubmitEvent } from "preact";
import { useState } from "preact/hooks";
import { words } from "../../i18n/words.ts";
import { Editor, type Jump, type Mark } from "../../parts/editor.tsx";
import { go, place, setQuery, to } from "../../router.ts";
import type { Check, Fault } from "../../types.ts";
import { Apply } from "./apply.tsx";
import { messageOf, useCheck } from "./check.ts";
import { type Draft, edit, nameIn } from "./draft.ts";
import { Result } from "./result.tsx";

export function File({ draft }: { draft: Draft }) {
  const say = words().pipelines;
  const wanted = place.value.query.get("schema");
  const schema = wanted !== null && wanted in draft.now.schemas ? wanted : null;
  const checked = useCheck(draft.now);
  const [jump, setJump] = useState<Jump | null>(null);
  const faultsHere = schema === null ? ofFile(checked.check, draft) : ofSchema(checked.check, schema);
  const goTo = (fault: Fault) => {
    setQuery({ schema: undefined });
    setJump({ line: fault.line, column: fault.column });
  };
  const addSchema = (path: string) => {
    edit(path, "");
    setQuery({ schema: path });
  };
  return (
    <div class="file">
      <div class="writing">
        <Texts draft={draft} schema={schema} />
        <Editor
          key={schema ?? ""}
          label={say.editorOf(schema ?? say.file)}
          text={schema === null ? draft.now.file : (draft.now.schemas[schema] ?? "")}
          marks={faultsHere}
          onChange={(text) => edit(schema, text)}
          jump={schema === null ? jump : null}
          focus={draft.name === null}
        />
        <p class="note">{say.leaveEditor}</p>
      </div>
      <div class="said">
        <Apply draft={draft} checked={checked} />
        <Result checked={checked} draft={draft} goTo={goTo} onAdd={addSchema} />
      </div>
    </div>
  );
}

/** The file and its schemas, one of which is shown. */
function Texts({ draft, schema }: { draft: Draft; schema: string | null }) {
  const say = words().pipelines;
  const { view, parts, query } = place.value;
  const kept = Object.fromEntries(query);
  const link = (path: string | undefined) => to(view, parts, { ...kept, schema: path });
  const add = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const path = String(new FormData(form).get("path") ?? "").trim();
    if (path === "") return;
    if (!(path in draft.now.schemas)) edit(path, "{}\n");
    form.reset();
    go(link(path));
  };
  return (
    <div class="texts">
      <nav class="tabs" aria-label={say.texts}>
        <ul>
          <li>
            <a href={link(undefined)} aria-current={schema === null ? "true" : undefined}>
              {say.file}
            </a>
          </li>
          {Object.keys(draft.now.schemas).map((path) => (
            <li key={path}>
              <a href={link(path)} aria-current={schema === path ? "true" : undefined}>
                <bdi>{path}</bdi>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <details>
        <summary>{say.addSchema}</summary>
        <form class="add-schema" onSubmit={add}>
          <label for="schema-path">{say.schemaPath}</label>
          <input id="schema-path" name="path" placeholder="schemas/order.json" autocomplete="off" required />
          <button>{say.add}</button>
        </form>
      </details>
      {schema !== null && !(schema in draft.before.schemas) && (
        <button type="button" class="plain" onClick={() => edit(schema, null)}>
          {say.removeSchema}
        </button>
      )}
    </div>
  );
}

/** The server names a file that is sent to it by the pipeline in it. */
function isOfFile(fault: Fault, draft: Draft): boolean {
  return fault.file === ".yaml" || fault.file === `${nameIn(draft.now.file) ?? draft.name ?? ""}.yaml`;
}

function ofFile(check: Check | null, draft: Draft): Mark[] {
  const mine = (check?.faults ?? []).filter((fault) => fault.line > 0 && isOfFile(fault, draft));
  const severity = check?.tests_passed_over === undefined ? "error" : "warning";
  return mine.map(({ line, column, message }) => ({ line, column, message: messageOf(message), severity }));
}

/** What is wrong with a schema is told at the place that names it, with a place in the schema only where it is no JSON. */
function ofSchema(check: Check | null, path: string): Mark[] {
  const begin = `schema ${JSON.stringify(path)}: `;
  return (check?.faults ?? []).flatMap(({ message }) => {
    if (!message.startsWith(begin)) return [];
    const [, line, column] = /at line (\d+) column (\d+)$/.exec(message) ?? [];
    const place = { line: Number(line ?? 1), column: Number(column ?? 1) };
    return [{ ...place, message: message.slice(begin.length), severity: "error" as const }];
  });
}
