// Small images of what a model does, left by its trainer in `thumbnails/` of its output: shown as samples, once it has ended.
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "@waybill/sdk/protocol";

const FOLDER = "thumbnails";
/** What a viewer looks at. */
const MAX_THUMBNAILS = 100;
/** Of all together: what a viewer's link is given before older samples give way (swarm/sample-sender). */
const MAX_BYTES = 16 * 1024 * 1024;

/** Paths in the output, by name; `leftOut` says how many are not among them: too large, or too many. */
export async function listThumbnails(
  output: string,
): Promise<{ readonly files: readonly string[]; readonly leftOut: number }> {
  const names = await readdir(join(output, FOLDER), { withFileTypes: true }).catch(() => []);
  const files: string[] = [];
  let bytes = 0;
  let leftOut = 0;
  const images = names.filter((entry) => entry.isFile() && IMAGE.test(entry.name));
  for (const { name } of images.toSorted((a, b) => byNumbers.compare(a.name, b.name))) {
    const size = files.length === MAX_THUMBNAILS ? Number.NaN : await sizeOf(output, name);
    if (size <= LIMITS.sampleBytes && bytes + size <= MAX_BYTES) {
      bytes += size;
      files.push(`${FOLDER}/${name}`);
    } else leftOut += 1;
  }
  return { files, leftOut };
}

/** `2.png` before `10.png`. */
const byNumbers = new Intl.Collator("en", { numeric: true });
const IMAGE = /\.(?:png|jpe?g|webp|gif)$/i;

async function sizeOf(output: string, name: string): Promise<number> {
  return (await lstat(join(output, FOLDER, name)).catch(() => undefined))?.size ?? Number.NaN;
}
