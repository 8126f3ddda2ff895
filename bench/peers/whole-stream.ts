// A transfer as a plain stream, over a data channel or a socket: one connection, from the first byte to the
// last; when it breaks, from the first byte again.
//   node whole-stream.ts serve ADDRESS PORT       takes files, keeps nothing
//   node whole-stream.ts send ADDRESS PORT FILE   ends when the server has one whole
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type Socket, connect, createServer } from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";

const [, , verb, address = "", port = "", file = ""] = process.argv;
/** How soon a broken connection is tried again. */
const RETRY_MS = 200;

/** The first eight bytes say how many follow; one byte answers that all came. */
function take(socket: Socket): void {
  let left: number | undefined;
  socket.on("error", () => socket.destroy());
  socket.on("data", (data: Buffer) => {
    left =
      left === undefined ? Number(data.readBigUInt64BE()) - (data.length - 8) : left - data.length;
    if (left <= 0) socket.end("1");
  });
}

async function send(): Promise<boolean> {
  const socket = connect(Number(port), address);
  // What a lost peer is noticed by when nothing says so.
  socket.setTimeout(5000, () => socket.destroy(new Error("silence")));
  try {
    await once(socket, "connect");
    const answer = once(socket, "data");
    answer.catch(() => undefined);
    const head = Buffer.alloc(8);
    head.writeBigUInt64BE(BigInt((await stat(file)).size));
    socket.write(head);
    await pipeline(createReadStream(file, { highWaterMark: 1024 * 1024 }), socket, { end: false });
    await answer;
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

if (verb === "serve") createServer(take).listen(Number(port), address);
else while (!(await send())) await sleep(RETRY_MS);
