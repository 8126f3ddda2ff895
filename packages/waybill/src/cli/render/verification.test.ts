import { Writable } from "node:stream";
import type { ArtifactRecord, ReceiptPayload } from "@waybill/sdk/protocol";
import type { ReceiptVerdict, TreeDifference } from "@waybill/sdk/receipt";
import { describe, expect, it } from "vitest";
import type { HubTrust } from "../receipt-trust.ts";
import { Output } from "./output.ts";
import { type Verification, printVerification, verdictOf } from "./verification.ts";

const id = "a1b2c3d4".repeat(8);
const payload = {
  direction: "pull",
  hub: "http://lab:8700",
  room: "lab",
  artifact: id,
  name: "digits",
  files: 3,
  bytes: 2048,
  startedAt: "2026-01-02T03:04:00.000Z",
  endedAt: "2026-01-02T03:04:05.678Z",
} as unknown as ReceiptPayload;
const signers = [
  { by: "client", kid: "C".repeat(43), ok: true },
  { by: "hub", kid: "H".repeat(43), ok: true, iat: 1_767_323_046, role: "owner", sub: "owner" },
] as unknown as ReceiptVerdict["signers"];

function verification(init: {
  faults?: string[];
  trust?: HubTrust;
  differences?: TreeDifference[];
  strict?: boolean;
}): Verification {
  const {
    faults = [],
    trust = { state: "known", hub: "http://lab:8700" },
    differences = [],
  } = init;
  return {
    path: "/data/digits",
    strict: init.strict === true,
    receipt: { file: "/data/digits.receipt.json", verdict: { faults, payload, signers }, trust },
    comparison: { differences, bytes: 2048, warnings: [] },
  };
}

function printed(given: Verification, json = false): string {
  let text = "";
  const stdout = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  printVerification(new Output({ json, stdout, stderr: stdout }), given);
  return text;
}

describe("a verification", () => {
  const missing: TreeDifference = { path: "a", kind: "missing" };

  it("is ok only when nothing speaks against it", () => {
    expect(verdictOf(verification({}))).toBe("ok");
    expect(verdictOf(verification({ differences: [missing] }))).toBe("differs");
    expect(verdictOf(verification({ faults: ["x"] }))).toBe("not genuine");
    const foreign = { state: "foreign", hub: "http://other" } as const;
    expect(verdictOf(verification({ trust: foreign }))).toBe("not genuine");
    expect(verdictOf({ path: "/", strict: false })).toBe("differs");
  });

  it("with --strict wants the hub's signature by a known key", () => {
    const states: HubTrust[] = [{ state: "unsigned" }, { state: "unchecked", why: "away" }];
    for (const trust of states) {
      expect(verdictOf(verification({ trust }))).toBe("ok");
      expect(verdictOf(verification({ trust, strict: true }))).toBe("not genuine");
    }
    expect(verdictOf(verification({ strict: true }))).toBe("ok");
  });

  it("says who signed, and whose key it is", () => {
    expect(printed(verification({}))).toBe(
      `ok: /data/digits is digits a1b2c3d4 (3 files, 2.00 KiB, every byte checked)
receipt: pulled from room lab of http://lab:8700, 2026-01-02 03:04:05 UTC
  client   signed with key ${"C".repeat(43)}
  hub      signed with key ${"H".repeat(43)}, 2026-01-02 03:04:06 UTC, asked by the owner
  hub key  is one of http://lab:8700
`,
    );
  });

  it("names the first twenty differences and counts the rest", () => {
    const differences = Array.from({ length: 23 }, (_, at): TreeDifference => ({
      path: `f${at}`,
      kind: at === 0 ? "differs" : "extra",
      ...(at === 0 ? { detail: "has 6 bytes, not 5" } : {}),
    }));
    const text = printed(verification({ differences }));
    expect(text).toContain("NOT ok: /data/digits is not digits a1b2c3d4: 23 differences");
    expect(text).toContain("  differs  f0 (has 6 bytes, not 5)\n  extra    f1\n");
    expect(text).toContain("  … and 3 more");
    expect(text).not.toContain("f20");
    const record = JSON.parse(printed(verification({ differences }), true)) as {
      differences: unknown[];
    };
    expect(record).toMatchObject({ type: "verify", ok: false, differenceCount: 23 });
    expect(record.differences).toHaveLength(20);
  });

  it("of a receipt that is not genuine says why, and nothing it claims", () => {
    const text = printed(verification({ faults: ["the client's signature is wrong: x"] }));
    expect(text).toContain("proves nothing\n  wrong    the client's signature is wrong: x\n");
    expect(text).not.toContain("pulled from");
  });

  it("against a room needs no receipt", () => {
    const record = { artifact: id, name: "digits", files: 1, bytes: 1 } as ArtifactRecord;
    const text = printed({
      path: "/data/digits",
      strict: true,
      record,
      comparison: { differences: [], bytes: 1, warnings: ["one empty folder"] },
    });
    expect(text).toBe(
      "ok: /data/digits is digits a1b2c3d4 (1 file, 1 B, every byte checked)\nnote: one empty folder\n",
    );
  });
});
