import { type GeneralJWSInput, generalVerify, importJWK } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { artifactId } from "../artifact/index.ts";
import {
  HubClient,
  type Identity,
  generateIdentityKey,
  loadIdentity,
} from "../hub-client/index.ts";
import {
  type ArtifactManifest,
  ArtifactManifest as Schema,
  decodeValue,
} from "../protocol/index.ts";
import { type TransferFacts, issueReceipt } from "./issue-receipt.ts";
import { type Receipt, judgeReceipt, receiptPieces } from "./receipt.ts";
import { checkSignature, encodePayload, signAsHub } from "./signature.ts";

const digest = (hex: string) => hex.repeat(64);
const manifest: ArtifactManifest = decodeValue(
  Schema,
  {
    format: 1,
    name: "digits",
    layout: "plain",
    shardBytes: 1024,
    files: [
      { path: "a.bin", size: 1500, shards: [digest("a"), digest("b")] },
      { path: "run.sh", size: 10, executable: true, shards: [digest("c")] },
    ],
  },
  "the manifest",
);
const facts: TransferFacts = {
  direction: "push",
  hub: "http://127.0.0.1:8700",
  room: "lab",
  artifact: artifactId(manifest),
  name: "digits",
  startedMs: 1_700_000_000_000,
  endedMs: 1_700_000_012_300,
  sentBytes: 900,
  saved: { held: 0, copied: 610 },
};

const newIdentity = async () => loadIdentity(await generateIdentityKey());

/** A hub that signs whatever it is given, unless it is told to answer otherwise. */
function hubDouble(identity: Identity, answer?: () => Response): HubClient {
  return new HubClient({
    url: "http://hub.test",
    retryForMs: 0,
    fetch: async (_url, init) => {
      if (answer !== undefined) return answer();
      const { payload } = JSON.parse(init?.body as string) as { payload: string };
      const by = { role: "member", sub: "t".repeat(43), nowMs: 1_700_000_013_000 } as const;
      return Response.json({ signature: await signAsHub(payload, identity, by) });
    },
  });
}

const textOf = (receipt: Receipt) => Buffer.concat([...receiptPieces(receipt)]).toString("utf8");

