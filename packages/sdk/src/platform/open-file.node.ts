// An open file of Node. Two handles when it is written directly: whole pages go past the page cache through
// one (O_DIRECT), what is left of them through the other (docs/decisions/0010-pull-writes.md).
import * as fs from "node:fs";
import { codeOf, ioError } from "./file-errors.ts";
import { factsOf } from "./file-facts.node.ts";
import type { OpenFile } from "./file-system.ts";
import { beginsOnPage } from "./page-memory.node.ts";

type Handle = fs.promises.FileHandle;
/** What a direct handle is used for. */
type Writer = Pick<Handle, "write" | "close">;

/** Offsets and lengths of direct writes are multiples of a disk's block; 4 KiB is the largest in use. */
const BLOCK_BYTES = 4096;

/**
 * A second handle on a file that is there, for direct writes; undefined where the system has none (macOS,
 * Windows) or the file system cannot (some network and memory file systems).
 */
export async function openDirect(name: string): Promise<Handle | undefined> {
  // Not in the constants of systems without it.
  const direct: number | undefined = fs.constants.O_DIRECT;
  if (direct === undefined) return undefined;
  return fs.promises.open(name, fs.constants.O_WRONLY | direct).catch(() => undefined);
}

/** Wraps the handles of a file; `direct` takes the writes it can. */
export function openFile(name: string, handle: Handle, direct: Writer | undefined): OpenFile {
  const attempt = <T>(verb: string, run: () => Promise<T>): Promise<T> =>
    run().catch((cause: unknown) => {
      throw ioError(verb, name, cause);
    });
  let directly = direct;
  const write = async (bytes: Uint8Array, position: number) => {
    let done = 0;
    if (directly !== undefined && position % BLOCK_BYTES === 0 && beginsOnPage(bytes)) {
      const whole = bytes.length - (bytes.length % BLOCK_BYTES);
      try {
        await writeAll(directly, bytes.subarray(0, whole), position);
        done = whole;
      } catch (error) {
        // Some file systems open files so and refuse to write (EINVAL): the page cache takes it all.
        if (codeOf(error) !== "EINVAL") throw error;
        directly = undefined;
      }
    }
    await writeAll(handle, bytes.subarray(done), position + done);
  };
  return {
    read: (into, position) =>
      attempt("read", async () => {
        let done = 0;
        while (done < into.length) {
          const { bytesRead } = await handle.read(into, done, into.length - done, position + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return done;
      }),
    write: (bytes, position) => attempt("write", () => write(bytes, position)),
    facts: () => attempt("inspect", async () => factsOf(await handle.stat())),
    resize: (size) => attempt("resize", () => handle.truncate(size)),
    sync: () => attempt("flush", () => handle.datasync()),
    close: () =>
      attempt("close", async () => {
        await direct?.close();
        await handle.close();
      }),
  };
}

async function writeAll(handle: Writer, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const left = bytes.length - done;
    const { bytesWritten } = await handle.write(bytes, done, left, position + done);
    done += bytesWritten;
  }
}
