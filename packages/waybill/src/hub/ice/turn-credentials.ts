// Credentials a TURN server can check without asking anybody, because it shares a secret with the hub: the
// "REST API" scheme of draft-uberti-behave-turn-rest-00, which coturn calls `use-auth-secret`.
import { createHmac } from "node:crypto";

export type TurnCredential = { readonly username: string; readonly credential: string };

/** `user` shows in the TURN server's log. The username begins with the second since 1970 at which it ends. */
export function turnCredential(secret: string, user: string, expiresAtMs: number): TurnCredential {
  const username = `${Math.floor(expiresAtMs / 1000)}:${user}`;
  const credential = createHmac("sha1", secret).update(username).digest("base64");
  return { username, credential };
}
