// A command for a shell that sends the same event.
import { useState } from "preact/hooks";
import { words } from "../../i18n/words.ts";
import type { Json, Topic } from "../../types.ts";

export function Curl({ topic, event }: { topic: Topic; event: () => Json }) {
  const say = words().trigger;
  const [command, setCommand] = useState<string | null>(null);
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    const quoted = JSON.stringify(event()).replaceAll("'", `'\\''`);
    const made = `curl -H 'Content-Type: application/json' -d '${quoted}' '${location.origin}${topic.post}?ack=applied'`;
    setCommand(made);
    // Not allowed everywhere: then it is there to be copied by hand.
    setCopied(
      await navigator.clipboard?.writeText(made).then(
        () => true,
        () => false,
      ),
    );
  };
  return (
    <>
      <button type="button" onClick={() => void copy()}>
        {say.curl}
      </button>
      {command !== null && (
        <div class="wide">
          <p class="note" role="status">
            {copied ? say.copied : say.curlLabel}
          </p>
          <pre tabIndex={0} class="scroll" aria-label={say.curlLabel}>
            {command}
          </pre>
        </div>
      )}
    </>
  );
}
