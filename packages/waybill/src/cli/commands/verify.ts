// waybill verify: whether a folder or file is what a receipt, or a room, says it is.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { Command } from "commander";
import { type ArtifactManifest, WaybillError, messageOf } from "@waybill/sdk/protocol";
import {
  type ReceiptVerdict,
  compareTree,
  fetchManifest,
  judgeReceipt,
} from "@waybill/sdk/receipt";
import type { Context } from "../context.ts";
import { EXIT } from "../exit.ts";
import { filePath, withRoom } from "../options.ts";
import { defaultReceiptFile } from "../receipt-file.ts";
import { type HubTrust, hubTrust } from "../receipt-trust.ts";
import { TransferView } from "../render/transfer-view.ts";
import { type Verification, printVerification } from "../render/verification.ts";
import type { Runner } from "../runner.ts";

type VerifyOptions = {
  readonly receipt?: string;
  readonly artifact?: string;
  readonly strict?: boolean;
};

export function verifyCommand(run: Runner): Command {
  return withRoom(new Command("verify"))
    .argument("<path>", "folder or file to check", filePath)
    .option("--receipt <file>", "the receipt (default: PATH.receipt.json beside it)")
    .option("--artifact <ref>", "check against an artifact of the room: id, prefix or name")
    .option("--strict", "the hub must have signed, with a key that a known hub says is its own")
    .description("read every byte of a folder or file and check it against a receipt or a room")
    .action(run<[string], VerifyOptions>(verify));
}

async function verify(
  context: Context,
  [target]: [string],
  options: VerifyOptions,
): Promise<number> {
  if (!existsSync(target)) {
    throw new WaybillError("not_found", `there is no file or folder ${target}`);
  }
  const held =
    options.artifact === undefined ? undefined : await fromRoom(context, options.artifact);
  const wantsReceipt = options.receipt !== undefined || held === undefined;
  const receipt = wantsReceipt
    ? await readReceipt(context, options.receipt ?? defaultReceiptFile(target), held)
    : undefined;
  const manifest = held?.manifest ?? receipt?.verdict.manifest;
  // What a receipt that is not genuine says of the bytes is worth nothing.
  const genuine = receipt === undefined || receipt.verdict.faults.length === 0;
  const comparison =
    manifest === undefined || !genuine ? undefined : await compare(context, target, manifest);
  const verification: Verification = {
    path: path.resolve(target),
    strict: options.strict === true,
    ...(held === undefined ? {} : { record: held.record }),
    ...(receipt === undefined ? {} : { receipt }),
    ...(comparison === undefined ? {} : { comparison }),
  };
  switch (printVerification(context.output, verification)) {
    case "ok":
      return EXIT.ok;
    case "differs":
      return EXIT.failed;
    case "not genuine":
      return EXIT.notGenuine;
  }
}

async function fromRoom(context: Context, ref: string) {
  const room = await context.room();
  const hub = await context.client(room);
  return fetchManifest(hub, { room, ref }, { signal: context.signal });
}

async function readReceipt(
  context: Context,
  file: string,
  held: { readonly record: { readonly artifact: string } } | undefined,
): Promise<{ file: string; verdict: ReceiptVerdict; trust: HubTrust }> {
  const text = await readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === "ENOENT";
    throw new WaybillError(
      missing ? "not_found" : "local_io",
      missing ? `there is no receipt ${file}` : `cannot read the receipt: ${messageOf(cause)}`,
      { hint: "name one with --receipt FILE, or check against a room with --artifact REF", cause },
    );
  });
  const judged = await judgeReceipt(text, file);
  const { payload } = judged;
  const other =
    held !== undefined && payload !== undefined && payload.artifact !== held.record.artifact;
  const verdict = other
    ? { ...judged, faults: [...judged.faults, "it is of another artifact than --artifact names"] }
    : judged;
  const trust: HubTrust =
    payload === undefined || verdict.faults.length > 0
      ? { state: "unchecked", why: "the receipt is not genuine" }
      : await hubTrust(context, payload, verdict.signers);
  return { file: path.resolve(file), verdict, trust };
}

async function compare(context: Context, target: string, manifest: ArtifactManifest) {
  using view = new TransferView({ output: context.output, label: `verify ${target}` });
  return await compareTree(target, manifest, { signal: context.signal, onProgress: view.tick });
}
