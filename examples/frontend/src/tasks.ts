// The tasks that the page shows. A change shows at once, and is reverted if the service refuses it. Does not use the DOM.

import { newKey, NoAnswer, Problem } from "../../client/client.js";
import type { NewTask, Query, Task, TaskClient, Versioned } from "../../client/client.js";

const PAGE = 20;

/** A task of the list. `shown` differs from `saved` while changes are pending; `saved` is undefined until it is created. */
export interface Entry {
  shown: Task;
  saved: Task | undefined;
  /** Hidden from the list; it can still be restored. */
  isDeleted: boolean;
  /** The number of changes that the service has not yet answered. */
  pending: number;
}

/** Another writer changed the task first. The entry shows the task as it is now. */
export class Conflict extends Error {}

export class Tasks {
  entries: Entry[] = [];
  query: Query = {};
  readonly #client: TaskClient;
  readonly #changed: () => void;
  #next: string | undefined;
  #loads = 0;
  #unanswered: { text: string; key: string } | undefined;
  /** Kept across lists, so that a task keeps its pending changes and its open editor. */
  readonly #byId = new Map<string, Entry>();
  readonly #etags = new Map<string, string>();
  readonly #queues = new WeakMap<Entry, Promise<unknown>>();

  /** `changed` is called after each change of what the page must show. */
  constructor(client: TaskClient, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
  }

  get hasMore(): boolean {
    return this.#next !== undefined;
  }

