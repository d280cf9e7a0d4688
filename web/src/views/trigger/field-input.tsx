// One field of an event, as its schema says.
import type { TargetedInputEvent } from "preact";
import { text } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import type { Json } from "../../types.ts";
import type { Field } from "./schema.ts";

interface InputProps {
  field: Field;
  value: Json | undefined;
  onChange: (value: Json | undefined) => void;
}

export function FieldInput({ field, value, onChange }: InputProps) {
  const say = words().trigger;
  const id = `field-${field.name}`;
  return (
    <div>
      <label for={id} title={field.description}>
        {field.name} {!field.required && <span>({say.optional})</span>}
      </label>
      {field.kind === "choice" ? (
        <select
          id={id}
          value={value === undefined ? "" : JSON.stringify(value)}
          onChange={(event) => onChange(parsed(event.currentTarget.value))}
        >
          {(!field.required || value === undefined) && <option value="">{say.leftOut}</option>}
          {field.choices.map((choice) => (
            <option key={JSON.stringify(choice)} value={JSON.stringify(choice)}>
              {text(choice)}
            </option>
          ))}
        </select>
      ) : (
        <TypedInput id={id} field={field} value={value === undefined ? "" : text(value)} onTyped={onChange} />
      )}
    </div>
  );
}

interface TypedProps {
  id: string;
  field: Field;
  value: string;
  onTyped: (value: Json | undefined) => void;
}

function TypedInput({ id, field, value, onTyped }: TypedProps) {
  const onInput = (event: TargetedInputEvent<HTMLInputElement>) => onTyped(typed(field, event.currentTarget.value));
  if (field.kind !== "integer" && field.kind !== "number") {
    return <input id={id} type="text" pattern={field.pattern} value={value} onInput={onInput} />;
  }
  const step = field.kind === "integer" ? 1 : "any";
  return (
    <input id={id} type="number" step={step} min={field.minimum} max={field.maximum} value={value} onInput={onInput} />
  );
}

/** What was typed, as the field's kind; as text where it is none such, which the job will say. */
function typed(field: Field, value: string): Json | undefined {
  if (value === "" && !field.required) return undefined;
  return field.kind === "text" ? value : (parsed(value) ?? value);
}

function parsed(value: string): Json | undefined {
  try {
    return JSON.parse(value) as Json;
  } catch {
    return undefined;
  }
}
