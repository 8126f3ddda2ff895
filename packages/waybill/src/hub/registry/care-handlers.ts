// Routes of a registry's owner: look through it, make it again.
import { WaybillError } from "@waybill/sdk/protocol";
import type { Handlers } from "../http/handler.ts";
import { RegistryCare, type RegistryCareDeps } from "./care.ts";

export type CareRoute = "checkRegistry" | "rebuildRegistry";

export function careHandlers(deps: RegistryCareDeps): Handlers<CareRoute> {
  const care = new RegistryCare(deps);
  return {
    checkRegistry: ({ params }) => care.check(params.room),

    rebuildRegistry({ params, body, caller }) {
      if (caller === undefined) throw new WaybillError("internal", "route has no caller");
      return care.rebuild(params.room, body, caller.subject);
    },
  };
}
