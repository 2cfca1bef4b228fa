// The list as it is shown: each change at once, and taken back when the service refuses it. Knows no page.

import { type Api, Refusal, type Task, Unanswered, type Versioned } from "./api.js";

/** A line of the list. `shown` runs ahead of `saved` while a change is on its way. */
export interface Entry {
  shown: Task;
  saved: Task | undefined;
  isGone: boolean;
  /** How many changes are on their way. */
  waiting: number;
}

/** Another writer was faster. The entry shows what they wrote. */
export class Conflict extends Error {}

export class Tasks {
  entries: Entry[] = [];
  #next: string | undefined;
  #unanswered: { text: string; key: string } | undefined;
  readonly #tags = new Map<string, string>();
  readonly #turns = new WeakMap<Entry, Promise<unknown>>();

  /** `changed` is called whenever there is something else to show. */
  constructor(
    readonly api: Api,
    readonly changed: () => void,
  ) {}

  get hasMore(): boolean {
    return this.#next !== undefined;
  }

  /** Adds the next page: at first, the first one. */
  async more(): Promise<void> {
    const { tasks, next } = await this.api.list(this.#next);
    const known = new Set(this.entries.map((entry) => entry.shown.id));
    const unknown = tasks.filter((task) => !known.has(task.id));
    this.entries.push(...unknown.map((task) => ({ shown: task, saved: task, isGone: false, waiting: 0 })));
    this.#next = next;
    this.changed();
  }

  async add(title: string): Promise<void> {
    // When nobody knows whether it was saved, the same text is the same intent.
    const key = this.#unanswered?.text === title ? this.#unanswered.key : crypto.randomUUID();
    const now = new Date().toISOString();
    const task = { id: key, user_id: "", title, description: null, completed: false, created_at: now, updated_at: now };
    const entry: Entry = { shown: task, saved: undefined, isGone: false, waiting: 0 };
    this.entries.unshift(entry);
    this.#unanswered = { text: title, key };
    await this.#inTurn(entry, async () => {
      try {
        this.#save(entry, await this.api.create({ title }, key));
        this.#unanswered = undefined;
      } catch (error) {
        if (!(error instanceof Unanswered)) this.#unanswered = undefined;
        throw error;
      }
    });
  }

  toggle(entry: Entry): Promise<void> {
    const completed = !entry.shown.completed;
    return this.#change(
      entry,
      { completed },
      (task) => task.completed === completed,
      (id, tag) => this.api.complete(id, tag, completed),
    );
  }

  edit(entry: Entry, title: string, description: string | null): Promise<void> {
    const texts = { title, description };
    return this.#change(
      entry,
      texts,
      (task) => task.title === title && task.description === description,
      (id, tag) => this.api.update(id, tag, texts),
    );
  }

  remove(entry: Entry): Promise<void> {
    entry.isGone = true;
    return this.#change(
      entry,
      {},
      () => false,
      async (id, tag) => {
        await this.api.delete(id, tag);
        return undefined;
      },
    );
  }

  /**
   * Shows a change, sends it when those before it are done, and takes it back when it is refused. When the version is
   * another one and the task is as wanted, an earlier try has arrived whose answer was lost.
   */
  #change(
    entry: Entry,
    preview: Partial<Task>,
    isAsWanted: (task: Task) => boolean,
    send: (id: string, tag: string) => Promise<Versioned | undefined>,
  ): Promise<void> {
    entry.shown = { ...entry.shown, ...preview };
    return this.#inTurn(entry, async () => {
      if (!entry.saved) return; // it was never made
      const { id } = entry.saved;
      try {
        const result = await send(id, this.#tags.get(id) ?? (await this.#tagOfWhatIsShown(entry.saved)));
        if (result) this.#save(entry, result);
        else this.#drop(entry);
      } catch (error) {
        const isMissing = error instanceof Refusal && error.status === 404;
        if (isMissing) this.#drop(entry);
        if (isMissing && entry.isGone) return; // as it was to be
        if (!(error instanceof Conflict) && !(error instanceof Refusal && error.status === 412)) throw error;
        const current = await this.api.get(id);
        this.#save(entry, current);
        if (!isAsWanted(current.task)) throw new Conflict(error.message);
      }
    });
  }

  /** Lists say no versions, so the first write to a task asks for it. */
  async #tagOfWhatIsShown(shown: Task): Promise<string> {
    const { task, tag } = await this.api.get(shown.id);
    if (task.updated_at !== shown.updated_at) throw new Conflict("The task has been changed meanwhile.");
    return tag;
  }

  async #inTurn(entry: Entry, work: () => Promise<void>): Promise<void> {
    entry.waiting++;
    this.changed();
    const turn = (this.#turns.get(entry) ?? Promise.resolve()).then(work);
    this.#turns.set(
      entry,
      turn.catch(() => {}),
    );
    try {
      await turn;
    } catch (error) {
      if (entry.saved) entry.shown = entry.saved;
      else this.#drop(entry);
      entry.isGone = false;
      throw error;
    } finally {
      entry.waiting--;
      if (entry.saved && entry.waiting === 0) entry.shown = entry.saved;
      this.changed();
    }
  }

  #save(entry: Entry, { task, tag }: Versioned): void {
    entry.saved = task;
    this.#tags.set(task.id, tag);
  }

  #drop(entry: Entry): void {
    this.entries = this.entries.filter((other) => other !== entry);
  }
}
