// The six calls, typed by what the service says of itself (schema.d.ts, which `make client` writes). Knows no page.

import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Task = components["schemas"]["Task"];
type NewTask = components["schemas"]["CreateTask"];
type Change = components["schemas"]["UpdateTask"];
type Problem = components["schemas"]["ProblemDocument"];

/** A task at a version: `tag` goes into If-Match, so that a write finds what was seen or nothing. */
export interface Versioned {
  task: Task;
  tag: string;
}

/** What the service will not do, in its own words. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

/** No answer, however often it was tried: what was asked for may or may not have been done. */
export class Unanswered extends Error {}

const PAGE = 20;
const TRIES = 4;

export class Api {
  readonly #client: Client<paths>;
  readonly #user: string;

  /** Throws an Error when `token` has no user. `retrying` is told when a call begins to be tried again, and when it ends. */
  constructor(
    readonly address: string,
    token: string,
    retrying: (isTryingAgain: boolean) => void,
  ) {
    this.#user = userOf(token);
    this.#client = createClient<paths>({
      baseUrl: address,
      headers: { Authorization: `Bearer ${token}` },
      fetch: (request) => fetchWithRetries(request, retrying),
    });
  }

  /** A page of tasks, newest first, and where the next one begins. */
  async list(cursor?: string): Promise<{ tasks: Task[]; next: string | undefined }> {
    const answer = await this.#client.GET("/api/{user_id}/tasks", {
      params: { path: { user_id: this.#user }, query: { limit: PAGE, ...(cursor && { cursor }) } },
    });
    const link = /<([^>]*)>; rel="next"/.exec(answer.response.headers.get("Link") ?? "")?.[1];
    const next = link && new URL(link, this.address).searchParams.get("cursor");
    return { tasks: accepted(answer), next: next ?? undefined };
  }

  async get(id: string): Promise<Versioned> {
    const params = { path: { user_id: this.#user, task_id: id } };
    return versioned(await this.#client.GET("/api/{user_id}/tasks/{task_id}", { params }));
  }

  /** One new task, however often it is sent with the same `key`. */
  async create(body: NewTask, key: string): Promise<Versioned> {
    const params = { path: { user_id: this.#user }, header: { "Idempotency-Key": key } };
    return versioned(await this.#client.POST("/api/{user_id}/tasks", { params, body }));
  }

  async update(id: string, tag: string, body: Change): Promise<Versioned> {
    return versioned(await this.#client.PUT("/api/{user_id}/tasks/{task_id}", { ...this.#at(id, tag), body }));
  }

  async complete(id: string, tag: string, completed: boolean): Promise<Versioned> {
    const options = { ...this.#at(id, tag), body: { completed } };
    return versioned(await this.#client.PATCH("/api/{user_id}/tasks/{task_id}/complete", options));
  }

  async delete(id: string, tag: string): Promise<void> {
    accepted(await this.#client.DELETE("/api/{user_id}/tasks/{task_id}", this.#at(id, tag)));
  }

  /** A write to a task that still is at the version `tag`. */
  #at(id: string, tag: string) {
    return { params: { path: { user_id: this.#user, task_id: id }, header: { "If-Match": tag } } };
  }
}

/** The user whose token this is. Only the service can say whether it is good. */
function userOf(token: string): string {
  try {
    const payload = token.split(".")[1] ?? "";
    const { sub } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
    if (typeof sub === "string") return sub;
  } catch {
    // not even a token
  }
  throw new Error("This is not a token. Copy all of what stands between “Bearer” and the quotation mark.");
}

interface Answer<T> {
  data?: T;
  error?: Problem;
  response: Response;
}

function accepted<T>({ data, error, response }: Answer<T>): T {
  if (!response.ok) throw new Refusal(response.status, error?.detail ?? `The answer was ${response.status}.`);
  return data as T;
}

function versioned(answer: Answer<Task>): Versioned {
  return { task: accepted(answer), tag: answer.response.headers.get("ETag") ?? "*" };
}

/**
 * Tries again when there is no answer, or 503. None of the calls above does anything twice: a key keeps a new task from
 * being made again, and a version keeps the others from finding what they have changed.
 */
async function fetchWithRetries(request: Request, retrying: (isTryingAgain: boolean) => void): Promise<Response> {
  for (let tries = 1; ; tries++) {
    let pause = 150 * 2 ** tries * (1 + Math.random()); // at random, so that not all come back at once
    try {
      const response = await fetch(request.clone());
      if (response.status !== 503 || tries === TRIES) {
        if (tries > 1) retrying(false);
        return response;
      }
      pause += 1000 * Number(response.headers.get("Retry-After"));
    } catch {
      if (tries === TRIES) {
        retrying(false);
        throw new Unanswered(`There is no answer from ${new URL(request.url).origin}. Try again when it is back.`);
      }
    }
    if (tries === 1) retrying(true);
    await new Promise((resume) => setTimeout(resume, pause));
  }
}
