// What a person's machine remembers: its key (`identity.json`) and the token of each room
// (`credentials.json`), both readable by their owner only.
import { link, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import {
  type Identity,
  type IdentityKey,
  generateIdentityKey,
  loadIdentity,
} from "@waybill/sdk/hub-client";
import {
  Role,
  RoomId,
  WaybillError,
  cryptoRandom,
  decodeJson,
  decodeValue,
  randomText,
} from "@waybill/sdk/protocol";
import { files } from "@waybill/sdk/platform";
import { retry } from "@waybill/sdk/timing";
import * as v from "valibot";

const KeyFile = v.object({ d: v.string(), x: v.string() });
const SavedRoom = v.object({ hub: v.string(), room: RoomId, role: Role, token: v.string() });
export type SavedRoom = v.InferOutput<typeof SavedRoom>;
const CredentialFile = v.object({ rooms: v.array(SavedRoom) });
const MAX_FILE_BYTES = 1024 * 1024;

/** Loads the machine's key, making one the first time. */
export async function machineIdentity(dataDir: string): Promise<Identity> {
  const file = path.join(dataDir, "identity.json");
  const text = await readIfThere(file);
  if (text !== undefined) return loadIdentity(decodeJson(KeyFile, text, file, MAX_FILE_BYTES));
  const key = await generateIdentityKey();
  await mkdir(dataDir, { recursive: true }).catch((cause: unknown) => {
    throw cannotWrite(file, cause);
  });
  const temporary = `${file}.${process.pid}.${randomText(6, cryptoRandom)}`;
  try {
    await writeFile(temporary, JSON.stringify(key), { mode: 0o600 });
    // A link, unlike a rename, never replaces: of two commands that start at once, one key wins.
    await link(temporary, file);
  } catch (cause) {
    const won = await readIfThere(file);
    if (won === undefined) throw cannotWrite(file, cause);
    return await loadIdentity(decodeJson(KeyFile, won, file, MAX_FILE_BYTES));
  } finally {
    await rm(temporary, { force: true });
  }
  return loadIdentity(key);
}

/** Rooms this machine has tokens for. */
export async function savedRooms(dataDir: string): Promise<SavedRoom[]> {
  const file = path.join(dataDir, "credentials.json");
  const text = await readIfThere(file);
  return text === undefined ? [] : decodeJson(CredentialFile, text, file, MAX_FILE_BYTES).rooms;
}

/** Remembers a room's token; one token per hub, room and whether it is a worker's. */
export async function saveRoom(dataDir: string, saved: SavedRoom): Promise<void> {
  await mkdir(dataDir, { recursive: true }).catch((cause: unknown) => {
    throw cannotWrite(dataDir, cause);
  });
  const unlock = await lockCredentials(dataDir);
  try {
    await replaceRoom(dataDir, saved);
  } finally {
    unlock();
  }
}

/** Two commands that save at once must not lose a token, least of all an owner's: it is given only once. */
function lockCredentials(dataDir: string): Promise<() => void> {
  const lock = async () => {
    try {
      return files.lock(path.join(dataDir, "credentials.lock"), "the saved tokens");
    } catch (error) {
      if (!(error instanceof WaybillError) || error.code !== "conflict") throw error;
      throw new WaybillError("unreachable", error.message, { cause: error });
    }
  };
  return retry(lock, { forMs: 10_000, baseMs: 10, capMs: 100 });
}

async function replaceRoom(dataDir: string, saved: SavedRoom): Promise<void> {
  const others = (await savedRooms(dataDir)).filter(
    (one) =>
      one.hub !== saved.hub ||
      one.room !== saved.room ||
      (one.role === "worker") !== (saved.role === "worker"),
  );
  const file = path.join(dataDir, "credentials.json");
  const temporary = `${file}.${process.pid}`;
  try {
    await writeFile(temporary, JSON.stringify({ rooms: [...others, saved] }, null, 2), {
      mode: 0o600,
    });
    await rename(temporary, file);
  } catch (cause) {
    throw cannotWrite(file, cause);
  }
}

/** Claims of a token, read without checking its signature: only to pick a room and a role. */
export function peekToken(token: string): { room: RoomId; role: Role; bound: boolean } {
  const Claims = v.object({ room: RoomId, role: Role, cnf: v.optional(v.unknown()) });
  const payload = token.split(".")[1] ?? "";
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  } catch (cause) {
    throw new WaybillError("unauthorized", "the token is not a Waybill token", { cause });
  }
  const claims = decodeValue(Claims, value, "the token");
  return { room: claims.room, role: claims.role, bound: claims.cnf !== undefined };
}

/** `WAYBILL_KEY`: a worker's key and token in one line, for pods. */
export function encodeWorkerKey(key: IdentityKey, token: string): string {
  return `wbk_${Buffer.from(JSON.stringify({ ...key, token })).toString("base64url")}`;
}

/** Reads a `WAYBILL_KEY`; throws `unauthorized` when it is not one. */
export async function decodeWorkerKey(
  text: string,
): Promise<{ token: string; identity: Identity }> {
  try {
    const json = Buffer.from(text.trim().replace(/^wbk_/, ""), "base64url").toString("utf8");
    const key = v.parse(
      v.object({ d: v.string(), x: v.string(), token: v.string() }),
      JSON.parse(json),
    );
    return { token: key.token, identity: await loadIdentity({ d: key.d, x: key.x }) };
  } catch (cause) {
    throw new WaybillError("unauthorized", "WAYBILL_KEY is not a worker key", {
      cause,
      hint: "make one with `waybill room key create`",
    });
  }
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new WaybillError("local_io", `cannot read ${file}`, { cause });
  }
}

function cannotWrite(file: string, cause: unknown): WaybillError {
  return new WaybillError("local_io", `cannot write ${file}`, {
    cause,
    hint: "name another folder with --data DIR",
  });
}
