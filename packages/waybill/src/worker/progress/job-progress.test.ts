import { createServer } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JobSpec } from "@waybill/sdk/protocol";
import { TEST_TIMING } from "../fakes.fixture.ts";
import { WorkerLab, trainer } from "../worker-lab.fixture.ts";

let lab: WorkerLab;

beforeEach(async () => {
  lab = await WorkerLab.open();
});

afterEach(() => lab[Symbol.asyncDispose]());

/** What SLEAP's callbacks do, with the bytes of libzmq: publish, hear commands, end after the batch. */
const SLEAP = `
  const net = require("node:net");
  const greeting = Buffer.from("ff00000000000000017f0301" + Buffer.from("NULL").toString("hex") + "00".repeat(48), "hex");
  const ready = (type) => Buffer.from("\\u0004\\u0019\\u0005READY\\u000bSocket-Type\\u0000\\u0000\\u0000\\u0003" + type, "latin1");
  const open = (port, type, more = "") => {
    const socket = net.connect(Number(port), "127.0.0.1");
    socket.write(Buffer.concat([greeting, ready(type), Buffer.from(more, "hex")]));
    return socket;
  };
  const [, controller, publish] = process.argv;
  const pub = open(publish, "PUB");
  const sub = open(controller, "SUB", "000101");
  const tell = (message) => {
    const body = Buffer.from(JSON.stringify({ what: "centroid", ...message }));
    pub.write(Buffer.concat([Buffer.from([0, body.length]), body]));
  };
  let stopped = false;
  sub.on("data", (bytes) => { if (bytes.includes('{"command": "stop"}')) stopped = true; });
  process.on("SIGTERM", () => { console.log("SIGTERM"); process.exit(1); });
  const end = () => {
    tell({ event: "epoch_end", epoch: 0, logs: { loss: 0.5, val_loss: 0.25 } });
    tell({ event: "train_end", logs: null });
    save(); pub.end(); sub.end();
  };
`;

const ports = ["{controller_port}", "{publish_port}"];

function sleap(code: string, args: readonly string[], extra: Partial<JobSpec> = {}) {
  const assignment = trainer(SLEAP + code, { progress: { format: "sleap" }, ...extra });
  const command = [...(assignment.spec.command ?? []), ...args];
  return { ...assignment, spec: { ...assignment.spec, command } };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  const free = await Promise.race([
    once(server, "listening").then(() => true),
    once(server, "error").then(() => false),
  ]);
  if (free) await new Promise((resolve) => server.close(resolve));
  return free;
}

describe("a job whose trainer is SLEAP's", () => {
  it("tells epochs it hears of on ports of its own, which the command is told", async () => {
    await lab.start({ slots: 2 });
    const code = `pub.once("data", () => { tell({ event: "train_begin", logs: null }); end(); });
      say({ env: Number(env.WAYBILL_SLEAP_PUBLISH_PORT) - Number(publish) });`;
    const both = [lab.offer(sleap(code, ports)), lab.offer(sleap(code, ports))];
    for (const job of both) {
      expect((await lab.outcome(job))?.state).toBe("completed");
      expect(lab.ofType(job, "metric").map(({ data }) => data)).toEqual(
        expect.arrayContaining([
          { env: 0 },
          { what: "centroid", epoch: 0, loss: 0.5, val_loss: 0.25 },
        ]),
      );
      const lines = lab.ofType(job, "log").map(({ line }) => line);
      expect(lines).toContain("SLEAP: training of centroid begins");
      expect(lab.ofType(job, "result")[0]?.data).toMatchObject({ val_loss: 0.25 });
    }
  });

  it("is stopped by SLEAP's own command, and ends by itself without a signal", async () => {
    await lab.start();
    const job = lab.offer(
      sleap(
        `sub.once("data", () => console.log("heard"));
         const batches = setInterval(() => {
           tell({ event: "batch_end", batch: 1, epoch: 0, logs: { loss: 0.75 } });
           if (stopped) { clearInterval(batches); end(); }
         }, 5);`,
        ports,
      ),
    );
    await lab.logged(job, "heard");
    lab.feed.command({ id: "c1", job, name: "stop" });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log").map(({ line }) => line)).not.toContain("SIGTERM");
    expect(lab.ofType(job, "result")).toMatchObject([{ stoppedEarly: true }]);
  });

  it("gets SIGTERM when it does not end by itself, and at once when it does not listen", async () => {
    await lab.start({ timing: { ...TEST_TIMING, stopGraceMs: 200 } });
    const deaf = `process.removeAllListeners("SIGTERM");
      process.on("SIGTERM", () => { console.log("SIGTERM"); save(); process.exit(0); });
      setInterval(() => undefined, 1000);`;
    const job = lab.offer(sleap(`${deaf} sub.once("data", () => console.log("heard"));`, ports));
    await lab.logged(job, "heard");
    lab.feed.command({ id: "c1", job, name: "stop" });
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "log").map(({ line }) => line)).toContain("SIGTERM");
    const other = lab.offer(sleap(`sub.destroy(); ${deaf} console.log("heard");`, ports));
    await lab.logged(other, "heard");
    lab.feed.command({ id: "c1", job: other, name: "stop" });
    expect((await lab.outcome(other))?.state).toBe("completed");
  });

  it("is heard on SLEAP's own ports when its command names none", async ({ skip }) => {
    if (!(await isFree(9000)) || !(await isFree(9001))) skip("port 9000 or 9001 is in use here");
    await lab.start();
    const job = lab.offer(sleap(`pub.once("data", end);`, ["9000", "9001"]));
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.ofType(job, "metric")).toMatchObject([{ source: "sleap", data: { epoch: 0 } }]);
  });

  it("fails before it starts when SLEAP's own ports are in use and it takes no others", async () => {
    const server = createServer();
    if (await isFree(9000)) await once(server.listen(9000, "127.0.0.1"), "listening");
    await lab.start();
    const end = await lab.outcome(lab.offer(sleap("", [])));
    expect(end).toMatchObject({ state: "failed" });
    expect(end?.reason).toContain("put {controller_port} and {publish_port}");
    server.close();
  });
});

describe("a job with a CSV log", () => {
  it("tells its rows, and counts them among what the training came to", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(
        `fs.writeFileSync("log.csv", "epoch,loss\\n0,0.5\\n1,0.25\\n"); say({ own: 1 }); save();`,
        { progress: { format: "csv", path: "log.csv" } },
      ),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    const rows = lab.ofType(job, "metric").filter(({ source }) => source === "csv");
    expect(rows.map(({ data }) => data)).toEqual([
      { epoch: 0, loss: 0.5 },
      { epoch: 1, loss: 0.25 },
    ]);
    expect(lab.ofType(job, "result")[0]?.data).toEqual({ epoch: 1, loss: 0.25, own: 1 });
  });
});

describe("a job with TensorBoard's files", () => {
  it("publishes them with the model", async () => {
    await lab.start();
    const job = lab.offer(
      trainer(
        `for (let epoch = 0; epoch < 5; epoch++) say({ epoch, loss: 1 / (epoch + 1) }); save();`,
        {
          tensorboard: true,
        },
      ),
    );
    expect((await lab.outcome(job))?.state).toBe("completed");
    expect(lab.transfer.pushed.at(-1)?.sort()).toEqual([
      "model.bin",
      "tensorboard",
      expect.stringMatching(/^tensorboard\/events\.out\.tfevents\.\d{10}\.waybill\.0001$/),
    ]);
  });
});
