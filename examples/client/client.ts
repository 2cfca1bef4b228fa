// A typed client of the task service, for browsers and Node 20. Copy it; ../README.md says how to get schema.d.ts.

import type { components, operations } from "./schema.js";

export type Task = components["schemas"]["Task"];
export type NewTask = components["schemas"]["CreateTask"];
export type Change = components["schemas"]["UpdateTask"];
export type Query = NonNullable<operations["list_tasks"]["parameters"]["query"]>;
export type Versioned = { task: Task; etag: string };

type ProblemDocument = Partial<components["schemas"]["ProblemDocument"]>;

const TRIES = 4;
const TRY_AGAIN = [502, 503, 504]; // the service sends 503, a proxy in front of it the other two

/** An error response. `message` is the `detail` of the problem document, a sentence for users. 412: the task changed. */
export class Problem extends Error {
  readonly status: number;
  readonly document: ProblemDocument;

  constructor(status: number, document: ProblemDocument) {
    super(document.detail ?? `The service answered with status ${status}.`);
    this.status = status;
    this.document = document;
  }
}

/** No response after several attempts. A write may have been saved: repeat it with the same key or entity tag. */
export class NoAnswer extends Error {}

/** An Idempotency-Key. `crypto.randomUUID` is missing from pages over http, as on a phone during development. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

export class TaskClient {
  readonly #url: string;
  readonly #token: () => string | Promise<string>;
  /** Called with true before the first repeat of a request, and with false when that request ends. */
  onRetry: (isRetrying: boolean) => void = () => {};

  /** `url` is the address of a user's tasks; `token` is called for each request. */
  constructor(url: string, token: () => string | Promise<string>) {
    this.#url = url;
    this.#token = token;
  }

  /** One page, and the cursor of the next one. */
  async list(query: Query = {}): Promise<{ tasks: Task[]; next?: string }> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const parameters = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
    const { body, headers } = await this.#send<Task[]>("GET", `?${parameters}`);
    const next = /[?&]cursor=([^&>]+)[^>]*>; *rel="next"/.exec(headers.get("Link") ?? "")?.[1];
    return { tasks: body, ...(next && { next }) };
  }

  get = (id: string) => this.#task("GET", `/${id}`);

  /** Creates one task, however often it is called with the same `key` and body. */
  create = (body: NewTask, key = newKey()) => this.#task("POST", "", { "Idempotency-Key": key }, body);

  update = (id: string, etag: string, body: Change) => this.#task("PUT", `/${id}`, { "If-Match": etag }, body);

  complete = (id: string, etag: string, completed: boolean) =>
    this.#task("PATCH", `/${id}/complete`, { "If-Match": etag }, { completed });

  async delete(id: string, etag: string, keepalive = false): Promise<void> {
    await this.#send("DELETE", `/${id}`, { "If-Match": etag }, undefined, keepalive);
  }

  /** Applies `change` to the task as it is now. After a 412 it reads the task again and applies `change` to that. */
  async edit(id: string, change: (task: Task) => Change): Promise<Versioned> {
    let sent: Change | undefined;
    for (let attempt = 1; ; attempt++) {
      const current = await this.get(id);
      const isSaved = sent && Object.entries(sent).every(([name, value]) => current.task[name as keyof Task] === value);
      if (isSaved) return current; // by an attempt whose response was lost
      sent = change(current.task);
      try {
        return await this.update(id, current.etag, sent);
      } catch (error) {
        if (!(error instanceof Problem && error.status === 412) || attempt === TRIES) throw error;
      }
    }
  }

  async #task(method: string, path: string, headers?: HeadersInit, body?: object): Promise<Versioned> {
    const answer = await this.#send<Task>(method, path, headers, body);
    return { task: answer.body, etag: answer.headers.get("ETag") ?? "*" };
  }

  /** Repeats a request without a response. Keys and entity tags prevent that a repeat applies a change twice. */
  async #send<T>(method: string, path: string, more?: HeadersInit, content?: object, keepalive = false) {
    const { origin } = new URL(this.#url);
    for (let attempt = 1; ; attempt++) {
      const headers = { ...more, Authorization: `Bearer ${await this.#token()}`, "Content-Type": "application/json" };
      const signal = AbortSignal.timeout(15_000);
      const request = { method, headers, body: content ? JSON.stringify(content) : null, keepalive, signal };
      const response = await fetch(this.#url + path, request).catch(() => undefined);
      const text = await response?.text().catch(() => undefined);
      const isAnswered = response !== undefined && text !== undefined;
      const isRefused = !response && (await refusesThisOrigin(origin));
      const isLast = isRefused || attempt === TRIES || (isAnswered && !TRY_AGAIN.includes(response.status));
      if (isLast && attempt > 1) this.onRetry(false);
      if (isAnswered && (response.ok || (method === "DELETE" && attempt > 1 && response.status === 404))) {
        return { body: (text && response.ok ? JSON.parse(text) : undefined) as T, headers: response.headers };
      }
      if (isLast && isAnswered) throw new Problem(response.status, problem(text));
      if (isRefused) throw new NoAnswer(`${origin} refuses pages of ${location.origin}: add that to its CORS_ORIGINS.`);
      if (isLast) throw new NoAnswer(`There is no answer from ${origin}. Try again when it is back.`);
      if (attempt === 1) this.onRetry(true);
      const seconds = (Number(response?.headers.get("Retry-After")) || 0) + 0.15 * 2 ** attempt * (1 + Math.random());
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  }
}

function problem(text: string): ProblemDocument {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // the error page of a proxy
  }
}

/** A browser hides why a request failed. When only `no-cors` reaches the service, it runs and CORS is the reason. */
async function refusesThisOrigin(origin: string): Promise<boolean> {
  if (!("location" in globalThis)) return false;
  const signal = AbortSignal.timeout(5000);
  const reaches = (mode: RequestMode) => fetch(`${origin}/livez`, { mode, signal }).then(() => true, () => false);
  return (await reaches("no-cors")) && !(await reaches("cors"));
}
