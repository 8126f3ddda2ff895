// What a reader shows a data server, and what the server proves to a reader (docs/protocol/data-server.md §1).
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

const NONCE = /^[0-9a-f]{32,64}$/;

export class Credentials {
  readonly #token = randomBytes(32);
  readonly #hash = hashOf(this.hex);

  /** What every address of the server wants. */
  get hex(): string {
    return this.#token.toString("hex");
  }

  /** Bearer, or Basic with the token as the password; compared in constant time. */
  areIn(authorization = ""): boolean {
    const [scheme = "", value = ""] = authorization.split(" ", 2);
    const given = scheme.toLowerCase() === "basic" ? passwordOf(value) : value;
    const isKnown = ["bearer", "basic"].includes(scheme.toLowerCase());
    return timingSafeEqual(hashOf(given), this.#hash) && isKnown;
  }

  /** Shows that this is the machine that was told of; undefined for what is no nonce. */
  proofFor(nonce: string): string | undefined {
    if (!NONCE.test(nonce)) return undefined;
    return createHmac("sha256", this.#token).update(`waybill-data 1 ${nonce}`).digest("hex");
  }
}

function passwordOf(basic: string): string {
  const login = Buffer.from(basic, "base64").toString("utf8");
  return login.slice(login.indexOf(":") + 1);
}

/** Equal lengths, so that comparing takes the same time whatever was given. */
function hashOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
