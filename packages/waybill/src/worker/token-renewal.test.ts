import { SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { isHalfOver } from "./token-renewal.ts";

describe("a worker's token", () => {
  it("is renewed after half of its life", async () => {
    const token = await new SignJWT({})
      .setProtectedHeader({ alg: "HS256" })
      .setIssuedAt(1000)
      .setExpirationTime(2000)
      .sign(new Uint8Array(32));
    expect(isHalfOver(token, 1_400_000)).toBe(false);
    expect(isHalfOver(token, 1_600_000)).toBe(true);
    expect(isHalfOver("not a token", 0)).toBe(false);
    expect(isHalfOver(undefined, 0)).toBe(false);
  });
});
