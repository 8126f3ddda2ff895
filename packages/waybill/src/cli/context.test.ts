import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Role, RoomId } from "@waybill/sdk/protocol";
import { expect, it } from "vitest";
import { Context } from "./context.ts";
import { saveRoom } from "./credentials.ts";

it.each(["viewer", "member"] as const)(
  "a worker on a machine with a %s's token is told which role it needs",
  async (role: Role) => {
    const data = await mkdtemp(path.join(tmpdir(), "waybill-context-"));
    try {
      const room = "lab" as RoomId;
      const context = new Context({ data }, AbortSignal.timeout(10_000), {});
      await saveRoom(data, { hub: context.hubUrl, room, role, token: "t" });
      await expect(context.workerCredential(room, "desk")).rejects.toMatchObject({
        code: "forbidden",
        message: `this machine's token for lab is a ${role}'s; a worker needs the role worker`,
        hint: expect.stringContaining("waybill room invite --role worker"),
      });
    } finally {
      await rm(data, { recursive: true, force: true });
    }
  },
);
