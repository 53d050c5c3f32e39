#!/usr/bin/env node
// Writes what `next build` does for standalone output: .next/standalone with the server and its packages, of which
// some are links, as pnpm's; .next/static, which is not in it; and the developer's .env, which is.
const { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } = require("node:fs");

if (!process.env.NEXT_PRIVATE_STANDALONE) throw new Error("no standalone output was asked for");
if (process.env.NEXT_PRIVATE_OUTPUT_TRACE_ROOT !== process.cwd()) throw new Error("traced from another folder");
const page = readFileSync("app/page.html", "utf8").replace("API", process.env.NEXT_PUBLIC_API_URL);
rmSync(".next", { recursive: true, force: true });
mkdirSync(".next/standalone/.next/server", { recursive: true });
mkdirSync(".next/standalone/node_modules/.pnpm/send/node_modules/send", { recursive: true });
mkdirSync(".next/static/chunks", { recursive: true });
writeFileSync(".next/standalone/.next/server/page.html", page);
writeFileSync(".next/static/chunks/main.js", "1");
writeFileSync(".next/standalone/.env", "TOKEN=of-the-developer\n");
cpSync("stand-in/server.js", ".next/standalone/server.js");
cpSync("stand-in/send.js", ".next/standalone/node_modules/.pnpm/send/node_modules/send/index.js");
symlinkSync(".pnpm/send/node_modules/send", ".next/standalone/node_modules/send");