describe("a receipt", () => {
  let client: Identity;
  let hub: Identity;
  let text: string;
  beforeAll(async () => {
    [client, hub] = await Promise.all([newIdentity(), newIdentity()]);
    const options = { identity: client, hub: hubDouble(hub), retryForMs: 0 };
    text = textOf(await issueReceipt(facts, manifest, options));
  });

  it("is genuine as issued, and says who signed what", async () => {
    const verdict = await judgeReceipt(text);
    expect(verdict.faults).toEqual([]);
    expect(verdict.payload).toMatchObject({
      files: 2,
      bytes: 1510,
      sentBytes: 900,
      saved: { copied: 610 },
      endedAt: "2023-11-14T22:13:32.300Z",
    });
    expect(verdict.signers.map(({ by, kid, ok }) => [by, kid, ok])).toEqual([
      ["client", client.thumbprint, true],
      ["hub", hub.thumbprint, true],
    ]);
    expect(verdict.manifest?.files).toEqual(manifest.files);
  });

  it("is a General JWS that any library can check", async () => {
    const jws = JSON.parse(text) as GeneralJWSInput;
    for (const { publicKey } of [client, hub]) {
      const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: publicKey }, "EdDSA");
      const { payload } = await generalVerify(jws, key);
      expect(JSON.parse(new TextDecoder().decode(payload))).toMatchObject({ room: "lab" });
    }
  });

  it("is refused with any one character of its payload or signatures changed", async () => {
    const jws = JSON.parse(text) as Receipt["jws"] & { manifest: unknown };
    const { payload } = jws;
    for (let at = 0; at < payload.length; at += 7) {
      const altered = { ...jws, payload: flip(payload, at) };
      expect((await judgeReceipt(JSON.stringify(altered))).faults, `payload ${at}`).not.toEqual([]);
    }
    for (const [which, signature] of jws.signatures.entries()) {
      for (const part of ["protected", "signature"] as const) {
        for (const at of [0, 11, signature[part].length - 1]) {
          const signatures = jws.signatures.with(which, {
            ...signature,
            [part]: flip(signature[part], at),
          });
          const { faults } = await judgeReceipt(JSON.stringify({ ...jws, signatures }));
          expect(faults, `${part} ${which} ${at}`).not.toEqual([]);
        }
      }
    }
  });

  it("is refused with any one byte of its manifest changed", async () => {
    const start = text.indexOf('"manifest":') + '"manifest":'.length;
    for (let at = start; at < text.length - 2; at += 3) {
      const { faults } = await judgeReceipt(flip(text, at)).catch((error: Error) => ({
        faults: [error.message],
      }));
      expect(faults, `${at}: ${text.slice(at, at + 10)}`).not.toEqual([]);
    }
  });

  it("is refused with a signature of another key under the client's name, and the other way round", async () => {
    const other = await newIdentity();
    const forged = await issueReceipt(facts, manifest, { identity: other, hub: hubDouble(hub) });
    const jws = JSON.parse(text) as Receipt["jws"] & { manifest: unknown };
    const [own, countersignature] = jws.signatures;
    const [foreign] = forged.jws.signatures;
    if (own === undefined || countersignature === undefined || foreign === undefined)
      throw new Error("a signature is missing");
    const mixed = [{ ...foreign, protected: own.protected }, countersignature];
    expect(await faultsOf({ ...jws, signatures: mixed })).toEqual([
      "the client's signature is wrong: it does not fit what is signed",
    ]);
    expect(await faultsOf({ ...jws, signatures: [countersignature, own] })).toEqual([
      "the client's signature is wrong: it is made as the hub's",
      "the hub's signature is wrong: it is made as the client's",
    ]);
    expect(await faultsOf({ ...jws, signatures: [] })).toHaveLength(1);
  });

  it("is refused when its numbers are not those of its manifest", async () => {
    const other = decodeValue(
      Schema,
      { ...manifest, files: manifest.files.slice(0, 1) },
      "the manifest",
    );
    const { jws } = await issueReceipt(facts, manifest, { identity: client, hub: hubDouble(hub) });
    expect((await judgeReceipt(textOf({ jws, manifest: other }))).faults).toEqual([
      "its manifest is not that of the artifact it names",
    ]);
  });

  it("goes with the client's signature alone when the hub cannot be asked, refuses, or signs wrongly", async () => {
    const answers = [
      () => {
        throw new TypeError("fetch failed");
      },
      () =>
        Response.json({ error: { code: "conflict", message: "no such numbers" } }, { status: 409 }),
      () => Response.json({ signature: { protected: "e30", signature: "AAAA" } }),
    ];
    for (const answer of answers) {
      const options = { identity: client, hub: hubDouble(hub, answer), retryForMs: 0 };
      const issued = await issueReceipt(facts, manifest, options);
      expect(issued.unsigned).not.toBeUndefined();
      const verdict = await judgeReceipt(textOf(issued));
      expect(verdict.faults).toEqual([]);
      expect(verdict.signers.map(({ by }) => by)).toEqual(["client"]);
    }
  });

  it("is told from files that are no receipts", async () => {
    for (const other of ["", "{}", "[]", '{"payload":1}', JSON.stringify(manifest)]) {
      await expect(judgeReceipt(other)).rejects.toMatchObject({ code: "invalid_request" });
    }
  });

  it("takes no proof of possession for a signature", async () => {
    const proof = await client.proof({ method: "GET", path: "/", token: "t" });
    const [head = "", , signature = ""] = proof.split(".");
    await expect(
      checkSignature(encodePayload((await issue()).payload), { protected: head, signature }),
    ).rejects.toMatchObject({ code: "invalid_request" });
  });

  const issue = () => issueReceipt(facts, manifest, { identity: client, hub: hubDouble(hub) });
  const faultsOf = async (jws: unknown) => (await judgeReceipt(JSON.stringify(jws))).faults;
});

/** The text with the lowest bit of one character turned over, which stays in base64url's alphabet mostly. */
function flip(text: string, at: number): string {
  return text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
}
