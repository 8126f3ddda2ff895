// Secrets the hub makes for itself, each in a file of its data directory that only its owner may read.
import { WaybillError } from "@waybill/sdk/protocol";
import { randomBytes } from "node:crypto";
import { link, open, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { S3Credentials } from "./presign.ts";

/** Shorter secrets can be guessed offline from one token. */
const MIN_SECRET_CHARS = 32;

/** The secret that signs tokens: from `given` (several hubs share one), else from `hub-secret`, made when absent. */
export async function hubSecret(dataDir: string, given: string | undefined): Promise<Uint8Array> {
  const path = join(dataDir, "hub-secret");
  const text =
    given ?? (await readOrCreate(path, () => `${randomBytes(32).toString("base64url")}\n`));
  const secret = text.trim();
  if (secret.length < MIN_SECRET_CHARS) {
    const source = given === undefined ? path : "WAYBILL_HUB_SECRET";
    throw new WaybillError("invalid_request", `the hub secret in ${source} is too short`, {
      hint: `use at least ${MIN_SECRET_CHARS} random characters`,
    });
  }
  return new TextEncoder().encode(secret);
}

/** Credentials of the embedded store, in the format of AWS's shared credentials file. */
export async function storeCredentials(
  dataDir: string,
): Promise<{ readonly file: string; readonly credentials: S3Credentials }> {
  const file = join(dataDir, "s3-credentials");
  const text = await readOrCreate(file, () => {
    const id = `WAYBILL${randomBytes(8).toString("hex").toUpperCase()}`;
    const secret = randomBytes(30).toString("base64url");
    return `[default]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`;
  });
  const accessKeyId = /^\s*aws_access_key_id\s*=\s*(\S+)/m.exec(text)?.[1];
  const secretAccessKey = /^\s*aws_secret_access_key\s*=\s*(\S+)/m.exec(text)?.[1];
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new WaybillError("local_io", `${file} holds no credentials`, {
      hint: "delete it and start the hub again; new ones are made",
    });
  }
  return { file, credentials: { accessKeyId, secretAccessKey } };
}

/** Appears whole or not at all: a crash half way must not leave a short secret. */
async function readOrCreate(path: string, make: () => string): Promise<string> {
  try {
    const known = await readIfThere(path);
    if (known !== undefined) return known;
    const temporary = `${path}.${randomBytes(6).toString("hex")}`;
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(make());
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await link(temporary, path);
    } catch (error) {
      // Another process was quicker: its secret counts.
      if (codeOf(error) !== "EEXIST") throw error;
    } finally {
      await unlink(temporary);
    }
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new WaybillError("local_io", `${path} could not be read or made`, {
      cause,
      hint: "check the rights of the hub's data directory",
    });
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}
