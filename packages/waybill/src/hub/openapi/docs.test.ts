// The pages of docs/protocol that restate a table say what the table says.
import { ERROR_CODES, ROUTE_NAMES, routeOf } from "@waybill/sdk/protocol";
import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { registrySchema } from "./registry-schema.ts";

const page = (name: string) =>
  readFile(new URL(`../../../../../docs/protocol/${name}`, import.meta.url), "utf8");

/** Cells of the table rows that begin with a name in backquotes. */
async function rowsOf(name: string): Promise<string[][]> {
  return (await page(name))
    .split("\n")
    .filter((line) => /^\| `\w+` \|/.test(line))
    .map((line) => line.split("|").map((cell) => cell.trim().replaceAll("`", "")));
}

describe("docs/protocol", () => {
  it("errors.md lists every code with its status, retry and exit code", async () => {
    const rows = (await rowsOf("errors.md")).map(([, ...cells]) => cells.slice(0, 4));
    const table = Object.entries(ERROR_CODES).map(([code, { status, retryable, exit }]) => [
      code,
      String(status),
      retryable ? "yes" : "no",
      String(exit),
    ]);
    expect(rows).toEqual(table);
  });

  it("registry-2.schema.json is the schema hubs read registries with", async () => {
    const committed: unknown = JSON.parse(await page("registry-2.schema.json"));
    // Not so: node --conditions=@waybill/source scripts/registry-schema.ts
    expect(committed).toEqual(JSON.parse(JSON.stringify(registrySchema())));
  });

  it("hub-api.md lists every route with its method, path and roles", async () => {
    const rows = (await rowsOf("hub-api.md")).map(([, ...cells]) => cells.slice(0, 3));
    const table = ROUTE_NAMES.map((name) => {
      const { method, path, roles } = routeOf(name);
      return [name, `${method} ${path}`, roles === "public" ? "public" : roles.join(", ")];
    });
    expect(rows).toEqual(table);
  });
});
