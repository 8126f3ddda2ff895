import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { PeerId } from "../protocol/index.ts";
import { type Identity, generateIdentityKey, loadIdentity } from "./identity.ts";
import { createAgreement, isKeyOf, verifyAgreement, verifyPeerSignature } from "./peer-keys.ts";

const identity = async () => loadIdentity(await generateIdentityKey());
const idOf = ({ thumbprint }: Identity) =>
  v.parse(PeerId, `p_${thumbprint.slice(0, 16).replaceAll("_", "-")}_a1`);

describe("a process's agreement key", () => {
  it("is signed by its identity, and both ends of two keys derive the same secret", async () => {
    const [a, b] = await Promise.all([identity(), identity()]);
    const [ours, theirs] = await Promise.all([createAgreement(a), createAgreement(b)]);
    expect(await verifyAgreement(a.publicKey, ours.agreement)).toBe(true);
    const derive = async (own: CryptoKey, other: string) => {
      const raw = Buffer.from(other, "base64url");
      const key = await crypto.subtle.importKey("raw", raw, { name: "X25519" }, false, []);
      return crypto.subtle.deriveBits({ name: "X25519", public: key }, own, 256);
    };
    expect(await derive(ours.privateKey, theirs.agreement.key)).toEqual(
      await derive(theirs.privateKey, ours.agreement.key),
    );
    expect(ours.privateKey.extractable).toBe(false);
  });

  it("is refused under another identity, with another key, or another signature", async () => {
    const [a, b] = await Promise.all([identity(), identity()]);
    const [ours, theirs] = await Promise.all([createAgreement(a), createAgreement(b)]);
    const { agreement } = ours;
    expect(await verifyAgreement(b.publicKey, agreement)).toBe(false);
    expect(await verifyAgreement(a.publicKey, { ...agreement, key: theirs.agreement.key })).toBe(
      false,
    );
    for (const signature of ["", "AAAA", theirs.agreement.signature]) {
      expect(await verifyAgreement(a.publicKey, { ...agreement, signature })).toBe(false);
    }
    for (const header of ["", "e30", "?", theirs.agreement.protected]) {
      expect(await verifyAgreement(a.publicKey, { ...agreement, protected: header })).toBe(false);
    }
  });

  it("is refused when the same key signed it as something else", async () => {
    const a = await identity();
    const { agreement } = await createAgreement(a);
    const payload = Buffer.from(agreement.key, "base64url");
    const other = await a.sign(payload, { typ: "another+jws" });
    expect(await verifyAgreement(a.publicKey, { key: agreement.key, ...other })).toBe(false);
    const { publicKey } = a;
    expect(
      await verifyPeerSignature({ publicKey, payload, typ: "another+jws", signature: other }),
    ).toBe(true);
  });
});

describe("a peer id", () => {
  it("is made of one key only", async () => {
    const [a, b] = await Promise.all([identity(), identity()]);
    expect(await isKeyOf(a.publicKey, idOf(a))).toBe(true);
    expect(await isKeyOf(b.publicKey, idOf(a))).toBe(false);
  });
});
