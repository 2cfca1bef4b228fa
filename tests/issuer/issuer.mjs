// better-auth as a frontend's project would run it: jwt plugin (EdDSA), ids that are UUIDs, everything in memory.
// Prints its address once it listens on a free port of 127.0.0.1.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";

const server = createServer((request, response) => handler(request, response));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const address = `http://127.0.0.1:${server.address().port}`;

const auth = betterAuth({
  baseURL: address,
  secret: "a secret of the tests, never of a deployment",
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
  emailAndPassword: { enabled: true },
  advanced: { database: { generateId: "uuid" } },
  plugins: [jwt({ jwt: { definePayload: () => ({}) } })],
  telemetry: { enabled: false },
});
const handler = toNodeHandler(auth);
console.log(address);