  /** Shows the first page of another list. */
  async load(query: Query): Promise<void> {
    const load = ++this.#loads;
    const { tasks, next } = await this.#client.list({ ...query, limit: PAGE });
    if (load !== this.#loads) return; // a later call has replaced this one
    this.query = query;
    const uncreated = this.entries.filter((entry) => !entry.saved);
    this.entries = [...uncreated, ...tasks.map((task) => this.#entryOf(task))];
    this.#next = next;
    this.#changed();
  }

  /** Adds the next page. */
  async more(): Promise<void> {
    if (!this.#next) return;
    const load = ++this.#loads;
    const { tasks, next } = await this.#client.list({ ...this.query, limit: PAGE, cursor: this.#next });
    if (load !== this.#loads) return;
    const known = new Set(this.entries);
    this.entries.push(...tasks.map((task) => this.#entryOf(task)).filter((entry) => !known.has(entry)));
    this.#next = next;
    this.#changed();
  }

  /** Creates a task and shows it first, even if it does not match the filters. */
  async add(body: NewTask): Promise<void> {
    // While it is unknown whether the task was saved, the same text repeats the same request.
    const text = JSON.stringify(body);
    const key = this.#unanswered?.text === text ? this.#unanswered.key : newKey();
    const now = new Date().toISOString();
    const draft = { id: key, user_id: "", description: null, completed: false, created_at: now, updated_at: now };
    const entry: Entry = { shown: { ...draft, ...body }, saved: undefined, isDeleted: false, pending: 0 };
    this.entries.unshift(entry);
    this.#unanswered = { text, key };
    await this.#enqueue(entry, async () => {
      try {
        const created = await this.#client.create(body, key);
        this.entries = this.entries.filter((other) => other === entry || other.saved?.id !== created.task.id);
        this.#save(entry, created);
        this.#unanswered = undefined;
      } catch (error) {
        if (!(error instanceof NoAnswer)) this.#unanswered = undefined;
        throw error;
      }
    });
  }

  /** Completes or reopens a task. It is removed from a list of only open or only completed tasks if it no longer matches. */
  async toggle(entry: Entry): Promise<void> {
    const completed = !entry.shown.completed;
    await this.#change(
      entry,
      { completed },
      (task) => task.completed === completed,
      (id, etag) => this.#client.complete(id, etag, completed),
    );
    const wanted = this.query.completed;
    if (wanted !== undefined && entry.pending === 0 && entry.shown.completed !== wanted) this.#drop(entry);
    this.#changed();
  }

  edit(entry: Entry, title: string, description: string | null): Promise<void> {
    const texts = { title, description };
    return this.#change(
      entry,
      texts,
      (task) => task.title === title && task.description === description,
      (id, etag) => this.#client.update(id, etag, texts),
    );
  }

  /** Hides a task, and makes sure that it is as shown: `delete` or `restore` follows. */
  hide(entry: Entry): Promise<void> {
    entry.isDeleted = true;
    return this.#change(entry, {}, () => false, async (_, etag) => entry.saved && { task: entry.saved, etag });
  }

  restore(entry: Entry): void {
    entry.isDeleted = false;
    this.#changed();
  }

  /** Deletes a hidden task. With `keepalive` the request outlives the page. */
  delete(entry: Entry, keepalive = false): Promise<void> {
    return this.#change(entry, {}, () => false, async (id, etag) => {
      if (entry.isDeleted) await this.#client.delete(id, etag, keepalive); // unless it was not as shown
      return entry.isDeleted ? undefined : { task: entry.shown, etag };
    });
  }

  /**
   * Shows a change, sends it after the earlier changes, and reverts it if it is refused. A 412 for a task that already has
   * the change means that an earlier attempt was saved and its response lost. `send` returns nothing for a deleted task.
   */
  #change(
    entry: Entry,
    preview: Partial<Task>,
    isAsWanted: (task: Task) => boolean,
    send: (id: string, etag: string) => Promise<Versioned | undefined>,
  ): Promise<void> {
    entry.shown = { ...entry.shown, ...preview };
    return this.#enqueue(entry, async () => {
      if (!entry.saved) return; // it was never created
      const { id } = entry.saved;
      try {
        const result = await send(id, this.#etags.get(id) ?? (await this.#etagOf(entry.saved)));
        if (result) this.#save(entry, result);
        else this.#drop(entry);
      } catch (error) {
        const isMissing = error instanceof Problem && error.status === 404;
        if (isMissing) this.#drop(entry);
        if (isMissing && entry.isDeleted) return;
        if (!(error instanceof Conflict) && !(error instanceof Problem && error.status === 412)) throw error;
        const current = await this.#client.get(id);
        this.#save(entry, current);
        if (!isAsWanted(current.task)) throw new Conflict(error.message);
      }
    });
  }

  /** Lists contain no entity tags, so the first change of a task requests its tag. */
  async #etagOf(shown: Task): Promise<string> {
    const { task, etag } = await this.#client.get(shown.id);
    if (task.updated_at !== shown.updated_at) throw new Conflict("The task has been changed meanwhile.");
    this.#etags.set(task.id, etag);
    return etag;
  }

  async #enqueue(entry: Entry, work: () => Promise<void>): Promise<void> {
    entry.pending++;
    this.#changed();
    const result = (this.#queues.get(entry) ?? Promise.resolve()).then(work);
    this.#queues.set(entry, result.catch(() => {}));
    try {
      await result;
    } catch (error) {
      if (entry.saved) entry.shown = entry.saved;
      else this.#drop(entry);
      entry.isDeleted = false;
      throw error;
    } finally {
      entry.pending--;
      if (entry.saved && entry.pending === 0) entry.shown = entry.saved;
      this.#changed();
    }
  }

  #entryOf(task: Task): Entry {
    const known = this.#byId.get(task.id);
    const entry = known ?? { shown: task, saved: task, isDeleted: false, pending: 0 };
    this.#byId.set(task.id, entry);
    if (entry.pending === 0) {
      if (entry.saved?.updated_at !== task.updated_at) this.#etags.delete(task.id);
      entry.shown = entry.saved = task;
    }
    return entry;
  }

  #save(entry: Entry, { task, etag }: Versioned): void {
    entry.saved = task;
    this.#byId.set(task.id, entry);
    this.#etags.set(task.id, etag);
  }

  #drop(entry: Entry): void {
    this.entries = this.entries.filter((other) => other !== entry);
    this.#byId.delete(entry.shown.id);
  }
}
