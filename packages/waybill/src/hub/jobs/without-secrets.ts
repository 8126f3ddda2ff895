// What the room may see of a job: everything but the values of its environment, which may be credentials (I10). Only the
// worker gets those, with its offer.
import type { JobDoc } from "@waybill/sdk/protocol";

/** The document with the names of its environment variables and empty values. */
export function withoutSecrets(doc: JobDoc): JobDoc {
  const env = Object.fromEntries(Object.keys(doc.spec.env).map((name) => [name, ""]));
  return { ...doc, spec: { ...doc.spec, env } };
}
