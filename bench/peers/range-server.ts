// A mirror: a plain server of files with ranges, as nginx or Caddy are, and one that damages what it serves.
//   node range-server.ts ADDRESS PORT FOLDER [SHARE]
// SHARE of the answers, spread evenly, have one byte changed.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";

const [, , address = "", port = "", folder = "", share = "0"] = process.argv;
const every = Number(share) > 0 ? Math.round(1 / Number(share)) : 0;
let answers = 0;

/** Changes one byte in the middle of what passes. */
function damage(size: number): Transform {
  const at = Math.floor(size / 2);
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (at >= passed && at < passed + chunk.length)
        chunk[at - passed] = (chunk[at - passed] ?? 0) ^ 255;
      passed += chunk.length;
      done(null, chunk);
    },
  });
}

const server = createServer((request, response) => {
  void (async () => {
    const { pathname } = new URL(request.url ?? "/", "http://mirror");
    const file = path.join(folder, path.normalize(decodeURIComponent(pathname)));
    const found = await stat(file).catch(() => undefined);
    if (found === undefined || !found.isFile()) {
      response.writeHead(404).end();
      return;
    }
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const start = Number(range?.[1] ?? 0);
    const end = Math.min(found.size - 1, range?.[2] ? Number(range[2]) : found.size - 1);
    if (start >= found.size) {
      response.writeHead(416, { "content-range": `bytes */${found.size}` }).end();
      return;
    }
    response.writeHead(range === null ? 200 : 206, {
      "accept-ranges": "bytes",
      "content-length": end - start + 1,
      "content-type": "application/octet-stream",
      etag: `"${found.mtimeMs.toString(16)}-${found.size.toString(16)}"`,
      ...(range === null ? {} : { "content-range": `bytes ${start}-${end}/${found.size}` }),
    });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    answers += 1;
    const content = createReadStream(file, { start, end, highWaterMark: 256 * 1024 });
    const bad = every > 0 && answers % every === 0;
    await (bad
      ? pipeline(content, damage(end - start + 1), response)
      : pipeline(content, response));
  })().catch(() => response.destroy());
});
server.listen(Number(port), address);
