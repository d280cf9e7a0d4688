// What the server says of a file that is being written.
import { words } from "../../i18n/words.ts";
import type { Conflict, Fault } from "../../types.ts";
import { type Checked, messageOf, missingSchema } from "./check.ts";
import type { Draft } from "./draft.ts";

interface Props {
  checked: Checked;
  draft: Draft;
  goTo: (fault: Fault) => void;
  /** Adds a schema of this path, to be written. */
  onAdd: (schema: string) => void;
}

export function Result({ checked: { check, problem, busy }, draft, goTo, onAdd }: Props) {
  const say = words().pipelines;
  const testsRan = check?.tests_passed_over !== undefined;
  const faults = check?.faults ?? [];
  const allPass = check?.tests_passed_over?.length === 0 && faults.length === 0 && hasTests(draft);
  return (
    <section class="card" aria-labelledby="h-result" aria-busy={busy}>
      <h2 id="h-result">
        {say.result} {busy && <span class="note">{say.checking}</span>}
      </h2>
      {problem !== null && (
        <p class="bad">
          {say.notChecked} {problem.message}
        </p>
      )}
      {check !== null && (
        <div id="result" role="status">
          {testsRan ? (
            <p class="good">{say.good}</p>
          ) : (
            faults.length > 0 && <p class="bad">{say.faults(faults.length)}</p>
          )}
          {testsRan && faults.length > 0 && <h3 class="bad">{say.testsFailed}</h3>}
          {allPass && <p class="good">{say.testsPassed}</p>}
          {check.tests_passed_over !== undefined && check.tests_passed_over.length > 0 && (
            <p class="note">{say.passedOver(check.tests_passed_over.length)}</p>
          )}
        </div>
      )}
      <Faults faults={faults} goTo={goTo} onAdd={onAdd} />
      {check !== null && <Conflicts conflicts={check.conflicts} />}
      {testsRan && <Changes changes={check.changes} />}
    </section>
  );
}

/** Whether a test ran at all the answer does not tell. */
function hasTests({ now }: Draft): boolean {
  return /^tests:/m.test(now.file);
}

interface FaultsProps {
  faults: Fault[];
  goTo?: Props["goTo"];
  onAdd?: Props["onAdd"];
}

/** With the way to each, and with its cure, where there is one. */
export function Faults({ faults, goTo, onAdd }: FaultsProps) {
  const say = words().pipelines;
  if (faults.length === 0) return null;
  return (
    <ul class="faults">
      {faults.map((fault) => (
        <li key={`${fault.file} ${fault.line} ${fault.column} ${fault.message}`}>
          {fault.line > 0 &&
            (goTo === undefined ? (
              `${say.line(fault.line, fault.column)}:`
            ) : (
              <button type="button" class="plain" onClick={() => goTo(fault)}>
                {say.line(fault.line, fault.column)}
              </button>
            ))}{" "}
          <bdi>{messageOf(fault.message)}</bdi> <Cure fault={fault} onAdd={onAdd} />
        </li>
      ))}
    </ul>
  );
}

function Cure({ fault, onAdd }: { fault: Fault; onAdd: Props["onAdd"] | undefined }) {
  const schema = missingSchema(fault.message);
  if (schema === null || onAdd === undefined) return null;
  return (
    <button type="button" onClick={() => onAdd(schema)}>
      {words().pipelines.addNamed(schema)}
    </button>
  );
}

export function Conflicts({ conflicts }: { conflicts: Conflict[] }) {
  const say = words().pipelines;
  if (conflicts.length === 0) return null;
  return (
    <>
      <h3 class="bad">{say.conflicts}</h3>
      <ul class="faults">
        {conflicts.map(({ what, reason, way_out }) => (
          <li key={what}>
            <strong>{what}</strong>: {reason}.
            <br />
            {say.wayOut}: {way_out}.
          </li>
        ))}
      </ul>
    </>
  );
}

function Changes({ changes }: { changes: string[] }) {
  const say = words().pipelines;
  if (changes.length === 0) return <p class="note">{say.unchanged}</p>;
  return (
    <>
      <h3>{say.changes}</h3>
      <ul id="changes">
        {changes.map((change) => (
          <li key={change}>{change}</li>
        ))}
      </ul>
    </>
  );
}
