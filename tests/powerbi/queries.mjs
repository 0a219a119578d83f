// Parse Power Query (M) with Microsoft's own parser: node queries.mjs NODE_MODULES < queries.json > errors.json
// In: name to query. Out: name to the parser's error, null where there is none.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const require = createRequire(resolve(process.argv[2], "package.json"));
const { DefaultSettings, TaskUtils } = require("@microsoft/powerquery-parser");
const errors = {};
for (const [name, query] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const task = await TaskUtils.tryLexParse(DefaultSettings, query);
  errors[name] = TaskUtils.isError(task) ? task.error.message : null;
}
console.log(JSON.stringify(errors));
