// Tables of `docs/performance.md`: each benchmark owns the part between its marks.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../../docs/performance.md", import.meta.url));

/** A Markdown table; the first row is the head. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head = [], ...body] = rows;
  return [head, head.map(() => "---"), ...body].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** Replaces what is between `<!-- name:start -->` and `<!-- name:end -->`. */
export async function writeSection(name: string, text: string): Promise<void> {
  const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`];
  const page = await readFile(PAGE, "utf8");
  const from = page.indexOf(start);
  const until = page.indexOf(end);
  if (from === -1 || until === -1) throw new Error(`${PAGE} lacks the marks of ${name}`);
  await writeFile(PAGE, `${page.slice(0, from + start.length)}\n\n${text}\n\n${page.slice(until)}`);
}
