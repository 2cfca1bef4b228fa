// examples/client/client.ts against a running service: TASKS is the address of a user's tasks, TOKEN that user's token.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { NoAnswer, Problem, TaskClient } from "../../examples/frontend/build/client/client.js";

const client = new TaskClient(process.env.TASKS, () => process.env.TOKEN);
const network = globalThis.fetch;

/** Lets `answer` decide about each request: it gets the request's number, and what sends it. */
function intercept(answer) {
  const requests = [];
  globalThis.fetch = async (url, init) => {
    requests.push({ url, ...init });
    return answer(requests.length, () => network(url, init));
  };
  return requests;
}

function lost() {
  throw new TypeError("fetch failed");
}

beforeEach(async () => {
  globalThis.fetch = network;
  for (const { id } of (await client.list()).tasks) await client.delete(id, (await client.get(id)).etag);
});

test("makes the six calls", async () => {
  const created = await client.create({ title: "Buy milk" });
  const updated = await client.update(created.task.id, created.etag, { description: "Two cartons" });
  const completed = await client.complete(created.task.id, updated.etag, true);
  assert.deepEqual(await client.get(created.task.id), completed);
  assert.deepEqual((await client.list()).tasks, [completed.task]);
  assert.deepEqual([completed.task.title, completed.task.description], ["Buy milk", "Two cartons"]);
  await client.delete(created.task.id, completed.etag);
  assert.deepEqual((await client.list()).tasks, []);
});

test("follows the pages of a list", async () => {
  for (const title of ["a", "b", "c", "d"]) await client.create({ title, completed: title === "d" });
  const query = { limit: 2, completed: false, sort: "created_at" };
  const first = await client.list(query);
  const second = await client.list({ ...query, cursor: first.next });
  assert.deepEqual([...first.tasks, ...second.tasks].map((task) => task.title), ["a", "b", "c"]);
  assert.equal(second.next, undefined);
});

test("repeats a lost create with the same key, and makes one task", async () => {
  const requests = intercept(async (number, send) => {
    const response = await send();
    return number === 1 ? lost() : response;
  });
  await client.create({ title: "Buy milk" });
  assert.equal(requests.length, 2);
  assert.equal(requests[0].headers["Idempotency-Key"], requests[1].headers["Idempotency-Key"]);
  assert.equal((await client.list()).tasks.length, 1);
});

test("repeats a lost delete, and takes the 404 as done", async () => {
  const { task, etag } = await client.create({ title: "Buy milk" });
  intercept(async (number, send) => {
    const response = await send();
    return number === 1 ? lost() : response;
  });
  await client.delete(task.id, etag);
  assert.deepEqual((await client.list()).tasks, []);
});

test("waits as long as a 503 says, and tells when it repeats", async () => {
  const told = [];
  client.onRetry = (isRetrying) => told.push(isRetrying);
  const headers = { "Retry-After": "1" };
  const start = performance.now();
  intercept((number, send) => (number === 1 ? new Response("{}", { status: 503, headers }) : send()));
  await client.list();
  assert.ok(performance.now() - start >= 1000);
  assert.deepEqual(told, [true, false]);
});

test("reads the task again after a 412 and applies the edit to it", async () => {
  const { task } = await client.create({ title: "Buy milk", description: "1" });
  const seen = [];
  const edited = await client.edit(task.id, ({ title, description }) => {
    seen.push(description);
    return { title: `${title}!`, description: `${description}, 3` };
  });
  assert.equal(edited.task.description, "1, 3");
  intercept(async (number, send) => {
    if (number === 2) await network(`${process.env.TASKS}/${task.id}`, request({ description: "another writer's" }));
    return send();
  });
  const merged = await client.edit(task.id, ({ description }) => ({ description: `${description}, 4` }));
  assert.equal(merged.task.description, "another writer's, 4");
});

test("applies an edit once when its answer is lost", async () => {
  const { task } = await client.create({ title: "Buy milk" });
  intercept(async (number, send) => {
    const response = await send();
    return number === 2 ? lost() : response; // the PUT after the GET
  });
  const edited = await client.edit(task.id, ({ title }) => ({ title: `${title}, two cartons` }));
  assert.equal(edited.task.title, "Buy milk, two cartons");
});

test("throws the problem document of a refusal", async () => {
  const { task, etag } = await client.create({ title: "Buy milk" });
  await client.update(task.id, etag, { title: "Buy tea" });
  await assert.rejects(client.update(task.id, etag, { title: "Buy bread" }), (error) => {
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.message], [412, error.document.detail]);
    return true;
  });
  await assert.rejects(client.create({ title: "" }), (error) => {
    assert.deepEqual([error.status, error.document.errors[0].loc], [422, ["body", "title"]]);
    return true;
  });
});

test("gives up after four tries without an answer", async () => {
  const requests = intercept(lost);
  await assert.rejects(client.list(), NoAnswer);
  assert.equal(requests.length, 4);
});

function request(body) {
  const headers = { Authorization: `Bearer ${process.env.TOKEN}`, "Content-Type": "application/json" };
  return { method: "PUT", headers, body: JSON.stringify(body) };
}
