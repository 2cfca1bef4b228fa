// The page: signing in, the list, and what went wrong.

import { Api, Refusal } from "./api.js";
import { Row } from "./row.js";
import { type Entry, Tasks } from "./tasks.js";

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

const signIn = find<HTMLFormElement>("sign-in");
const address = find<HTMLInputElement>("address");
const token = find<HTMLTextAreaElement>("token");
const signInProblem = find("sign-in-problem");
const account = find("account");
const retrying = find("retrying");
const main = find("main");
const adding = find<HTMLFormElement>("add");
const title = find<HTMLInputElement>("new");
const list = find("list");
const empty = find("empty");
const summary = find("summary");
const more = find<HTMLButtonElement>("more");
const notice = find("notice");
const template = find<HTMLTemplateElement>("row");

let tasks: Tasks | undefined;
let rows = new Map<Entry, Row>();

function show(): void {
  if (!tasks) return;
  const { entries, hasMore } = tasks;
  for (const [entry, row] of rows) {
    if (!entries.includes(entry)) {
      row.element.remove();
      rows.delete(entry);
    }
  }
  entries.forEach((entry, place) => {
    let row = rows.get(entry);
    if (!row && tasks) {
      row = new Row(template, entry, tasks, fail);
      rows.set(entry, row);
    }
    if (row && list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
    row?.show();
  });
  const there = entries.filter((entry) => !entry.isGone);
  const done = there.filter((entry) => entry.shown.completed).length;
  empty.hidden = there.length > 0 || hasMore;
  list.hidden = there.length === 0;
  more.hidden = !hasMore;
  summary.textContent = there.length ? `${done} of ${there.length}${hasMore ? "+" : ""} done` : "";
}

function fail(error: unknown): void {
  if (error instanceof Refusal && error.status === 401) return signOut(error.message);
  find("notice-text").textContent = error instanceof Error ? error.message : String(error);
  notice.hidden = false;
}

async function signedIn(): Promise<void> {
  const credentials = { address: address.value.replace(/\/+$/, ""), token: token.value };
  try {
    // What make dev prints may be pasted with all that is around the token.
    const bare = /[\w-]+\.[\w-]+\.[\w-]+/.exec(credentials.token)?.[0] ?? "";
    const api = new Api(credentials.address, bare, (isTryingAgain) => (retrying.hidden = !isTryingAgain));
    const found = new Tasks(api, show);
    await found.more();
    tasks = found;
  } catch (error) {
    return signOut(error instanceof Error ? error.message : String(error));
  }
  sessionStorage.setItem("credentials", JSON.stringify(credentials));
  signIn.hidden = true;
  account.hidden = main.hidden = false;
  show();
  title.focus();
}

function signOut(problem = ""): void {
  tasks = undefined;
  rows = new Map();
  list.replaceChildren();
  sessionStorage.removeItem("credentials");
  account.hidden = main.hidden = notice.hidden = true;
  signIn.hidden = false;
  signInProblem.textContent = problem;
  token.focus();
}

signIn.addEventListener("submit", (event) => {
  event.preventDefault();
  signedIn();
});
find("sign-out").addEventListener("click", () => {
  token.value = "";
  signOut();
});
adding.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = title.value;
  title.value = "";
  try {
    await tasks?.add(text);
  } catch (error) {
    title.value ||= text; // unless the next one is being typed
    fail(error);
  }
});
more.addEventListener("click", () => tasks?.more().catch(fail));
find("notice-close").addEventListener("click", () => (notice.hidden = true));

const kept = sessionStorage.getItem("credentials");
if (kept) {
  ({ address: address.value, token: token.value } = JSON.parse(kept));
  signedIn();
} else {
  signOut();
}
