// Receipts as scripts and people use them: real hub, real store, the built command; and what tampering costs.
import { copyFile, cp, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../support/lab.ts";
import { type Line, runWaybill } from "../support/waybill-process.ts";

const MIB = 1024 * 1024;

describe("receipts", () => {
  let lab: Lab;
  let tree: string;
  beforeAll(async () => {
    lab = await Lab.open();
    tree = lab.path("tree");
    await mkdir(path.join(tree, "sub"), { recursive: true });
    await writeFile(path.join(tree, "empty"), "");
    await writeFile(path.join(tree, "sub", "notes.txt"), "content");
    await writeFile(path.join(tree, "big.bin"), Buffer.alloc(9 * MIB + 5, "waybill"));
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const run = async (args: readonly string[], machine = "owner") => {
    const { code, lines, errors } = await runWaybill(args, lab.machine(machine));
    return { code, last: lines.at(-1) ?? {}, errors };
  };
  /** Turns over one bit of a file. */
  const damage = async (file: string, at: number) => {
    const handle = await open(file, "r+");
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await handle.write(byte, 0, 1, at);
    await handle.close();
  };
  const receiptOf = (line: Line) => line["receipt"] as Line;

  it("of a push and of a pull are signed by client and hub, and verify on either machine", async () => {
    const pushed = await lab.ask(["push", tree, "--name", "tree", "--receipt"]);
    expect(pushed).toMatchObject({
      type: "done",
      receipt: `${tree}.receipt.json`,
      countersigned: true,
    });
    const { code } = await lab.ask(["room", "invite", "--role", "viewer"]);
    await lab.ask(["room", "join", String(code)], "guest");
    const out = lab.path("out");
    const file = lab.path("receipts", "pull.json");
    const pulled = await lab.ask(["pull", "tree", out, "--receipt", file], "guest");
    expect(pulled).toMatchObject({ receipt: file, countersigned: true });

    const own = await run(["verify", tree]);
    expect(own).toMatchObject({ code: 0, last: { type: "verify", ok: true, files: 3 } });
    expect(receiptOf(own.last)).toMatchObject({
      direction: "push",
      room: "lab",
      faults: [],
      signatures: [
        { by: "client", ok: true },
        { by: "hub", ok: true, role: "owner", subject: "owner" },
      ],
      hubKey: { state: "known", hub: lab.hubUrl },
    });
    const theirs = await run(["verify", out, "--receipt", file, "--strict"], "guest");
    expect(theirs.code).toBe(0);
    const { signatures } = receiptOf(theirs.last) as { signatures: Line[] };
    expect(signatures[1]).toMatchObject({ role: "viewer", subject: signatures[0]?.["thumbprint"] });
    // Without --hub it is the hub this machine has a token for, however the receipt calls it.
    const settings = lab.machine("guest", { WAYBILL_HUB: "", WAYBILL_ROOM: "" });
    const saved = await runWaybill(["verify", out, "--receipt", file, "--strict"], settings);
    expect([saved.code, saved.errors]).toEqual([0, ""]);
    // The same bytes by either receipt.
    expect((await run(["verify", out, "--receipt", `${tree}.receipt.json`], "guest")).code).toBe(0);
  });

  it("against the room itself, and against both", async () => {
    expect((await run(["verify", tree, "--artifact", "tree"])).code).toBe(0);
    const other = await lab.write("other.txt", "other");
    await lab.ask(["push", other, "--name", "other", "--receipt"]);
    const both = ["--artifact", "tree", "--receipt", `${other}.receipt.json`];
    const { code, last } = await run(["verify", tree, ...both]);
    expect([code, last["verdict"]]).toEqual([8, "not_genuine"]);
    expect((await run(["verify", tree, "--artifact", "nothing"])).code).toBe(4);
  });

  it("find one changed byte, a missing and an extra file", async () => {
    const copy = lab.path("copy");
    await cp(tree, copy, { recursive: true });
    await copyFile(`${tree}.receipt.json`, `${copy}.receipt.json`);
    expect((await run(["verify", copy])).code).toBe(0);
    await damage(path.join(copy, "big.bin"), 8 * MIB + 1);
    await rm(path.join(copy, "empty"));
    await writeFile(path.join(copy, "more"), "");
    const { code, last } = await run(["verify", copy]);
    expect(code).toBe(1);
    expect(last).toMatchObject({
      ok: false,
      verdict: "differs",
      differenceCount: 3,
      differences: [
        { path: "big.bin", kind: "differs", detail: expect.stringContaining("other content") },
        { path: "empty", kind: "missing" },
        { path: "more", kind: "extra" },
      ],
    });
  });

  it("are worth nothing with one byte changed in payload, signature or manifest", async () => {
    const text = await readFile(`${tree}.receipt.json`, "utf8");
    for (const [what, begin] of [
      ["payload", '"payload":"'],
      ["signature", '"signature":"'],
      ["manifest", '"shards":["'],
    ] as const) {
      const file = await lab.write(`${what}.json`, text);
      await damage(file, text.indexOf(begin) + begin.length + 20);
      const { code, last } = await run(["verify", tree, "--receipt", file]);
      expect([what, code, last["verdict"]]).toEqual([what, 8, "not_genuine"]);
      expect(receiptOf(last)["faults"], what).not.toEqual([]);
    }
    const none = await lab.write("none.json", "{}");
    expect((await run(["verify", tree, "--receipt", none])).code).toBe(2);
    expect((await run(["verify", tree, "--receipt", lab.path("no.json")])).code).toBe(4);
  });

  it("with another hub's signature are refused, and without one wanted only by --strict", async () => {
    await using other = await Lab.open();
    await other.ask(["push", tree, "--name", "tree", "--receipt", lab.path("foreign.json")]);
    // A room of the same name, but this machine knows another hub for it.
    const foreign = await run(["verify", tree, "--receipt", lab.path("foreign.json")]);
    expect(foreign.code).toBe(8);
    expect(receiptOf(foreign.last)["hubKey"]).toEqual({ state: "foreign", hub: lab.hubUrl });

    const genuine = JSON.parse(await readFile(`${tree}.receipt.json`, "utf8")) as {
      signatures: unknown[];
    };
    const alone = { ...genuine, signatures: genuine.signatures.slice(0, 1) };
    const file = await lab.write("alone.json", JSON.stringify(alone));
    const { code, last } = await run(["verify", tree, "--receipt", file]);
    expect(code).toBe(0);
    expect(receiptOf(last)["hubKey"]).toEqual({ state: "unsigned" });
    expect((await run(["verify", tree, "--receipt", file, "--strict"])).code).toBe(8);
  });

  it("refuse a file in the folder itself or in the place of another before anything is sent", async () => {
    const inside = path.join(tree, "r.json");
    expect((await run(["push", tree, "--receipt", inside])).code).toBe(2);
    const mine = await lab.write("mine.txt", "something of mine");
    const { code, errors } = await run(["pull", "tree", lab.path("x"), "--receipt", mine]);
    expect(code).toBe(5);
    expect(errors).toContain("is not a receipt");
    expect(await readFile(mine, "utf8")).toBe("something of mine");
  });

  it("verify offline, and say that the hub's key was not checked", async () => {
    await lab.hub.stop();
    try {
      const { code, last } = await run(["verify", tree]);
      expect(code).toBe(0);
      expect(receiptOf(last)["hubKey"]).toMatchObject({
        state: "unchecked",
        why: expect.stringContaining("could not be reached"),
      });
      const stranger = await run(["verify", tree, "--strict"], "nobody");
      expect(stranger.code).toBe(8);
    } finally {
      await lab.startHub();
    }
    // The key outlives the hub's process.
    expect(receiptOf((await run(["verify", tree, "--strict"])).last)["hubKey"]).toMatchObject({
      state: "known",
    });
  });
});
