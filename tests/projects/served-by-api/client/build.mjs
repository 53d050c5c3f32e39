// Writes what Vite would: dist/index.html, which names a file with a hash in assets/, and has a script of its own.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const script = readFileSync("src/main.js");
const name = `/assets/main-${createHash("sha256").update(script).digest("hex").slice(0, 8)}.js`;
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist/assets", { recursive: true });
writeFileSync(`dist${name}`, script);
writeFileSync("dist/index.html", readFileSync("index.html", "utf8").replace("/src/main.js", name));
