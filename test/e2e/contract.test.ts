import { chmod, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, ROOM } from "../support/lab.ts";
import { runWaybill, WaybillProcess } from "../support/waybill-process.ts";

describe("the contract for scripts", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.open();
  });
  afterAll(() => lab[Symbol.asyncDispose]());
  const run = (args: readonly string[], machine = "owner") =>
    runWaybill(args, lab.machine(machine));

  it("prints where hub and store are first, and no secret", async () => {
    const hub = new WaybillProcess(["hub", "--port", "0", "--data", lab.path("second")], {});
    const ready = await hub.next();
    expect(ready).toMatchObject({
      type: "ready",
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      s3: {
        endpoint: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
        region: expect.any(String),
        uploadsBucket: expect.any(String),
        roomsBucket: expect.any(String),
        credentialsFile: expect.any(String),
      },
    });
    const file = String((ready["s3"] as Record<string, unknown>)["credentialsFile"]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const secrets = [...(await readFile(file, "utf8")).matchAll(/=\s*(\S+)/g)].map(
      (match) => match[1] ?? "",
    );
    expect(secrets).toHaveLength(2);
    hub.child.kill("SIGTERM");
    const rest = await Array.fromAsync(hub.rest());
    expect(await hub.exit()).toBe(0);
    for (const secret of secrets)
      expect(JSON.stringify([ready, ...rest]) + hub.errors).not.toContain(secret);
  });

  it("refuses a second hub on the same data with one clear line", async () => {
    const { code, errors } = await run(["hub", "--port", "0", "--data", lab.path("server")]);
    expect(code).toBe(5);
    expect(errors).toMatch(/^waybill: another hub runs on the data directory/);
  });

  it("saves the token of a new room although nobody reads what is printed", async () => {
    const created = new WaybillProcess(["room", "create", "unread"], lab.machine("owner"));
    created.child.stdout?.destroy();
    await created.exit();
    expect((await run(["room", "show", "unread"])).code).toBe(0);
  });

  it("answers each kind of failure with its exit code", async () => {
    expect((await run(["room", "create", ROOM])).code).toBe(5);
    expect((await run(["room", "create", "No Such Name!"])).code).toBe(2);
    expect((await run(["push"])).code).toBe(2);
    expect((await run(["frobnicate"])).code).toBe(2);
    expect((await run(["model", "pull", "nothing", lab.path("x")])).code).toBe(4);
    expect((await run(["pull", "nothing", lab.path("x")])).code).toBe(4);
    expect((await run(["job", "show", "j_0000000000000000"])).code).toBe(4);
    expect((await run(["push", lab.path("does-not-exist"), "--name", "x"])).code).toBe(4);
    expect((await run(["hub", "--port", "99999"])).code).toBe(2);
    expect((await run(["room", "show", ROOM], "stranger")).code).toBe(3);
    expect(
      (
        await runWaybill(["room", "show", ROOM], {
          ...lab.machine("owner"),
          WAYBILL_HUB: "http://127.0.0.1:1",
        })
      ).code,
    ).toBe(3);
    const token = JSON.parse(await readFile(lab.path("owner", "credentials.json"), "utf8")).rooms[0]
      .token as string;
    expect(
      (
        await runWaybill(
          ["room", "show", ROOM],
          lab.machine("elsewhere", { WAYBILL_TOKEN: token, WAYBILL_HUB: "http://127.0.0.1:1" }),
        )
      ).code,
    ).toBe(6);
    expect(
      (await runWaybill(["room", "show", ROOM], lab.machine("elsewhere", { WAYBILL_TOKEN: token })))
        .code,
    ).toBe(0);
  });

  it("prints errors as JSON on stdout and as one line with a hint on stderr", async () => {
    const { lines, errors } = await run(["pull", "nothing", lab.path("x")]);
    expect(lines).toEqual([
      expect.objectContaining({
        type: "error",
        code: "not_found",
        message: expect.stringContaining("nothing"),
      }),
    ]);
    expect(errors.split("\n")[0]).toMatch(/^waybill: .*nothing/);
  });

  it("prints wrong usage as JSON too", async () => {
    const { code, lines } = await run(["job", "watch", "j_0000000000000000", "--since", "abc"]);
    expect(code).toBe(2);
    expect(lines).toEqual([expect.objectContaining({ type: "error", code: "invalid_request" })]);
  });

  it("follows a hub to another address when told so, and not by itself", async () => {
    const moved = lab.machine("owner", {
      WAYBILL_HUB: lab.hubUrl.replace("127.0.0.1", "localhost"),
    });
    const before = await runWaybill(["room", "show", ROOM], moved);
    expect(before.code).toBe(3);
    expect(before.errors).toContain(`waybill room moved ${ROOM} --from ${lab.hubUrl}`);
    expect((await runWaybill(["room", "moved", ROOM, "--from", lab.hubUrl], moved)).code).toBe(0);
    expect((await runWaybill(["room", "show", ROOM], moved)).code).toBe(0);
  });

  it("exchanges an invite once, for a token bound to the machine's key", async () => {
    const { code } = await lab.ask(["room", "invite"]);
    const joined = await lab.ask(["room", "join", String(code)], "first");
    expect(joined).toMatchObject({ room: ROOM, role: "member", token: expect.any(String) });
    expect((await run(["room", "join", String(code)], "second")).code).toBe(4);
    const stolen = lab.machine("thief", { WAYBILL_TOKEN: String(joined["token"]) });
    expect((await runWaybill(["room", "show", ROOM], stolen)).code).toBe(3);
    expect((await runWaybill(["room", "invite"], lab.machine("first"))).code).toBe(3);
  });

  it("lets a pod work with nothing but WAYBILL_KEY, until it is revoked", async () => {
    const key = await lab.ask(["room", "key", "create", "--label", "pods"]);
    const pod = new WaybillProcess(
      ["worker", "--kind", "ephemeral"],
      lab.machine("pod", { WAYBILL_KEY: String(key["key"]) }),
    );
    expect(await pod.next()).toMatchObject({
      type: "ready",
      kind: "ephemeral",
      workerId: expect.stringMatching(/^p_/),
    });
    pod.drain();
    await pod.stop();
    expect(await pod.exit()).toBe(0);
    await lab.ask(["room", "key", "revoke", String(key["id"])]);
    const late = await runWaybill(
      ["worker", "--kind", "ephemeral"],
      lab.machine("pod2", { WAYBILL_KEY: String(key["key"]) }),
    );
    expect(late.code).toBe(3);
  });

  it("pushes and pulls trees with empty files, odd names and executables, and counts sources in bytes", async () => {
    const tree = lab.path("tree");
    await mkdir(path.join(tree, "sub", "ünïcode 名"), { recursive: true });
    await writeFile(path.join(tree, "empty"), "");
    await writeFile(path.join(tree, "run.sh"), "#!/bin/sh\n");
    await chmod(path.join(tree, "run.sh"), 0o755);
    await writeFile(path.join(tree, "sub", "ünïcode 名", "a b+c%20.txt"), "content");
    const pushed = await lab.ask(["push", tree, "--name", "tree"]);
    expect(pushed).toMatchObject({
      type: "done",
      files: 3,
      bytes: 17,
      artifact: expect.stringMatching(/^[0-9a-f]{64}$/),
      seconds: expect.any(Number),
      savedBytes: 0,
    });
    const out = lab.path("tree-out");
    expect(await lab.ask(["pull", "tree", out])).toMatchObject({
      type: "done",
      artifact: pushed["artifact"],
      bytes: 17,
      sources: { s3: 17 },
    });
    expect((await stat(path.join(out, "run.sh"))).mode & 0o100).toBe(0o100);
    expect(await readFile(path.join(out, "sub", "ünïcode 名", "a b+c%20.txt"), "utf8")).toBe(
      "content",
    );
    expect(await lab.ask(["pull", String(pushed["artifact"]).slice(0, 12), out])).toMatchObject({
      sources: { cache: 17 },
    });
    const again = await lab.ask(["push", tree, "--name", "tree"]);
    expect(again).toMatchObject({ artifact: pushed["artifact"], savedBytes: 17 });
    expect(Number(again["sentBytes"])).toBeLessThan(1000);
  });

  it("refuses a link that leaves the tree and a destination with other content", async () => {
    const tree = lab.path("linked");
    await mkdir(tree);
    await symlink("/etc/hostname", path.join(tree, "out"));
    const { code, errors } = await run(["push", tree, "--name", "linked"]);
    expect(code).toBe(2);
    expect(errors).toContain("out");
    await writeFile(path.join(lab.path("tree-out"), "empty"), "something of mine");
    expect((await run(["pull", "tree", lab.path("tree-out")])).code).toBe(5);
    expect(await readFile(path.join(lab.path("tree-out"), "empty"), "utf8")).toBe(
      "something of mine",
    );
    expect((await run(["pull", "tree", lab.path("tree-out"), "--overwrite"])).code).toBe(0);
  });
});
