// Events of one topic, or of all.
import { words } from "../i18n/words.ts";
import { Select } from "./select.tsx";
import { useTopics } from "./topics.ts";

export function TopicSelect({ topic, onChoice }: { topic: string; onChoice: (topic: string) => void }) {
  const { data } = useTopics();
  const names = data?.topics.map(({ name }) => name) ?? [];
  // That of the address is shown before the topics are known, and where there is none such.
  if (topic !== "" && !names.includes(topic)) names.push(topic);
  const options: [string, string][] = [
    ["", words().common.all],
    ...names.map((name): [string, string] => [name, name]),
  ];
  return <Select label={words().common.topic} value={topic} options={options} onChoice={onChoice} />;
}
