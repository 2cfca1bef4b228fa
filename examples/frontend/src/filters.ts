// The controls above the list, converted to query parameters of list_tasks.

import type { Query } from "../../client/client.js";

const TYPING_MS = 250;
const COMPLETED = new Map([
  ["open", false],
  ["done", true],
]);

/** Calls `changed` after a choice, and when the user pauses while typing a search. */
export class Filters {
  readonly #form: HTMLFormElement;
  #timer = 0;

  constructor(form: HTMLFormElement, changed: () => void) {
    this.#form = form;
    const report = () => {
      clearTimeout(this.#timer);
      changed();
    };
    form.addEventListener("change", report);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      report();
    });
    form.addEventListener("input", (event) => {
      if ((event.target as HTMLInputElement).type !== "search") return;
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(report, TYPING_MS);
    });
    document.getElementById("show-all")?.addEventListener("click", () => {
      this.reset();
      report();
    });
  }

  reset(): void {
    this.#form.reset();
  }

  get query(): Query {
    const form = new FormData(this.#form);
    const completed = COMPLETED.get(String(form.get("show")));
    const q = String(form.get("q")).trim();
    return {
      sort: form.get("sort") as NonNullable<Query["sort"]>,
      ...(completed !== undefined && { completed }),
      ...(q && { q }),
    };
  }
}
