// The version of this package, as every part of it reports it.
import { readFileSync } from "node:fs";
import * as v from "valibot";

const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");

export const VERSION: string = v.parse(v.object({ version: v.string() }), JSON.parse(text)).version;
