// better-auth with the jwt plugin and everything in memory, as a frontend's project would run it.
// Arguments: the algorithm, "uuid" or "plain" for the ids of users, and the seconds after which the key is replaced.
// Prints its address once it listens on a free port of 127.0.0.1.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";

const [alg, ids, rotation] = process.argv.slice(2);

const server = createServer((request, response) => handler(request, response));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const address = `http://127.0.0.1:${server.address().port}`;

const auth = betterAuth({
  baseURL: address,
  secret: "a secret of the tests, never of a deployment",
  database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
  emailAndPassword: { enabled: true },
  advanced: ids === "uuid" ? { database: { generateId: "uuid" } } : {},
  plugins: [
    jwt({
      jwt: { definePayload: () => ({}) },
      jwks: { keyPairConfig: { alg }, ...(rotation ? { rotationInterval: Number(rotation) } : {}) },
    }),
  ],
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
});
const handler = toNodeHandler(auth);
console.log(address);
