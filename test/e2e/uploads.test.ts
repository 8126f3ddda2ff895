// Uploads that were left behind: listed, and ended on purpose only (I12).
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { writeRandomFile } from "../support/random-file.ts";
import { runWaybill } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;
const BYTES = 256 * MIB;

describe("open uploads", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
    for (const name of ["first", "second"]) {
      const file = lab.path(`${name}.bin`);
      await writeRandomFile(file, BYTES);
      const client = lab.start(["push", file, "--name", name], "owner");
      await client.until((line) => line["type"] === "progress" && Number(line["bytes"]) > 32 * MIB);
      await client.kill();
    }
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const run = (args: readonly string[]) => runWaybill(["uploads", ...args], lab.machine("owner"));
  const list = async () => (await run(["ls"])).lines;

  it("are listed oldest first, with what is stored of them and until when", async () => {
    const uploads = await list();
    expect(uploads.map((one) => one["name"])).toEqual(["first", "second"]);
    for (const one of uploads) {
      expect(one).toMatchObject({
        type: "upload",
        upload: expect.stringMatching(/^u_[0-9a-f]{24}$/),
        kind: "dataset",
        bytes: BYTES,
        createdBy: "owner",
        expiresAt: expect.any(String),
      });
      expect(Number(one["storedBytes"])).toBeGreaterThan(16 * MIB);
    }
  });

  it("are kept by a dry run and by ids that are not clear", async () => {
    const [first] = await list();
    const id = String(first?.["upload"]);
    const dry = await run(["rm", id, "--dry-run"]);
    expect(dry).toMatchObject({ code: 0, lines: [{ type: "would_remove", upload: id }] });
    for (const [args, code] of [
      [["rm"], 2],
      [["rm", id, "--all"], 2],
      [["rm", "u_1"], 2],
      [["rm", id, "u_ffffffffffffffffffffffff"], 4],
    ] as const) {
      expect((await run(args)).code, args.join(" ")).toBe(code);
    }
    expect(await list()).toHaveLength(2);
  });

  it("end by a prefix of their id, the others stay, and a push of the same begins again", async () => {
    const [first, second] = (await list()).map((one) => String(one["upload"]));
    const { lines, code } = await run(["rm", String(first).slice(2, 12)]);
    expect([code, lines]).toMatchObject([0, [{ type: "removed", upload: first, name: "first" }]]);
    expect((await list()).map((one) => one["upload"])).toEqual([second]);
    const done = await lab.ask(["push", lab.path("first.bin"), "--name", "first"]);
    expect(done).toMatchObject({ type: "done", bytes: BYTES, savedBytes: 0 });
    expect(await list()).toHaveLength(1);
  });

  it("end all at once", async () => {
    expect((await run(["rm", "--all"])).lines).toMatchObject([{ name: "second" }]);
    expect(await list()).toEqual([]);
    expect(await run(["rm", "--all"])).toMatchObject({ code: 0, lines: [] });
  });
});
