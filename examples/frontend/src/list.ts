// The list on the page: a row for each entry, the number of completed tasks, and the message for an empty list.

import { type Actions, Row } from "./row.js";
import type { Entry, Tasks } from "./tasks.js";

const find = (id: string) => document.getElementById(id) as HTMLElement;

export class List {
  readonly #element = find("list");
  /** Rows are kept while their entries are not shown, so that an open editor keeps its text. */
  #rows = new WeakMap<Entry, Row>();

  readonly #actions: Actions;

  constructor(actions: Actions) {
    this.#actions = actions;
  }

  show(tasks: Tasks): void {
    const rows = tasks.entries.map((entry) => this.#rowOf(entry, tasks));
    for (const element of [...this.#element.children]) {
      if (!rows.some((row) => row.element === element)) element.remove();
    }
    rows.forEach(({ element }, place) => {
      const current = this.#element.children[place];
      if (current !== element) this.#element.insertBefore(element, current ?? null);
    });
    for (const row of rows) row.show();
    this.#describe(tasks);
  }

  clear(): void {
    this.#element.replaceChildren();
    this.#rows = new WeakMap();
  }

  focus(entry: Entry): void {
    this.#rows.get(entry)?.focus();
  }

  #rowOf(entry: Entry, tasks: Tasks): Row {
    const row = this.#rows.get(entry) ?? new Row(find("row") as HTMLTemplateElement, entry, tasks, this.#actions);
    this.#rows.set(entry, row);
    return row;
  }

  #describe({ entries, hasMore, query }: Tasks): void {
    const shown = entries.filter((entry) => !entry.isDeleted);
    const isEmpty = shown.length === 0 && !hasMore;
    const isFiltered = query.q !== undefined || query.completed !== undefined;
    const done = shown.filter((entry) => entry.shown.completed).length;
    const count = `${shown.length}${hasMore ? "+" : ""}`;
    find("summary").textContent = isEmpty ? "" : isFiltered ? `${count} found` : `${done} of ${count} done`;
    this.#element.hidden = shown.length === 0;
    find("more").hidden = !hasMore;
    find("empty").hidden = !isEmpty;
    find("show-all").hidden = !isFiltered;
    const [title, text] = query.q
      ? ["Nothing found", `No task here contains “${query.q}”.`]
      : query.completed
        ? ["Nothing done yet", "Completed tasks appear here."]
        : query.completed === false
          ? ["Nothing to do", "Every task is done."]
          : ["Nothing to do", "What you add above appears here."];
    find("empty-title").textContent = title as string;
    find("empty-text").textContent = text as string;
  }
}
