import { type ArtifactRecord, WaybillError } from "@waybill/sdk/protocol";
import { describe, expect, it } from "vitest";
import { callOf, callerOf } from "../jobs/call.fixture.ts";
import type { ArtifactRecords } from "./artifact-records.ts";
import { createArtifactsArea } from "./artifacts-area.ts";

const ARTIFACT = "ab".repeat(32);

/** An area whose store is asked for the artifact's record; the answer is what `records` gives in turn. */
function areaOf(answers: readonly (Partial<ArtifactRecord> | undefined)[]) {
  const left = [...answers];
  const records = {
    resolve: async () => {
      const found = left.shift();
      if (found === undefined) throw new WaybillError("not_found", "the room holds no artifact");
      return found;
    },
  } as unknown as ArtifactRecords;
  const deps = { records, checkpoint: async () => undefined, arriving: async () => undefined };
  return createArtifactsArea(deps as unknown as Parameters<typeof createArtifactsArea>[0]);
}

describe("an artifact that is looked for", () => {
  const call = callOf<"resolveArtifact">(callerOf("member"), {
    params: { ref: ARTIFACT as never },
  });

  it("is found although it arrives between the look at records and that at what is arriving", async () => {
    const { handlers } = areaOf([undefined, { artifact: ARTIFACT as never }]);
    expect(await handlers.resolveArtifact(call)).toEqual({ artifact: ARTIFACT });
  });

  it("is not found when it is neither here nor on its way", async () => {
    const { handlers } = areaOf([undefined, undefined]);
    await expect(handlers.resolveArtifact(call)).rejects.toMatchObject({ code: "not_found" });
  });
});
