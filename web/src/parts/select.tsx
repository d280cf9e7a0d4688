// One of several, with its label.
interface Props {
  label: string;
  value: string;
  options: readonly (readonly [value: string, name: string])[];
  onChoice: (value: string) => void;
}

export function Select({ label, value, options, onChoice }: Props) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => onChoice(event.currentTarget.value)}>
        {options.map(([of, name]) => (
          <option key={of} value={of}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
