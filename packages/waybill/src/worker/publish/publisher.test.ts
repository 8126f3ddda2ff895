import { describe, expect, it } from "vitest";
import { type ModelEntry, WaybillError } from "@waybill/sdk/protocol";
import { FakeHub, assign, fakeDigest, fakeTransfers } from "../fakes.fixture.ts";
import type { TransferPort } from "../ports.ts";
import { Publisher } from "./publisher.ts";

const request = {
  output: import.meta.dirname,
  data: {},
  stoppedEarly: false,
  signal: new AbortController().signal,
  onProgress: () => undefined,
  onPushed: async () => undefined,
  onWarning: () => undefined,
};

/** A second attempt, whose hub says of the first one's model what `models` says. */
function secondAttempt(init: { filled?: boolean; registered?: boolean } = {}) {
  const assignment = assign({ command: ["x"] }, { attempt: 2 });
  const hub = new FakeHub();
  const transfer = fakeTransfers();
  const pushedTo: string[] = [];
  const push: TransferPort["push"] = async (asked) => {
    if (asked.purpose.kind !== "model") throw new Error("not a model");
    pushedTo.push(asked.purpose.model);
    if (init.filled === true && pushedTo.length === 1) {
      throw new WaybillError("conflict", "the model has its files already");
    }
    return transfer.push(asked);
  };
  const former = {
    id: "aaaaaaaa",
    model_type: "model",
    artifact: "a".repeat(64),
    tags: [],
    storage: { s3_path: "rooms/lab/x/", size_bytes: 7, files: [] },
    training: { job: assignment.job },
  } as unknown as ModelEntry;
  const call: FakeHub["call"] = async (name, input, options) => {
    if (name === "showModel" && init.registered === true) {
      return { model: former, aliases: [] } as never;
    }
    return hub.call(name, input, options);
  };
  const publisher = new Publisher({
    hub: { call },
    transfer: { ...transfer, push },
    assignment,
    digest: fakeDigest,
    store: undefined,
    hubLostMs: 100,
    stored: undefined,
    onStored: async () => undefined,
    model: undefined,
    onReserved: () => undefined,
  });
  return { hub, publisher, pushedTo, former };
}

describe("a later attempt that publishes", () => {
  it("uses the id that the job has, when nothing was made of it", async () => {
    const { hub, publisher, pushedTo } = secondAttempt();
    const { model } = await publisher.publish(request);
    expect(pushedTo).toEqual([model]);
    expect(hub.publications.map(({ id }) => id)).toEqual([model]);
  });

  it("takes another id when an earlier attempt filled the folder and was lost", async () => {
    const { hub, publisher, pushedTo } = secondAttempt({ filled: true });
    const { model } = await publisher.publish(request);
    expect(pushedTo).toHaveLength(2);
    expect(new Set(pushedTo).size).toBe(2);
    expect(pushedTo[1]).toBe(model);
    expect(hub.publications.map(({ id }) => id)).toEqual([model]);
  });

  it("ends with the model that an earlier attempt entered in the registry (I5)", async () => {
    const { hub, publisher, pushedTo, former } = secondAttempt({ registered: true });
    expect(await publisher.publish(request)).toMatchObject({ model: former.id, bytes: 7 });
    expect(pushedTo).toEqual([]);
    expect(hub.publications).toEqual([]);
  });
});
