import * as v from "valibot";
import { expect, it } from "vitest";
import { ArtifactId, RoomId, WaybillError } from "../protocol/index.ts";
import { type FindBasesInput, findBases } from "./push-bases.ts";

const room = v.parse(RoomId, "lab");
const base = v.parse(ArtifactId, "a".repeat(64));

/** Calls that a push of a checkpoint makes; its base answers as `found` says. */
async function asked(found: () => unknown): Promise<string[]> {
  const calls: string[] = [];
  const call = async (name: string) => {
    calls.push(name);
    if (name === "listArtifacts") return { artifacts: [] };
    if (name === "resolveArtifact") return found();
    throw new WaybillError("not_found", "gone meanwhile");
  };
  const input = {
    hub: { call },
    room,
    transport: undefined,
    scan: { bytes: 32 * 1024 * 1024, files: [] },
    name: "checkpoint",
    base,
    adopts: false,
    retryForMs: 0,
    signal: new AbortController().signal,
  } as unknown as FindBasesInput;
  expect(await findBases(input)).toBeUndefined();
  return calls;
}

const record = (kind: string) => ({ artifact: base, kind, manifestBytes: 10, files: 1, bytes: 1 });

it("a base that no list has is asked for by its id, and read when it is a checkpoint", async () => {
  const wanted = ["listArtifacts", "resolveArtifact", "signReads"];
  expect(await asked(() => record("checkpoint"))).toEqual(wanted);
});

it("a base that is gone, or nothing the room may copy from any more, is none", async () => {
  const gone = () => {
    throw new WaybillError("not_found", "the room holds no such artifact");
  };
  expect(await asked(gone)).toEqual(["listArtifacts", "resolveArtifact"]);
  expect(await asked(() => record("dataset"))).toEqual(["listArtifacts", "resolveArtifact"]);
});
