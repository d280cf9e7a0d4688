// Calls to the server. Every error is the server's own text, which says what to do.
import { signal } from "@preact/signals";
import { words } from "./i18n/words.ts";

const TOKEN_KEY = "caudal-token";

/** True while the server asks for a token, or has refused the one that was given. */
export const needsToken = signal(false);

let token = sessionStorage.getItem(TOKEN_KEY);

/** Kept until this tab is closed. */
export function setToken(value: string): void {
  token = value;
  sessionStorage.setItem(TOKEN_KEY, value);
  needsToken.value = false;
}

/** Empty where there is none. */
export function tokenInUse(): string {
  return token ?? "";
}

/** An answer that is an error (RFC 9457), or no answer at all (status 0). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly body: Record<string, unknown> = {},
  ) {
    super(detail);
  }

  /** Whether what was asked for may have been done all the same, or be done later. */
  get isOpen(): boolean {
    return this.status === 0 || this.status === 409 || this.status >= 500;
  }
}

/** In the page's words: a browser's own say nothing, and in its own language. */
export function noAnswer(): Problem {
  return new Problem(0, words().state.noAnswer);
}

export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers);
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  let answer: Response;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw noAnswer();
  }
  if (answer.status === 401) needsToken.value = true;
  if (!answer.ok) throw await problem(answer);
  return answer;
}

async function problem(answer: Response): Promise<Problem> {
  const text = await answer.text();
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    return new Problem(answer.status, String(body["detail"] ?? body["title"] ?? text), body);
  } catch {
    return new Problem(answer.status, text || answer.statusText);
  }
}

export async function get<T>(path: string, options: RequestInit = {}): Promise<T> {
  return (await (await ask(path, options)).json()) as T;
}

/** Sends a body, JSON unless it is text already, and gives the answer's JSON. With a `key` the request is taken once, however often it is sent. */
export async function send<T>(method: string, path: string, body?: unknown, key?: string): Promise<T> {
  const options: RequestInit = { method };
  if (body !== undefined) {
    options.body = typeof body === "string" ? body : JSON.stringify(body);
    options.headers = {
      "Content-Type": "application/json",
      ...(key !== undefined && { "Idempotency-Key": `"${key}"` }),
    };
  }
  const answer = await ask(path, options);
  try {
    return (await answer.json()) as T;
  } catch {
    // It broke off, or something between here and the job has answered.
    throw noAnswer();
  }
}

/** A path with a query; what is undefined or empty is left out. */
export function path(base: string, query: Record<string, string | number | boolean | undefined>): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") params.append(name, String(value));
  }
  const text = params.toString();
  return text === "" ? base : `${base}?${text}`;
}
