// Handlers of receipts: the hub vouches for what it can know (docs/protocol/receipt.md §4).
import {
  LIMITS,
  type ReceiptJws,
  type ReceiptPayload,
  type RoomId,
  WaybillError,
} from "@waybill/sdk/protocol";
import { checkSignature, decodePayload, signAsHub } from "@waybill/sdk/receipt";
import type { ArtifactRecords } from "../artifacts/artifact-records.ts";
import type { Caller, Handlers } from "../http/handler.ts";
import type { Clock, Log } from "../log.ts";
import type { SigningKeys } from "./signing-keys.ts";

export type ReceiptsDeps = {
  readonly keys: SigningKeys;
  readonly records: Pick<ArtifactRecords, "get" | "resolve">;
  readonly clock: Clock;
  readonly log: Log;
};

/** Composes the area; does no I/O. */
export function createReceiptsArea({ keys, records, clock, log }: ReceiptsDeps): {
  readonly handlers: Handlers<"signReceipt" | "receiptKeys">;
} {
  return {
    handlers: {
      receiptKeys: async () => ({ keys: await keys.all() }),

      signReceipt: async ({ params: { room }, body, caller }) => {
        if (caller === undefined)
          throw new WaybillError("internal", "signReceipt lacks its caller");
        await assertSignedBy(caller, body);
        const payload = decodePayload(body.payload);
        assertPlausible(payload, room, clock());
        await assertHeld(payload, room, records);
        const { role, subject } = caller;
        const facts = { role, sub: subject, nowMs: clock() };
        const signature = await signAsHub(body.payload, await keys.own(), facts);
        const { artifact, direction } = payload;
        log("info", "receipt signed", { room, artifact, direction, subject });
        return { signature };
      },
    },
  };
}

async function assertSignedBy(
  caller: Caller,
  { payload, signatures: [own, ...others] }: ReceiptJws,
): Promise<void> {
  if (own === undefined || others.length > 0) {
    throw new WaybillError(
      "invalid_request",
      "the hub signs what has the client's signature alone",
    );
  }
  const { header, fault } = await checkSignature(payload, own);
  if (header.by !== "client") {
    throw new WaybillError("invalid_request", "the first signature is not made as the client's");
  }
  if (fault !== undefined) {
    throw new WaybillError("forbidden", `the client's signature is wrong: ${fault}`);
  }
  if (caller.proofKey !== undefined && caller.proofKey !== header.kid) {
    throw new WaybillError("forbidden", "the receipt is signed by another key than the request");
  }
}

function assertPlausible(payload: ReceiptPayload, room: RoomId, nowMs: number): void {
  if (payload.room !== room) {
    throw new WaybillError(
      "invalid_request",
      `the receipt is of room ${payload.room}, not ${room}`,
    );
  }
  const [startMs, endMs] = [Date.parse(payload.startedAt), Date.parse(payload.endedAt)];
  if (startMs > endMs) {
    throw new WaybillError("invalid_request", "the receipt's transfer ends before it starts");
  }
  if (endMs > nowMs + LIMITS.proofSkewMs) {
    throw new WaybillError("invalid_request", "the receipt's transfer ends in the future", {
      hint: "set this computer's clock",
    });
  }
}

async function assertHeld(
  { artifact, name, files, bytes }: ReceiptPayload,
  room: RoomId,
  records: ReceiptsDeps["records"],
): Promise<void> {
  const record = await records.get(room, artifact);
  const short = artifact.slice(0, 12);
  if (record.files !== files || record.bytes !== bytes) {
    throw new WaybillError(
      "conflict",
      `${short}… has ${record.files} files and ${record.bytes} bytes here, not ${files} and ${bytes}`,
    );
  }
  if (record.name === name) return;
  // One artifact may have been pushed under several names; its record knows one of them.
  const named = await records.resolve(room, name).catch((error: unknown) => {
    if (error instanceof WaybillError && error.code !== "storage_failed") return undefined;
    throw error;
  });
  if (named?.artifact === artifact) return;
  throw new WaybillError("conflict", `${short}… is not known as ${JSON.stringify(name)} here`);
}
