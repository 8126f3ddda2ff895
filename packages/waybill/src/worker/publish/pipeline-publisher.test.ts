import { readFile, readdir, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ModelType, WaybillError } from "@waybill/sdk/protocol";
import type { StorePort } from "../ports.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

const WAIT = { timeout: 15_000, interval: 5 };
const TOPDOWN = "topdown" as ModelType;
let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

/** Trains both parts, and something besides. */
const BOTH = `for (const part of ["centroid", "centered_instance"]) {
    fs.mkdirSync(env.WAYBILL_OUTPUT + "/" + part);
    fs.writeFileSync(env.WAYBILL_OUTPUT + "/" + part + "/best.ckpt", part);
  }
  fs.writeFileSync(env.WAYBILL_OUTPUT + "/report.txt", "well"); fs.mkdirSync(env.WAYBILL_OUTPUT + "/logs");
  fs.writeFileSync(env.WAYBILL_OUTPUT + "/logs/a.log", "a");
  say({"centroid/val_loss": 0.1, "centered_instance/val_loss": 0.2, val_loss: 0.3});`;
const topdown = (code = BOTH, spec = {}) =>
  trainer(code, { modelType: TOPDOWN, alias: "pose", tags: ["mine"], ...spec });

/** What was pushed, by type. */
const pushed = () =>
  lab.transfer.requests.flatMap(({ purpose, dir }) =>
    purpose.kind === "model" ? [{ ...purpose, dir }] : [],
  );

describe("a job of a pipeline's type", () => {
  it("publishes its parts and itself together", async () => {
    const described = vi.fn<(files: readonly string[], text: string) => void>();
    const push = lab.transfer.push.bind(lab.transfer);
    lab.transfer.push = async (request) => {
      if (request.purpose.kind === "model" && request.purpose.modelType === TOPDOWN) {
        const files = await readdir(request.dir, { recursive: true });
        described(files.toSorted(), await readFile(`${request.dir}/pipeline.json`, "utf8"));
      }
      return push(request);
    };
    await lab.start();
    const job = lab.offer(topdown());
    const end = await lab.outcome(job);
    expect(end).toMatchObject({ state: "completed" });
    expect(lab.hub.calls.filter((name) => name.startsWith("publishModel"))).toEqual([
      "publishModels",
    ]);
    const [centroid, instance, whole] = lab.hub.publications;
    expect(centroid).toMatchObject({
      model_type: "centroid",
      tags: [],
      training: { job, metrics: { val_loss: 0.1 } },
    });
    expect(centroid).not.toHaveProperty("alias");
    expect(instance).toMatchObject({
      model_type: "centered_instance",
      training: { metrics: { val_loss: 0.2 } },
    });
    expect(whole).toMatchObject({
      id: end.model,
      model_type: TOPDOWN,
      alias: "pose",
      tags: ["mine"],
      training: { job, metrics: { val_loss: 0.3 } },
      pipeline: {
        parts: [
          { model_type: "centroid", model: centroid?.id },
          { model_type: "centered_instance", model: instance?.id },
        ],
      },
    });
    expect(new Set(lab.hub.publications.map(({ id }) => id)).size).toBe(3);
    const [files, text] = described.mock.calls[0] ?? [[], ""];
    expect(files).toEqual(["logs", "logs/a.log", "pipeline.json", "report.txt"]);
    expect(JSON.parse(text)).toEqual({
      format: 1,
      type: "topdown",
      parts: [
        { model_type: "centroid", model: centroid?.id, artifact: centroid?.artifact },
        { model_type: "centered_instance", model: instance?.id, artifact: instance?.artifact },
      ],
    });
    expect(lab.ofType(job, "published")).toMatchObject([
      {
        model: end.model,
        alias: "pose",
        bytes: 21,
        parts: [{ modelType: "centroid" }, { modelType: "centered_instance" }],
      },
    ]);
  });

  it("fails, naming what is missing, when its trainer left only one part", async () => {
    await lab.start();
    const job = lab.offer(
      topdown(`fs.mkdirSync(env.WAYBILL_OUTPUT + "/centroid");
        fs.writeFileSync(env.WAYBILL_OUTPUT + "/centroid/best.ckpt", "x");`),
    );
    expect(await lab.outcome(job)).toMatchObject({
      state: "failed",
      reason:
        "a topdown job leaves its models in centroid/ and centered_instance/ of WAYBILL_OUTPUT: there is nothing in centered_instance/",
    });
    expect(lab.transfer.requests).toEqual([]);
  });

  it("gives a part whose folder an earlier attempt filled another id", async () => {
    const push = lab.transfer.push.bind(lab.transfer);
    const tried: string[] = [];
    lab.transfer.push = async (request) => {
      if (request.purpose.kind !== "model") throw new Error("not a model");
      const { model, modelType } = request.purpose;
      if (modelType === "centroid") tried.push(model);
      if (modelType === "centroid" && tried.length === 1) {
        throw new WaybillError("conflict", "the model has its files already");
      }
      return push(request);
    };
    await lab.start();
    const job = lab.offer({ ...topdown(), attempt: 2 });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(new Set(tried).size).toBe(2);
    expect(lab.hub.publications[0]?.id).toBe(tried[1]);
  });

  it("waits for a hub that is away, although single models would go straight to the store", async () => {
    const store: StorePort = {
      upload: () => Promise.reject(new Error("it must not")),
      remove: async () => undefined,
      close: () => undefined,
    };
    await lab.start({ store });
    const waiting = `const look = setInterval(() => { if (!fs.existsSync("${lab.path("go")}")) return;
      clearInterval(look); ${BOTH} }, 5); console.log("up");`;
    const job = lab.offer(topdown(waiting));
    await lab.logged(job, "up");
    await vi.waitFor(() => expect(lab.hub.calls).toContain("reserveModel"), WAIT);
    lab.hub.down = true;
    await writeFile(lab.path("go"), "");
    const lines = async () => {
      const events = (await lab.feed.readers.get(job)?.read(0, 1000)) ?? [];
      return events.flatMap((event) => (event.type === "log" ? [event.line] : []));
    };
    await vi.waitFor(async () => expect((await lines()).join()).toMatch(/waits for it/), WAIT);
    expect(pushed()).toEqual([]);
    lab.hub.down = false;
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.hub.publications).toHaveLength(3);
  });
});
