// Receipts of push and pull as files: where they go, that nothing else is overwritten, and how they are written.
import { open, realpath, rename, rm } from "node:fs/promises";
import path from "node:path";
import { files, ioError } from "@waybill/sdk/platform";
import { type ArtifactManifest, type RoomId, WaybillError } from "@waybill/sdk/protocol";
import {
  type Receipt,
  type TransferFacts,
  issueReceipt,
  receiptPieces,
} from "@waybill/sdk/receipt";
import type { Context } from "./context.ts";

/** `--receipt [FILE]`: true without a file. */
export type ReceiptOption = { readonly receipt?: string | boolean };

/** How every receipt of ours begins. */
const RECEIPT_HEAD = '{"payload":"';

/** Beside the folder or file, so that it is no part of it. */
export function defaultReceiptFile(about: string): string {
  return `${path.resolve(about)}.receipt.json`;
}

/**
 * The file that `--receipt [FILE]` asks for, checked before the transfer begins: hours later it must not fail
 * for a typo. Throws `invalid_request` when it lies in the folder it is about, `conflict` when something else
 * is there, `local_io` when nothing can be written there.
 */
export async function prepareReceiptFile(
  option: string | boolean | undefined,
  about: string,
): Promise<string | undefined> {
  if (option === undefined || option === false) return undefined;
  const file = option === true ? defaultReceiptFile(about) : path.resolve(option);
  const root = await realPath(path.resolve(about));
  const parent = await realPath(path.dirname(file));
  if (path.join(parent, path.basename(file)) === root || isWithin(parent, root)) {
    throw new WaybillError("invalid_request", `the receipt ${file} would be part of ${about}`, {
      hint: "name a file beside the folder, or give --receipt without one",
    });
  }
  try {
    files.makeDirectory(path.dirname(file));
    await assertReplaceable(file);
    const probe = `${file}.${process.pid}`;
    await (await open(probe, "w")).close();
    await rm(probe);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
  return file;
}

/** Where a path leads through links; what is not there yet has none. */
async function realPath(file: string): Promise<string> {
  try {
    return await realpath(file);
  } catch {
    const parent = path.dirname(file);
    return parent === file ? file : path.join(await realPath(parent), path.basename(file));
  }
}

function isWithin(file: string, root: string): boolean {
  return file === root || file.startsWith(path.join(root, path.sep));
}

async function assertReplaceable(file: string): Promise<void> {
  const there = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (there === undefined) return;
  try {
    const { buffer, bytesRead } = await there.read(Buffer.alloc(RECEIPT_HEAD.length));
    if (buffer.subarray(0, bytesRead).toString() === RECEIPT_HEAD) return;
  } finally {
    await there.close();
  }
  throw new WaybillError("conflict", `${file} is there and is not a receipt`, {
    hint: "name another file: --receipt FILE",
  });
}

/** Writes it whole or not at all, in the place of an earlier one. */
export async function writeReceipt(file: string, receipt: Receipt): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  try {
    const handle = await open(temporary, "w");
    try {
      for (const piece of receiptPieces(receipt)) await handle.writeFile(piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw cannotWrite(file, cause);
  }
}

/** What a transfer adds to what its order knows. */
type OrderedFacts = Omit<TransferFacts, "hub" | "room" | "startedMs" | "endedMs">;

/** A receipt that was asked for and can be written. */
export type ReceiptOrder = {
  /**
   * Signs, has it countersigned, writes it and says so; gives members for the command's last JSON line. `facts` are
   * those of the transfer that began with the order and has ended now.
   */
  keep(
    facts: OrderedFacts,
    manifest: ArtifactManifest,
  ): Promise<{ readonly receipt: string; readonly countersigned: boolean }>;
};

/** Takes the order at the beginning of a transfer; nothing when `--receipt` is not given. Throws as `prepareReceiptFile`. */
export async function orderReceipt(
  context: Context,
  room: RoomId,
  option: string | boolean | undefined,
  about: string,
): Promise<ReceiptOrder | undefined> {
  const file = await prepareReceiptFile(option, about);
  if (file === undefined) return undefined;
  const startedMs = Date.now();
  return {
    keep: async (facts, manifest) => {
      const { signal, output, hubUrl } = context;
      const times = { startedMs, endedMs: Date.now() };
      const hub = await context.client(room);
      const { identity } = await context.credential(room);
      const whole = { ...facts, ...times, room, hub: hubUrl };
      const { unsigned, ...receipt } = await issueReceipt(whole, manifest, {
        identity,
        hub,
        signal,
      });
      await writeReceipt(file, receipt);
      const alone = unsigned === undefined ? "" : `, signed by this machine alone: ${unsigned}`;
      output.note(`receipt ${file}${alone}`);
      return { receipt: file, countersigned: unsigned === undefined };
    },
  };
}

function cannotWrite(file: string, cause: unknown): WaybillError {
  const error = ioError("write", `the receipt ${file}`, cause);
  if (error.code !== "local_io") return error;
  return new WaybillError("local_io", error.message, {
    hint: "name another file: --receipt FILE",
    cause: error,
  });
}
