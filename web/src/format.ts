// Numbers, times and sizes as people read them, in the page's language.
import { language } from "./i18n/language.ts";
import type { Json } from "./types.ts";

const formats = new Map<string, Intl.NumberFormat>();

/** At most three significant decimals; thousands parted. */
export function number(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const key = `${language.value} ${digits}`;
  let format = formats.get(key);
  if (format === undefined) {
    format = new Intl.NumberFormat(language.value, { maximumFractionDigits: digits });
    formats.set(key, format);
  }
  return format.format(value);
}

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${number(value)} ${units[at]}`;
}

export function percent(share: number): string {
  return `${number(share * 100)} %`;
}

/** Milliseconds as the unit that suits them. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${number(ms)} ms`;
  if (ms < 120_000) return `${number(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${number(ms / 60_000)} min`;
  return `${number(ms / 3_600_000)} h`;
}

/** The server's times are UTC; they are shown as they are. */
export function time(at: string): string {
  return at.replace("T", " ").replace("Z", "");
}

/** The time of day alone. */
export function clock(at: string): string {
  return at.slice(11, 19);
}

/** A value as it is: text without quotes, anything else as JSON. */
export function text(of: Json | undefined): string {
  return typeof of === "string" ? of : (JSON.stringify(of) ?? "");
}

/** A value of an event or a row, on one line. */
export function value(of: Json | undefined): string {
  if (of === undefined || of === null) return "–";
  if (typeof of === "number") return number(of);
  return text(of);
}

/** A group's values; a window without a group has one row for all. */
export function group(of: Record<string, Json>, all: string): string {
  return Object.values(of).map(value).join(" · ") || all;
}
